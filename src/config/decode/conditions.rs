//! `routes[].match[].headers` and `query`.

use std::collections::HashMap;

use super::super::diagnostics::{Diagnostic, Diagnostics};
use super::super::model::ValueMatch;
use super::super::source::Span;
use super::super::yaml::Value;
use super::fields::{self, Fields, Item, brief};
use super::patterns::{self, Anchored};
use super::{header_rules, keys, scalars};

const HINT: &str = "write `{ x-tenant: blue }`";

/// Conditions on headers; `None` after a mistake, for half a rule would match too much.
pub(super) fn headers(item: &Item<'_>, out: &mut Diagnostics) -> Option<Vec<(String, ValueMatch)>> {
    let name = |name: &str, item: &Item<'_>, out: &mut Diagnostics| {
        let lower = header_rules::name(name, item, out)?;
        if lower == "host" {
            let message = format!("`host` does not belong into {}", title_of_parent(item));
            out.push(
                Diagnostic::error(message)
                    .at(item.key)
                    .label("write it as `host` of the match"),
            );
            return None;
        }
        Some(lower)
    };
    conditions(item, "headers", name, out)
}

/// Conditions on parameters of the query; likewise.
pub(super) fn query(item: &Item<'_>, out: &mut Diagnostics) -> Option<Vec<(String, ValueMatch)>> {
    conditions(item, "parameters", |name, _, _| Some(name.to_owned()), out)
}

/// `routes.a.match.headers.host` → `` `routes.a.match.headers` ``.
fn title_of_parent(item: &Item<'_>) -> String {
    let parent = item.path.rsplit_once('.').map_or("", |(parent, _)| parent);
    format!("`{parent}`")
}

fn conditions(
    item: &Item<'_>,
    what: &str,
    name: impl Fn(&str, &Item<'_>, &mut Diagnostics) -> Option<String>,
    out: &mut Diagnostics,
) -> Option<Vec<(String, ValueMatch)>> {
    let entries = fields::mapping(item, HINT, out)?;
    if entries.is_empty() {
        let message = format!("{} is empty", item.title());
        let label = format!("leave it out to match all {what}");
        out.push(Diagnostic::error(message).at(item.key).label(label));
        return None;
    }
    let mut seen: HashMap<String, Span> = HashMap::new();
    let mut read = Vec::with_capacity(entries.len());
    for (key, node) in entries {
        let child = item.child(key, node);
        let name = name(&key.value, &child, out);
        let value = value(child, out);
        if let (Some(name), Some(value)) = (&name, value) {
            read.push((name.clone(), value));
        }
        if let Some(first) = name.and_then(|name| seen.insert(name, key.at)) {
            out.push(twice(&key.value, key.at, first));
        }
    }
    (read.len() == entries.len()).then_some(read)
}

/// One name in two spellings.
pub(super) fn twice(name: &str, at: Span, first: Span) -> Diagnostic {
    Diagnostic::error(format!("the name `{}` is written twice", brief(name)))
        .at(at)
        .label("remove one of the two; letters' case makes no difference")
        .related(first, "first written here")
}

/// A text, or a mapping that says what else the value must be.
fn value(item: Item<'_>, out: &mut Diagnostics) -> Option<ValueMatch> {
    let exact = |item: &Item<'_>, out: &mut Diagnostics| {
        let scalar = scalars::scalar(
            item,
            "a text",
            "write `blue`, `{ regex: … }` or `{ present: true }`",
            out,
        );
        scalar.map(|scalar| ValueMatch::Exact(scalar.value().to_owned()))
    };
    if !matches!(item.node.value, Value::Mapping(_)) {
        return exact(&item, out);
    }
    let (key, title) = (item.key, item.title());
    let fields = Fields::of(item, keys::VALUE, out)?;
    let written: Vec<Item<'_>> = keys::VALUE
        .iter()
        .filter_map(|key| fields.get(key))
        .collect();
    if let [_, second, ..] = &written[..] {
        let message = format!("{title} says two things at once");
        out.push(
            Diagnostic::error(message)
                .at(second.key)
                .label("keep one of them"),
        );
        return None;
    }
    if let Some(item) = fields.get("exact") {
        return exact(&item, out);
    }
    if let Some(item) = fields.get("regex") {
        return patterns::pattern(&item, Anchored::Whole, out).map(ValueMatch::Regex);
    }
    if let Some(item) = fields.get("present") {
        let present = scalars::boolean(&item, out)?;
        return Some(if present {
            ValueMatch::Present
        } else {
            ValueMatch::Absent
        });
    }
    if !fields.has_unknown() {
        let label = "write `{ exact: … }`, `{ regex: … }` or `{ present: true }`";
        out.push(
            Diagnostic::error(format!("{title} says nothing"))
                .at(key)
                .label(label),
        );
    }
    None
}
