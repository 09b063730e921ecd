//! `routes`: a list; each takes some requests and says where they go.
//!
//! Path: `decode` → here → `snapshot`. What is needed to compare requests quickly is done once here: hosts in lower
//! case, methods in upper case, prefixes without a trailing `/`.

use super::fields::{Field, Fields, items, scalar, wrong, wrong_type};
use super::scalars::{duration_or_off, name, reference};
use crate::config::diagnostics::{Diagnostics, Section};
use crate::config::model::{
    DEFAULT_REQUEST_TIMEOUT, HostMatch, Located, PathMatch, Route, RouteMatch,
};
use crate::config::source::Span;
use crate::config::yaml::{Node, Value};

pub(super) const ROUTE: &[&str] = &["name", "listeners", "match", "forward", "timeout"];
pub(super) const MATCH: &[&str] = &["host", "path", "methods"];
pub(super) const PATH: &[&str] = &["exact", "prefix"];

/// Reads all routes.
pub(super) fn all(field: &Field<'_>, out: &mut Diagnostics) -> Option<Vec<Route>> {
    let Some(nodes) = items(
        field,
        "write each route as `- { name: api, forward: app }`",
        out,
    ) else {
        out.mark_unreadable(Section::Routes);
        return None;
    };
    Some(
        nodes
            .iter()
            .enumerate()
            .filter_map(|(index, node)| one(index, node, out))
            .collect(),
    )
}

fn one(index: usize, node: &Node, out: &mut Diagnostics) -> Option<Route> {
    let field = Field {
        node,
        path: path_of(index, node),
    };
    let Some(fields) = open(&field, out) else {
        out.mark_unreadable(Section::Routes);
        return None;
    };
    let nothing = || Located::new(String::new(), Span::default());
    let upstream = |field: &Field<'_>, out: &mut Diagnostics| reference(field, "an upstream", out);
    let name = fields
        .required(("name", "api"), Span::default(), out, name)
        .unwrap_or_else(nothing);
    let forward = fields
        .required(("forward", "app"), name.at, out, upstream)
        .unwrap_or_else(nothing);
    let listeners = fields.read("listeners", out, listeners);
    if fields.has_unknown
        || forward.value.is_empty()
        || (listeners.is_none() && fields.field("listeners").is_some())
    {
        out.mark_unreadable(Section::Routes);
    }
    Some(Route {
        name,
        listeners: listeners.unwrap_or_default(),
        matches: fields.read("match", out, matches).unwrap_or_default(),
        forward,
        timeout: fields
            .read("timeout", out, duration_or_off)
            .unwrap_or(Some(DEFAULT_REQUEST_TIMEOUT)),
    })
}

fn open<'n>(field: &Field<'n>, out: &mut Diagnostics) -> Option<Fields<'n>> {
    const FORM: &str = "write `{ name: api, match: { path: /api }, forward: app }`";
    if field.node.value == Value::Null {
        wrong_type(field, "a mapping", FORM, out);
        return None;
    }
    Fields::open(field, ROUTE, FORM, out)
}

/// `routes.pay`, or `routes[2]` for a route without a right name.
fn path_of(index: usize, node: &Node) -> String {
    let Value::Mapping(entries) = &node.value else {
        return format!("routes[{index}]");
    };
    let name = entries
        .iter()
        .find(|(key, _)| key.value == "name")
        .map(|(_, name)| &name.value);
    match name {
        Some(Value::Scalar(scalar)) if !scalar.text.is_empty() && scalar.shown.is_none() => {
            super::fields::join("routes", &scalar.text)
        }
        _ => format!("routes[{index}]"),
    }
}

fn listeners(field: &Field<'_>, out: &mut Diagnostics) -> Option<Vec<Located<String>>> {
    let nodes = items(field, "write `[inbound]`", out)?;
    if nodes.is_empty() {
        out.push(wrong(
            field,
            "names no listener",
            "name at least one, or remove the key for all",
        ));
        return None;
    }
    nodes
        .iter()
        .map(|node| {
            reference(
                &Field {
                    node,
                    path: field.path.clone(),
                },
                "a listener",
                out,
            )
        })
        .collect()
}

/// `match`: a list of mappings, or one.
fn matches(field: &Field<'_>, out: &mut Diagnostics) -> Option<Vec<Located<RouteMatch>>> {
    const FORM: &str = "write `{ host: example.com, path: /api, methods: [GET] }`";
    match &field.node.value {
        Value::Sequence(nodes) => {
            let field = |(index, node)| Field {
                node,
                path: format!("{}[{index}]", field.path),
            };
            Some(
                nodes
                    .iter()
                    .enumerate()
                    .map(field)
                    .filter_map(|field| one_match(&field, FORM, out))
                    .collect(),
            )
        }
        _ => one_match(field, FORM, out).map(|one| vec![one]),
    }
}

fn one_match(field: &Field<'_>, form: &str, out: &mut Diagnostics) -> Option<Located<RouteMatch>> {
    let fields = Fields::open(field, MATCH, form, out)?;
    let names_nothing = !fields.has_unknown && MATCH.iter().all(|key| fields.field(key).is_none());
    if names_nothing && field.node.value != Value::Told {
        out.push(wrong(
            field,
            "matches nothing in particular",
            "add `host`, `path` or `methods`, or leave it out for every request",
        ));
        return None;
    }
    let rule = RouteMatch {
        host: fields.read("host", out, host),
        path: fields.read("path", out, path),
        methods: fields.read("methods", out, methods).unwrap_or_default(),
    };
    Some(Located::new(rule, field.node.at))
}

fn host(field: &Field<'_>, out: &mut Diagnostics) -> Option<HostMatch> {
    const FORM: &str = "write `example.com` or `*.example.com`";
    let text = scalar(field, "a host name", FORM, out)?
        .text
        .to_ascii_lowercase();
    let (name, any_label) = match text.strip_prefix("*.") {
        Some(name) => (name, true),
        None => (text.as_str(), false),
    };
    let label = match name {
        "*" => "remove `host` for every host".to_owned(),
        _ if name.contains('*') => {
            "`*` stands only for the first labels: `*.example.com`".to_owned()
        }
        _ if name.contains("://") || name.contains('/') => FORM.to_owned(),
        _ if is_ipv6(name) && !any_label => return Some(HostMatch::Exact(text)),
        _ if name.contains(':') => "remove the port: every port of this host matches".to_owned(),
        _ if is_host(name) => {
            return Some(if any_label {
                HostMatch::Suffix(name.to_owned())
            } else {
                HostMatch::Exact(text)
            });
        }
        _ => FORM.to_owned(),
    };
    out.push(wrong(field, "is not a host name", label));
    None
}

fn is_ipv6(name: &str) -> bool {
    let inner = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'));
    inner.is_some_and(|inner| inner.parse::<std::net::Ipv6Addr>().is_ok())
}

fn is_host(name: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    name.len() <= 253
        && name
            .split('.')
            .all(|label| !label.is_empty() && label.len() <= 63 && label.chars().all(legal))
}

/// `/api`, `{ exact: /api }` or `{ prefix: /api }`.
fn path(field: &Field<'_>, out: &mut Diagnostics) -> Option<PathMatch> {
    const FORM: &str = "write `/api`, `{ prefix: /api }` or `{ exact: /api }`";
    if let Value::Scalar(_) = field.node.value {
        return path_text(field, out).map(|path| prefix(&path));
    }
    let Value::Mapping(entries) = &field.node.value else {
        wrong_type(field, "a path", FORM, out);
        return None;
    };
    let fields = Fields::open(field, PATH, FORM, out)?;
    let exact = fields.field("exact");
    match (exact, fields.field("prefix")) {
        (Some(_), Some(_)) => out.push(wrong(
            field,
            "has both `exact` and `prefix`",
            "keep one of them",
        )),
        (Some(exact), None) => return path_text(&exact, out).map(PathMatch::Exact),
        (None, Some(field)) => return path_text(&field, out).map(|path| prefix(&path)),
        (None, None) if entries.is_empty() => out.push(wrong(field, "names no path", FORM)),
        (None, None) => {}
    }
    None
}

fn prefix(path: &str) -> PathMatch {
    let trimmed = path.trim_end_matches('/');
    PathMatch::Prefix(if trimmed.is_empty() {
        "/".to_owned()
    } else {
        trimmed.to_owned()
    })
}

fn path_text(field: &Field<'_>, out: &mut Diagnostics) -> Option<String> {
    let text = &scalar(field, "a path", "write a path such as `/api`", out)?.text;
    let mistake = if !text.starts_with('/') {
        ("does not begin with `/`", "write a path such as `/api`")
    } else if text.contains(['?', '#']) {
        (
            "has a query or fragment",
            "write the path alone, up to `?` or `#`",
        )
    } else if text.contains('*') {
        (
            "has a `*`, which has no meaning here",
            "a prefix takes all below it: `/api` takes `/api/x`",
        )
    } else if text.contains(|c: char| !c.is_ascii_graphic()) {
        (
            "has a character that no request's path can have",
            "write it percent-encoded, for example `%20`",
        )
    } else {
        return Some(text.clone());
    };
    out.push(wrong(field, mistake.0, mistake.1));
    None
}

fn methods(field: &Field<'_>, out: &mut Diagnostics) -> Option<Vec<String>> {
    let nodes = items(field, "write `[GET, POST]`", out)?;
    if nodes.is_empty() {
        out.push(wrong(
            field,
            "names no method",
            "name at least one, or remove the key for all",
        ));
    }
    let mut methods = Vec::new();
    for (index, node) in nodes.iter().enumerate() {
        let field = Field {
            node,
            path: format!("{}[{index}]", field.path),
        };
        let Some(scalar) = scalar(&field, "a method", "write a method such as `GET`", out) else {
            continue;
        };
        let method = scalar.text.to_ascii_uppercase();
        if !is_token(&method) {
            out.push(wrong(
                &field,
                "is not a method",
                "write a method such as `GET`",
            ));
        } else if !methods.contains(&method) {
            methods.push(method);
        }
    }
    Some(methods)
}

/// RFC 9110 §5.6.2
fn is_token(text: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.len() <= 32 && text.bytes().all(legal)
}
