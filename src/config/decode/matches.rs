//! `routes[].match[]`: host, path, methods; [`super::conditions`] reads headers and query, [`super::grpc`] what stands for
//! a path.
//!
//! Hosts are compared in lower case and without their port, paths by whole segments; what could never match under
//! these rules is a mistake here.

use std::net::IpAddr;

use super::super::diagnostics::{Diagnostic, Diagnostics};
use super::super::model::{HostMatch, Located, PathMatch, RouteMatch};
use super::super::yaml::{Scalar, Value};
use super::fields::{Fields, Item};
use super::patterns::{self, Anchored};
use super::{conditions, grpc, keys, scalars};

/// Reads one item of `match`; `None` after a mistake, for half a rule would match too much.
pub(super) fn route_match(item: Item<'_>, out: &mut Diagnostics) -> Option<Located<RouteMatch>> {
    let at = item.key;
    let fields = Fields::of(item, keys::MATCH, out)?;
    let host = fields.get("host").map(|item| host(&item, out));
    let path = path_or_grpc(&fields, out);
    let methods = fields.get("methods").map(|item| methods(&item, out));
    let headers = fields
        .get("headers")
        .map(|item| conditions::headers(&item, out));
    let query = fields
        .get("query")
        .map(|item| conditions::query(&item, out));
    // A key that is written must have been read.
    let host = host.map_or(Some(None), |read| read.map(Some))?;
    let path = path.map_or(Some(None), |read| read.map(Some))?;
    let methods = methods.map_or(Some(Vec::new()), |read| read)?;
    let headers = headers.map_or(Some(Vec::new()), |read| read)?;
    let query = query.map_or(Some(Vec::new()), |read| read)?;
    Some(Located::new(
        RouteMatch {
            host,
            path,
            methods,
            headers,
            query,
        },
        at,
    ))
}

/// `path`, or what stands for it.
fn path_or_grpc(fields: &Fields<'_>, out: &mut Diagnostics) -> Option<Option<PathMatch>> {
    let grpc = fields.get("grpc");
    let Some(item) = fields.get("path") else {
        return grpc.map(|item| grpc::grpc(item, out));
    };
    if let Some(grpc) = grpc {
        let title = grpc.path.rsplit_once('.').map_or("", |(rule, _)| rule);
        let message = format!("`{title}` has both `path` and `grpc`, which is a path, too");
        let both = Diagnostic::error(message).at(grpc.key);
        out.push(both.label("keep one of them"));
        return Some(None);
    }
    Some(path(item, out))
}

/// What is wrong with a value, and what to write.
pub(super) type Mistake = (&'static str, String);

/// Tells `mistake`; never what a file holds.
pub(super) fn refuse<T>(
    item: &Item<'_>,
    scalar: &Scalar,
    mistake: Mistake,
    out: &mut Diagnostics,
) -> Option<T> {
    let (what, label) = mistake;
    let message = format!("{} of {} {what}", scalar.words(), item.title());
    // The remedy may repeat what was written, which must not happen with a file's content.
    let label = if scalar.shown.is_some() {
        "correct that file".to_owned()
    } else {
        label
    };
    out.push(Diagnostic::error(message).at(item.at()).label(label));
    None
}

const HOST_HINT: &str = "write `example.com` or `*.example.com`";

pub(super) fn host(item: &Item<'_>, out: &mut Diagnostics) -> Option<HostMatch> {
    let scalar = scalars::scalar(item, "a host name", HOST_HINT, out)?;
    let host = scalar.value().to_ascii_lowercase();
    parse_host(host.strip_suffix('.').unwrap_or(&host))
        .map_or_else(|mistake| refuse(item, scalar, mistake, out), Some)
}

fn parse_host(host: &str) -> Result<HostMatch, Mistake> {
    if host == "*" {
        return Err(("matches every host", "leave `host` out".to_owned()));
    }
    if host.contains('/') {
        return Err((
            "is a URL, not a host",
            "write the host alone; paths go to `path`".to_owned(),
        ));
    }
    if host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
        return Ok(HostMatch::Exact(host.to_owned()));
    }
    if let Some((name, _)) = host.split_once(':') {
        return Err((
            "has a port",
            format!("write `{name}`: hosts are matched without port"),
        ));
    }
    if !host.is_ascii() {
        return Err((
            "is not ASCII",
            "write the name in its `xn--` form".to_owned(),
        ));
    }
    let (name, wildcard) = host
        .strip_prefix("*.")
        .map_or((host, false), |rest| (rest, true));
    if name.contains('*') {
        return Err((
            "has a `*` in the middle",
            "`*.` stands at the beginning only".to_owned(),
        ));
    }
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if name
        .split('.')
        .any(|label| label.is_empty() || !label.chars().all(legal))
    {
        return Err(("is not a host name", HOST_HINT.to_owned()));
    }
    let kind = if wildcard {
        HostMatch::Suffix
    } else {
        HostMatch::Exact
    };
    Ok(kind(name.to_owned()))
}

fn path(item: Item<'_>, out: &mut Diagnostics) -> Option<PathMatch> {
    if !matches!(item.node.value, Value::Mapping(_)) {
        return path_text(&item, out).map(prefix);
    }
    let (key, title) = (item.key, item.title());
    let fields = Fields::of(item, keys::PATH, out)?;
    let written: Vec<Item<'_>> = keys::PATH
        .iter()
        .filter_map(|key| fields.get(key))
        .collect();
    if let [first, second, ..] = &written[..] {
        let name = |item: &Item<'_>| item.path.rsplit('.').next().unwrap_or_default().to_owned();
        let message = format!("{title} has both `{}` and `{}`", name(first), name(second));
        out.push(
            Diagnostic::error(message)
                .at(second.key)
                .label("keep one of them"),
        );
        return None;
    }
    if let Some(item) = fields.get("exact") {
        return path_text(&item, out).map(|path| PathMatch::Exact(path.to_owned()));
    }
    if let Some(item) = fields.get("prefix") {
        return path_text(&item, out).map(prefix);
    }
    if let Some(item) = fields.get("regex") {
        return patterns::pattern(&item, Anchored::Whole, out).map(PathMatch::Regex);
    }
    if !fields.has_unknown() {
        let label = "write `{ exact: /a }` or `{ prefix: /a }`";
        out.push(
            Diagnostic::error(format!("{title} says no path"))
                .at(key)
                .label(label),
        );
    }
    None
}

/// `/api/` and `/api` are the same prefix.
fn prefix(path: &str) -> PathMatch {
    let trimmed = path.trim_end_matches('/');
    PathMatch::Prefix(if trimmed.is_empty() {
        "/".to_owned()
    } else {
        trimmed.to_owned()
    })
}

pub(super) fn path_text<'n>(item: &Item<'n>, out: &mut Diagnostics) -> Option<&'n str> {
    let scalar = scalars::scalar(item, "a path", "write `/path`", out)?;
    let path = scalar.value();
    let mistake = if !path.starts_with('/') {
        ("does not begin with `/`", format!("write `/{path}`"))
    } else if path.contains(['?', '#']) {
        ("holds a query", "end it before the `?` or `#`".to_owned())
    } else if path.contains('*') {
        (
            "holds a `*`",
            "leave the `*` out: a prefix takes all below it".to_owned(),
        )
    } else if path
        .chars()
        .any(|c| c.is_whitespace() || c.is_control() || !c.is_ascii())
    {
        let label = "write it percent-encoded, as it stands in a request";
        (
            "holds characters that no request line has",
            label.to_owned(),
        )
    } else {
        return Some(path);
    };
    refuse(item, scalar, mistake, out)
}

fn methods(item: &Item<'_>, out: &mut Diagnostics) -> Option<Vec<String>> {
    let items = item.items("methods", "write a list: `[GET, POST]`", out)?;
    if items.is_empty() {
        out.push(
            Diagnostic::error(format!("{} is empty", item.title()))
                .at(item.key)
                .label("leave it out to match all"),
        );
        return None;
    }
    let read: Vec<_> = items.iter().map(|item| method(item, out)).collect();
    read.into_iter().collect()
}

fn method(item: &Item<'_>, out: &mut Diagnostics) -> Option<String> {
    let scalar = scalars::scalar(item, "a method", "write `GET`, `POST` …", out)?;
    let text = scalar.value();
    let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if !text.chars().all(token) {
        return refuse(
            item,
            scalar,
            ("is not a method", "write `GET`, `POST` …".to_owned()),
            out,
        );
    }
    let upper = text.to_ascii_uppercase();
    if upper != text {
        let mistake = (
            "is not in capitals; methods are case-sensitive",
            format!("write `{upper}`"),
        );
        return refuse(item, scalar, mistake, out);
    }
    Some(upper)
}
