//! Text → a tree of nodes with exact places. The only file that knows the YAML crate.
//!
//! Path: [`super::read`] → here → `decode`. Scalars keep the text that was written, so that `8080`, `"8080"`
//! and `off` mean what the *reader* of the value says and not what YAML guesses. Anchors, aliases and `<<`
//! are expanded within a budget: a bomb is one mistake after a few milliseconds. A syntax error ends the
//! reading, for nothing after it is certain; duplicate keys do not.

mod syntax;

use std::collections::HashMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_yaml::{Location, Spanned};

use super::diagnostics::{Diagnostic, Diagnostics};
use super::model::Located;
use super::source::{Source, Span};

/// Sections nest five deep; what nests deeper is a mistake or an attack.
const MAX_DEPTH: usize = 24;
/// Nodes of a file after its aliases are expanded: far above a file of 10,000 endpoints.
const MAX_NODES: usize = 200_000;
/// Events that aliases may repeat. A bomb reaches it in milliseconds.
const MAX_REPLAYED: usize = 20_000;

/// One value and its place.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    /// Where the value was written; of a container its beginning.
    pub(crate) at: Span,
    pub(crate) value: Value,
}

/// What stands at a node.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    /// Nothing, `~` or `null`.
    Null,
    Scalar(Scalar),
    Sequence(Vec<Node>),
    /// Entries in the file's order; no key twice.
    Mapping(Vec<(Located<String>, Node)>),
    /// A mistake here was already told: whoever reads it stays silent.
    Told,
}

/// A word, number or text.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Scalar {
    /// Its text; quotes and escapes are resolved.
    pub(crate) text: String,
    /// What messages show instead, if the text came from a file and may be secret.
    pub(crate) shown: Option<String>,
    pub(crate) quoted: bool,
}

/// Reads `source`; `None` if it is not YAML or empty. What is wrong is added to `out`.
pub(super) fn parse(source: &Source, out: &mut Diagnostics) -> Option<Node> {
    match serde_yaml::from_str_with_options::<Spanned<Raw>>(&source.text, options()) {
        Ok(raw) => Some(Builder { source, out }.node(raw)),
        Err(error) => {
            out.push(syntax::explain(&error, source));
            None
        }
    }
}

fn options() -> serde_yaml::Options {
    serde_yaml::options! {
        budget: serde_yaml::budget! {
            max_depth: MAX_DEPTH,
            flow_nesting_limit: MAX_DEPTH,
            max_nodes: MAX_NODES,
            max_documents: 1,
        },
        alias_limits: serde_yaml::alias_limits! { max_total_replayed_events: MAX_REPLAYED },
        duplicate_keys: serde_yaml::DuplicateKeyPolicy::PassThrough,
        non_finite_float_policy: serde_yaml::NonFiniteFloatPolicy::AsString,
        ignore_binary_tag_for_string: true,
        with_snippet: false,
    }
}

/// The place of `location` in bytes.
pub(super) fn span_of(location: Location, text: &str) -> Span {
    let span = location.span();
    let start = span
        .byte_offset()
        .and_then(|at| usize::try_from(at).ok())
        .unwrap_or(text.len());
    let len = span
        .byte_len()
        .and_then(|len| usize::try_from(len).ok())
        .unwrap_or(0);
    Span::new(start, start.saturating_add(len)).within(text)
}

/// A node as the YAML crate tells it.
enum Raw {
    Null,
    /// A number or truth value: its text is in the source.
    Typed,
    Text(String),
    Sequence(Vec<Spanned<Self>>),
    Mapping(Vec<(Spanned<Self>, Spanned<Self>)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Raw, E> {
        Ok(Raw::Typed)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Raw, E> {
        Ok(Raw::Typed)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Raw, E> {
        Ok(Raw::Typed)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Raw, E> {
        Ok(Raw::Typed)
    }

    fn visit_str<E>(self, text: &str) -> Result<Raw, E> {
        Ok(Raw::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Raw, E> {
        Ok(Raw::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Raw, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Raw::Sequence(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Raw::Mapping(entries))
    }
}

/// Gives each node its span and text.
struct Builder<'a> {
    source: &'a Source,
    out: &'a mut Diagnostics,
}

impl Builder<'_> {
    fn node(&mut self, raw: Spanned<Raw>) -> Node {
        let at = span_of(raw.defined, &self.source.text);
        let value = match raw.value {
            Raw::Null => Value::Null,
            Raw::Typed => Value::Scalar(Scalar {
                text: self.source.slice(at).to_owned(),
                shown: None,
                quoted: false,
            }),
            Raw::Text(text) => {
                let quoted = self.source.slice(at).starts_with(['"', '\'', '|', '>']);
                Value::Scalar(Scalar {
                    text,
                    shown: None,
                    quoted,
                })
            }
            Raw::Sequence(items) => {
                Value::Sequence(items.into_iter().map(|item| self.node(item)).collect())
            }
            Raw::Mapping(entries) => self.mapping(entries),
        };
        Node { at, value }
    }

    fn mapping(&mut self, raw: Vec<(Spanned<Raw>, Spanned<Raw>)>) -> Value {
        let mut entries: Vec<(Located<String>, Node)> = Vec::with_capacity(raw.len());
        let mut first_at = HashMap::with_capacity(raw.len());
        for (key, value) in raw {
            let value = self.node(value);
            let key = self.node(key);
            let Value::Scalar(scalar) = key.value else {
                self.out.push(odd_key(key.at));
                continue;
            };
            let key = Located::new(scalar.text, key.at);
            if let Some(first) = first_at.insert(key.value.clone(), key.at) {
                self.out.push(duplicate_key(&key, first));
                continue;
            }
            entries.push((key, value));
        }
        Value::Mapping(entries)
    }
}

fn odd_key(at: Span) -> Diagnostic {
    Diagnostic::error("a key must be a word")
        .at(at)
        .label("write a name before the colon")
}

fn duplicate_key(key: &Located<String>, first: Span) -> Diagnostic {
    Diagnostic::error(format!("the key `{}` is written twice", key.value))
        .at(key.at)
        .label("remove one of the two")
        .related(first, "first written here")
}
