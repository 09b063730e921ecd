//! The keys of one section, and the values behind them.
//!
//! [`Fields::of`] tells unknown keys at once, with the nearest known one. An [`Item`] knows its path in the file
//! (`listeners.inbound.address`), which every message names. A value of which a mistake was already told is
//! silently absent.

use super::super::diagnostics::{Diagnostic, Diagnostics};
use super::super::model::Located;
use super::super::source::Span;
use super::super::suggest;
use super::super::yaml::{Node, Value};

/// One value to read.
#[derive(Debug, Clone)]
pub(super) struct Item<'n> {
    /// `listeners.inbound.address`; empty for the file itself.
    pub(super) path: String,
    /// The name behind which it stands, else its beginning.
    pub(super) key: Span,
    pub(super) node: &'n Node,
}

impl<'n> Item<'n> {
    pub(super) fn root(node: &'n Node) -> Self {
        Self {
            path: String::new(),
            key: first_visible(node),
            node,
        }
    }

    /// The value behind `key`.
    pub(super) fn child(&self, key: &Located<String>, node: &'n Node) -> Self {
        let path = if self.path.is_empty() {
            key.value.clone()
        } else {
            format!("{}.{}", self.path, key.value)
        };
        Self {
            path,
            key: key.at,
            node,
        }
    }

    /// An item of the list `self`.
    pub(super) fn element(&self, index: usize, node: &'n Node) -> Self {
        Self {
            path: format!("{}[{index}]", self.path),
            key: first_visible(node),
            node,
        }
    }

    /// Where to put the caret: the value if it can be seen, else its key.
    pub(super) fn at(&self) -> Span {
        match self.node.value {
            Value::Scalar(_) if !self.node.at.is_empty() => self.node.at,
            _ => self.key,
        }
    }

    /// The path with the name that the section gives itself: `routes.pay` instead of `routes[0]`.
    pub(super) fn named(mut self) -> Self {
        let Value::Mapping(entries) = &self.node.value else {
            return self;
        };
        let name = entries.iter().find(|(key, _)| key.value == "name");
        if let Some((
            _,
            Node {
                value: Value::Scalar(name),
                ..
            },
        )) = name
            && let Some(list) = self.path.rfind('[')
            && !name.value().is_empty()
            && name.shown.is_none()
        {
            self.path = format!("{}.{}", &self.path[..list], brief(name.value()));
        }
        self
    }

    /// The items of a list; `label` says how to write one.
    pub(super) fn items(
        &self,
        what: &str,
        label: &str,
        out: &mut Diagnostics,
    ) -> Option<Vec<Self>> {
        match &self.node.value {
            Value::Sequence(nodes) => {
                let items = nodes.iter().enumerate();
                Some(
                    items
                        .map(|(index, node)| self.element(index, node))
                        .collect(),
                )
            }
            Value::Told => None,
            Value::Scalar(scalar) if label.contains('[') && scalar.shown.is_none() => {
                let label = format!("write a list: `[{}]`", brief(scalar.value()));
                out.push(self.wrong(&format!("a list of {what}")).label(label));
                None
            }
            _ => {
                out.push(self.wrong(&format!("a list of {what}")).label(label));
                None
            }
        }
    }

    /// The value is of the wrong kind.
    pub(super) fn wrong(&self, allowed: &str) -> Diagnostic {
        Diagnostic::error(format!(
            "{} must be {allowed}, not {}",
            self.title(),
            found(&self.node.value)
        ))
        .at(self.at())
    }

    /// `` `a.b` ``, or `the file`.
    pub(super) fn title(&self) -> String {
        if self.path.is_empty() {
            "the file".to_owned()
        } else {
            format!("`{}`", self.path)
        }
    }
}

/// What stands at a node, in words.
fn found(value: &Value) -> String {
    match value {
        Value::Null => "empty".to_owned(),
        Value::Scalar(scalar) => scalar.words(),
        Value::Sequence(_) => "a list".to_owned(),
        Value::Mapping(_) => "a mapping".to_owned(),
        Value::Told => "unreadable".to_owned(),
    }
}

/// A text short enough for a message.
pub(super) fn brief(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    let mut brief: String = line.chars().take(48).collect();
    if brief.len() < text.trim_end().len() {
        brief.push('…');
    }
    brief
}

/// A container has no text of its own: its first key or item is what a reader sees.
fn first_visible(node: &Node) -> Span {
    match &node.value {
        Value::Mapping(entries) => entries.first().map_or(node.at, |(key, _)| key.at),
        Value::Sequence(items) if node.at.is_empty() => {
            items.first().map_or(node.at, first_visible)
        }
        _ => node.at,
    }
}

/// The entries of a mapping; anything else is a mistake, and `label` says what to write.
pub(super) fn mapping<'n>(
    item: &Item<'n>,
    label: &str,
    out: &mut Diagnostics,
) -> Option<&'n [(Located<String>, Node)]> {
    match &item.node.value {
        Value::Mapping(entries) => Some(entries),
        Value::Told => None,
        _ => {
            out.push(item.wrong("a mapping").label(label));
            None
        }
    }
}

/// The keys of one section.
pub(super) struct Fields<'n> {
    item: Item<'n>,
    entries: &'n [(Located<String>, Node)],
    /// For each unknown key the known one that was probably meant.
    unknown: Vec<Option<&'static str>>,
}

impl<'n> Fields<'n> {
    /// Takes a mapping whose keys are all in `known`.
    pub(super) fn of(
        item: Item<'n>,
        known: &[&'static str],
        out: &mut Diagnostics,
    ) -> Option<Self> {
        let entries: &[(Located<String>, Node)] = match &item.node.value {
            // `timeouts:` with nothing under it: all defaults.
            Value::Null if !item.path.is_empty() => &[],
            Value::Mapping(entries) => entries,
            Value::Told => return None,
            _ => {
                let wrong = item
                    .wrong("a mapping")
                    .label(section_sample(&item.path, known));
                out.push(wrong.note(allowed(known)));
                return None;
            }
        };
        let mut unknown = Vec::new();
        for (key, _) in entries
            .iter()
            .filter(|(key, _)| !known.contains(&key.value.as_str()))
        {
            out.push(unknown_key(&item, key, known));
            unknown.push(suggest::nearest(&key.value, known.iter().copied()));
        }
        Some(Self {
            item,
            entries,
            unknown,
        })
    }

    /// Whether a key is there that is none; what it was meant to be is then unknown.
    pub(super) fn has_unknown(&self) -> bool {
        !self.unknown.is_empty()
    }

    /// Whether `key` is there under a mistyped name.
    pub(super) fn is_mistyped(&self, key: &str) -> bool {
        self.unknown.contains(&Some(key))
    }

    /// The value behind `key`; absent also if nothing is written there and a default exists.
    pub(super) fn get(&self, key: &str) -> Option<Item<'n>> {
        let (key, node) = self.entries.iter().find(|(name, _)| name.value == key)?;
        Some(self.item.child(key, node))
    }

    /// The value behind `key`, without which the section makes no sense.
    pub(super) fn required(
        &self,
        key: &str,
        example: &str,
        out: &mut Diagnostics,
    ) -> Option<Item<'n>> {
        let found = self.get(key);
        if found.is_none() && !self.is_mistyped(key) {
            let message = format!("{} has no `{key}`", self.item.title());
            out.push(
                Diagnostic::error(message)
                    .at(self.item.key)
                    .label(format!("add `{key}: {example}`")),
            );
        }
        found
    }
}

fn unknown_key(item: &Item<'_>, key: &Located<String>, known: &[&'static str]) -> Diagnostic {
    let place = if item.path.is_empty() {
        "at the top of the file".to_owned()
    } else {
        format!("in `{}`", item.path)
    };
    let label = suggest::did_you_mean(&key.value, known.iter().copied());
    Diagnostic::error(format!("unknown key `{}` {place}", brief(&key.value)))
        .at(key.at)
        .label(label.unwrap_or_else(|| "remove it, or write an allowed key".to_owned()))
        .note(allowed(known))
}

/// How the section at `path` is written.
fn section_sample(path: &str, known: &[&'static str]) -> String {
    let first = known.first().copied().unwrap_or_default();
    match path.rsplit('.').next().unwrap_or_default() {
        "" => format!("begin with `{first}:`"),
        item if item.ends_with(']') => format!("write `{{ {first}: … }}`"),
        key => format!("write `{key}: {{ {first}: … }}`"),
    }
}

fn allowed(known: &[&'static str]) -> String {
    format!("keys allowed here: {}", known.join(", "))
}
