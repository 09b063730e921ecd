//! `request_headers`, `response_headers`, `respond.headers`: names, values and their variables.
//!
//! `${VAR}` is the environment's and replaced before anything is read here; what differs from request to request is
//! written `%{name}`, and `%%` is a per cent sign.

use std::collections::HashMap;

use super::super::diagnostics::{Diagnostic, Diagnostics};
use super::super::model::{HeaderRules, Piece, Template, Variable};
use super::super::source::Span;
use super::super::suggest;
use super::super::yaml::{Node, Scalar};
use super::conditions::twice;
use super::fields::{self, Fields, Item, brief};
use super::patterns::inside;
use super::{keys, scalars};

/// Whose headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    Request,
    Response,
}

const VARIABLES: [(&str, Variable); 8] = [
    ("client_ip", Variable::ClientIp),
    ("request_id", Variable::RequestId),
    ("route", Variable::Route),
    ("listener", Variable::Listener),
    ("upstream", Variable::Upstream),
    ("host", Variable::Host),
    ("path", Variable::Path),
    ("method", Variable::Method),
];

/// Fields of one connection (RFC 9110 §7.6.1) and of a message's framing: the proxy sets them itself.
const OURS: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "content-length",
    "expect",
];

/// Reads one set of rules.
pub(super) fn header_rules(item: Item<'_>, of: Of, out: &mut Diagnostics) -> HeaderRules {
    let mut rules = HeaderRules::default();
    let Some(fields) = Fields::of(item, keys::HEADER_RULES, out) else {
        return rules;
    };
    let mut seen = HashMap::new();
    if let Some(item) = fields.get("set") {
        rules.set = values(&item, of, &mut seen, out);
    }
    if let Some(item) = fields.get("add") {
        rules.add = values(&item, of, &mut seen, out);
    }
    let names = fields.get("remove");
    let names = names.and_then(|item| item.items("header names", "write a list: `[x-a]`", out));
    for item in names.into_iter().flatten() {
        let Some(written) = scalars::name(&item, "a header name", "write `x-a`", out) else {
            continue;
        };
        let named = Item {
            key: item.at(),
            ..item
        };
        if let Some(name) = changeable(&written.value, &named, of, out)
            && is_first(&name, named.key, &mut seen, out)
        {
            rules.remove.push(name);
        }
    }
    rules
}

/// A mapping from names to values.
pub(super) fn values(
    item: &Item<'_>,
    of: Of,
    seen: &mut HashMap<String, Span>,
    out: &mut Diagnostics,
) -> Vec<(String, Template)> {
    let entries = fields::mapping(item, "write `{ x-a: value }`", out).unwrap_or_default();
    let mut read = Vec::with_capacity(entries.len());
    let mut one = |(key, node): &(_, Node), out: &mut Diagnostics| {
        let child = item.child(key, node);
        let name = changeable(&key.value, &child, of, out);
        let value = template(&child, out);
        let name = name.filter(|name| is_first(name, key.at, seen, out));
        read.extend(name.zip(value));
    };
    entries.iter().for_each(|entry| one(entry, out));
    read
}

/// Gateway API, HTTPHeaderFilter: one name, one rule; which of two came first would decide otherwise.
fn is_first(name: &str, at: Span, seen: &mut HashMap<String, Span>, out: &mut Diagnostics) -> bool {
    let first = seen.insert(name.to_owned(), at);
    if let Some(first) = first {
        out.push(twice(name, at, first));
    }
    first.is_none()
}

/// A name that may be changed.
fn changeable(text: &str, item: &Item<'_>, of: Of, out: &mut Diagnostics) -> Option<String> {
    let lower = name(text, item, out)?;
    let why = if OURS.contains(&lower.as_str()) {
        "it is about one connection or one message, so the proxy sets it itself; remove this line"
    } else if lower == "host" && of == Of::Request {
        "write `rewrite: { host: … }` instead"
    } else {
        return Some(lower);
    };
    let message = format!("`{lower}` cannot be changed by {}", parent(item));
    out.push(Diagnostic::error(message).at(item.key).label(why));
    None
}

/// `routes.a.request_headers.set.host` → `` `routes.a.request_headers.set` ``.
fn parent(item: &Item<'_>) -> String {
    let end = item.path.rfind(['.', '[']).unwrap_or_default();
    format!("`{}`", item.path.get(..end).unwrap_or_default())
}

/// The name of a header (RFC 9110 §5.1), in lower case.
pub(super) fn name(text: &str, item: &Item<'_>, out: &mut Diagnostics) -> Option<String> {
    let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if !text.is_empty() && text.len() <= 256 && text.chars().all(token) {
        return Some(text.to_ascii_lowercase());
    }
    let message = format!("`{}` is not the name of a header", brief(text));
    out.push(
        Diagnostic::error(message)
            .at(item.key)
            .label("use letters, digits and `-`"),
    );
    None
}

/// A value with its variables.
pub(super) fn template(item: &Item<'_>, out: &mut Diagnostics) -> Option<Template> {
    let scalar = scalars::scalar(item, "a text", "write a value", out)?;
    let text = scalar.value();
    if text.chars().any(|c| c.is_control() && c != '\t') {
        let message = format!(
            "{} of {} holds a line break or control character",
            scalar.words(),
            item.title()
        );
        out.push(
            Diagnostic::error(message)
                .at(item.at())
                .label("write the value on one line"),
        );
        return None;
    }
    let pieces = if scalar.shown.is_some() {
        // The content of a file is taken as it is: a secret may hold a per cent sign.
        vec![Piece::Text(text.to_owned())]
    } else {
        pieces(item, scalar, out)?
    };
    Some(Template {
        text: text.to_owned(),
        pieces,
    })
}

fn pieces(item: &Item<'_>, scalar: &Scalar, out: &mut Diagnostics) -> Option<Vec<Piece>> {
    let text = scalar.value();
    let mut pieces = Vec::new();
    let mut plain = String::new();
    let mut at = 0;
    while let Some(found) = text.get(at..).and_then(|rest| rest.find('%')) {
        let percent = at + found;
        plain.push_str(text.get(at..percent).unwrap_or_default());
        let rest = text.get(percent + 1..).unwrap_or_default();
        if rest.starts_with('%') {
            plain.push('%');
            at = percent + 2;
            continue;
        }
        let end = rest.strip_prefix('{').and_then(|inner| inner.find('}'));
        let Some(end) = end else {
            let label = "write `%%` for a per cent sign, or `%{name}` for a variable";
            out.push(
                Diagnostic::error("a `%` stands alone")
                    .at(inside(item, scalar, percent..percent + 1))
                    .label(label),
            );
            return None;
        };
        let name = rest.get(1..=end).unwrap_or_default();
        let whole = percent..percent + end + 3;
        let Some((_, variable)) = VARIABLES.iter().find(|(known, _)| *known == name) else {
            out.push(unknown_variable(name, inside(item, scalar, whole)));
            return None;
        };
        if !plain.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut plain)));
        }
        pieces.push(Piece::Variable(*variable));
        at = whole.end;
    }
    plain.push_str(text.get(at..).unwrap_or_default());
    if !plain.is_empty() || pieces.is_empty() {
        pieces.push(Piece::Text(plain));
    }
    Some(pieces)
}

fn unknown_variable(name: &str, at: Span) -> Diagnostic {
    let known = || VARIABLES.iter().map(|(name, _)| *name);
    let near = suggest::nearest(name, known());
    let label = near.map_or_else(
        || "write one that is known; the environment's are written `${NAME}`".to_owned(),
        |near| format!("did you mean `%{{{near}}}`?"),
    );
    let list: Vec<&str> = known().collect();
    Diagnostic::error(format!(
        "the variable `%{{{}}}` does not exist",
        brief(name)
    ))
    .at(at)
    .label(label)
    .note(format!("variables: {}", list.join(", ")))
}
