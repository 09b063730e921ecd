//! Access to the keys of one mapping, and the mistakes that every section shares.
//!
//! Path: the readers of `decode` open a [`Fields`] for each section and ask it for their keys. Unknown keys are told
//! when it is opened; what was told already (a [`Value::Told`]) stays silent.

use crate::config::diagnostics::{Diagnostic, Diagnostics, shown};
use crate::config::source::Span;
use crate::config::suggest::did_you_mean;
use crate::config::yaml::{Node, Scalar, Value};

/// A value with its path in the file, for example `listeners.inbound.address`.
pub(super) struct Field<'n> {
    pub(super) node: &'n Node,
    pub(super) path: String,
}

/// The keys of one mapping.
pub(super) struct Fields<'n> {
    at: Span,
    path: String,
    entries: &'n [(crate::config::model::Located<String>, Node)],
    /// A key here is unknown, so that one which seems to be missing may only be mistyped.
    pub(super) has_unknown: bool,
}

impl<'n> Fields<'n> {
    /// Opens `field`, which may hold only `keys`; `example` is what to write if it is no mapping at all.
    pub(super) fn open(
        field: &Field<'n>,
        keys: &[&str],
        example: &str,
        out: &mut Diagnostics,
    ) -> Option<Self> {
        let entries = entries(field, example, out)?;
        let mut has_unknown = false;
        for (key, _) in entries
            .iter()
            .filter(|(key, _)| !keys.contains(&key.value.as_str()))
        {
            has_unknown = true;
            out.push(unknown_key(&key.value, key.at, &field.path, keys));
        }
        let at = field.node.at;
        Some(Self {
            at,
            path: field.path.clone(),
            entries,
            has_unknown,
        })
    }

    /// The value of `key`, if it is written.
    pub(super) fn field(&self, key: &str) -> Option<Field<'n>> {
        let (_, node) = self
            .entries
            .iter()
            .find(|(written, _)| written.value == key)?;
        Some(Field {
            node,
            path: join(&self.path, key),
        })
    }

    /// Reads `key` with `reader`, if it is written and right.
    pub(super) fn read<T>(
        &self,
        key: &str,
        out: &mut Diagnostics,
        reader: impl FnOnce(&Field<'n>, &mut Diagnostics) -> Option<T>,
    ) -> Option<T> {
        reader(&self.field(key)?, out)
    }

    /// Like [`Fields::read`], but it is a mistake to leave `key` out. `at` is the section's name.
    pub(super) fn required<T>(
        &self,
        (key, example): (&str, &str),
        at: Span,
        out: &mut Diagnostics,
        reader: impl FnOnce(&Field<'n>, &mut Diagnostics) -> Option<T>,
    ) -> Option<T> {
        match self.field(key) {
            Some(field) => reader(&field, out),
            None if self.has_unknown && self.probably_mistyped(key) => None,
            None => {
                let at = if at.is_empty() { self.at } else { at };
                let message = format!("`{}` has no `{key}`", self.path);
                out.push(
                    Diagnostic::error(message)
                        .at(at)
                        .label(format!("add `{key}: {example}`")),
                );
                None
            }
        }
    }

    fn probably_mistyped(&self, key: &str) -> bool {
        self.entries
            .iter()
            .any(|(written, _)| did_you_mean(&written.value, [key]).is_some())
    }
}

/// The entries of a mapping with free keys; nothing written is an empty one.
pub(super) fn entries<'n>(
    field: &Field<'n>,
    example: &str,
    out: &mut Diagnostics,
) -> Option<&'n [(crate::config::model::Located<String>, Node)]> {
    match &field.node.value {
        Value::Mapping(entries) => Some(entries),
        Value::Null => Some(&[]),
        _ => {
            wrong_type(field, "a mapping", example, out);
            None
        }
    }
}

/// The items of a list; nothing written is an empty one.
pub(super) fn items<'n>(
    field: &Field<'n>,
    example: &str,
    out: &mut Diagnostics,
) -> Option<&'n [Node]> {
    match &field.node.value {
        Value::Sequence(items) => Some(items),
        Value::Null => Some(&[]),
        _ => {
            wrong_type(field, "a list", example, out);
            None
        }
    }
}

/// The word or number at `field`; `wanted` and `example` say what it should be.
pub(super) fn scalar<'n>(
    field: &Field<'n>,
    wanted: &str,
    example: &str,
    out: &mut Diagnostics,
) -> Option<&'n Scalar> {
    if let Value::Scalar(scalar) = &field.node.value {
        return Some(scalar);
    }
    wrong_type(field, wanted, example, out);
    None
}

/// Says that `field` is not `wanted`.
pub(super) fn wrong_type(field: &Field<'_>, wanted: &str, example: &str, out: &mut Diagnostics) {
    let path = &field.path;
    let message = match &field.node.value {
        Value::Told => return,
        Value::Null => format!("`{path}` has no value"),
        Value::Scalar(scalar) => format!("`{path}` must be {wanted}, not {}", described(scalar)),
        Value::Sequence(_) => format!("`{path}` must be {wanted}, not a list"),
        Value::Mapping(_) => format!("`{path}` must be {wanted}, not a mapping"),
    };
    out.push(Diagnostic::error(message).at(field.node.at).label(example));
}

fn described(scalar: &Scalar) -> String {
    let text = shown(scalar.shown.as_deref().unwrap_or(&scalar.text));
    match text.as_str() {
        "" => "an empty text".to_owned(),
        "true" | "false" => format!("the word `{text}`"),
        _ if text.bytes().all(|byte| byte.is_ascii_digit()) => format!("the number {text}"),
        _ => format!("the text `{text}`"),
    }
}

/// A mistake about the value of `field`: `` `routes.pay.timeout: 30` has no unit ``.
pub(super) fn wrong(field: &Field<'_>, what: &str, label: impl Into<String>) -> Diagnostic {
    let Value::Scalar(scalar) = &field.node.value else {
        return Diagnostic::error(format!("`{}` {what}", field.path))
            .at(field.node.at)
            .label(label);
    };
    let text = shown(scalar.shown.as_deref().unwrap_or(&scalar.text));
    let text = if text.is_empty() {
        "\"\"".to_owned()
    } else {
        text
    };
    let diagnostic = Diagnostic::error(format!("`{}: {text}` {what}", field.path))
        .at(field.node.at)
        .label(label);
    match &scalar.shown {
        Some(_) => diagnostic.note("what was inserted here is not shown, for it may be secret"),
        None => diagnostic,
    }
}

fn unknown_key(key: &str, at: Span, path: &str, keys: &[&str]) -> Diagnostic {
    let place = if path.is_empty() {
        "at the top of the file".to_owned()
    } else {
        format!("in `{path}`")
    };
    let label = did_you_mean(key, keys.iter().copied()).unwrap_or_else(|| "remove it".to_owned());
    Diagnostic::error(format!("unknown key `{}` {place}", shown(key)))
        .at(at)
        .label(label)
        .note(format!("keys known here: {}", keys.join(", ")))
}

/// `listeners` and `inbound` → `listeners.inbound`.
pub(super) fn join(path: &str, key: &str) -> String {
    let key = shown(key);
    if path.is_empty() {
        key
    } else {
        format!("{path}.{key}")
    }
}
