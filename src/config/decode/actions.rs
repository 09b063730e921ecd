//! `routes[].forward`, `redirect`, `respond`, and what belongs to a forwarded request.

use std::collections::HashMap;

use super::super::diagnostics::{Diagnostic, Diagnostics};
use super::super::model::{
    Action, Body, HostMatch, Located, Mirror, Redirect, Respond, Scheme, Share, Split, Sticky,
};
use super::super::source::Span;
use super::super::yaml::Value;
use super::fields::{self, Fields, Item};
use super::header_rules::{self, Of};
use super::{keys, matches, rewrite, scalars};

/// Upstreams of one split, at most.
const MAX_SHARES: usize = 64;
/// Copies of one request, at most.
const MAX_MIRRORS: usize = 8;

/// The action of a route; an unread one is a forward to nobody.
pub(super) fn action(route: &Fields<'_>, at: Span, out: &mut Diagnostics) -> Action {
    let unread = || Action::Forward(Located::new(String::new(), at));
    let written: Vec<Item<'_>> = ["forward", "redirect", "respond"]
        .iter()
        .filter_map(|key| route.get(key))
        .collect();
    if let [first, second, ..] = &written[..] {
        let name = |item: &Item<'_>| item.path.rsplit('.').next().unwrap_or_default().to_owned();
        let title = first.path.rsplit_once('.').map_or("", |(title, _)| title);
        let message = format!(
            "`{title}` has both `{}` and `{}`",
            name(first),
            name(second)
        );
        out.push(
            Diagnostic::error(message)
                .at(second.key)
                .label("keep one of them: a route does one thing")
                .related(first.key, "the other one"),
        );
        return unread();
    }
    if let Some(item) = route.get("redirect") {
        return redirect(item, out).map_or_else(unread, Action::Redirect);
    }
    if let Some(item) = route.get("respond") {
        return respond(item, out).map_or_else(unread, Action::Respond);
    }
    let mistyped = ["redirect", "respond"]
        .iter()
        .any(|key| route.is_mistyped(key));
    if mistyped && route.get("forward").is_none() {
        return unread();
    }
    match route.required("forward", "UPSTREAM", out) {
        Some(item) if matches!(item.node.value, Value::Mapping(_)) => {
            split(item, out).map_or_else(unread, Action::Split)
        }
        Some(item) => Action::Forward(scalars::reference(&item, "an upstream", out)),
        None => unread(),
    }
}

fn split(item: Item<'_>, out: &mut Diagnostics) -> Option<Split> {
    let fields = Fields::of(item, keys::FORWARD, out)?;
    let sticky = fields.get("sticky").and_then(|item| sticky(item, out));
    let item = fields.required("split", "{ a: 90, b: 10 }", out)?;
    let entries = fields::mapping(&item, "write `{ a: 90, b: 10 }`", out)?;
    let complaint = match entries.len() {
        0 => Some("is empty"),
        count if count > MAX_SHARES => Some("has more than 64 upstreams"),
        _ => None,
    };
    if let Some(complaint) = complaint {
        let message = format!("{} {complaint}", item.title());
        out.push(
            Diagnostic::error(message)
                .at(item.key)
                .label("write `{ a: 90, b: 10 }`"),
        );
        return None;
    }
    let mut shares = Vec::with_capacity(entries.len());
    let mut complete = true;
    for (name, node) in entries {
        let weight = scalars::integer(&item.child(name, node), 0..=1_000_000, out);
        complete &= weight.is_some();
        shares.push(Share {
            upstream: name.clone(),
            weight: weight.unwrap_or(0),
        });
    }
    if complete && shares.iter().all(|share| share.weight == 0) {
        let message = format!("all weights of {} are 0", item.title());
        out.push(
            Diagnostic::error(message)
                .at(item.key)
                .label("give one of them at least 1; nobody would get a request"),
        );
    }
    Some(Split { shares, sticky })
}

fn sticky(item: Item<'_>, out: &mut Diagnostics) -> Option<Sticky> {
    let (key, title) = (item.key, item.title());
    let fields = Fields::of(item, keys::STICKY, out)?;
    match (fields.get("header"), fields.get("cookie")) {
        (Some(item), None) => {
            let name = scalars::name(&item, "a header name", "write `x-user`", out)?;
            let at = Item {
                key: item.at(),
                ..item
            };
            header_rules::name(&name.value, &at, out).map(Sticky::Header)
        }
        (None, Some(item)) => {
            let name = scalars::name(&item, "a cookie's name", "write `session`", out)?;
            let legal = |c: char| c.is_ascii_graphic() && !"=;,\"\\".contains(c);
            if name.value.chars().all(legal) {
                return Some(Sticky::Cookie(name.value));
            }
            out.push(
                Diagnostic::error(format!("{} is not the name of a cookie", item.title()))
                    .at(item.at())
                    .label("use letters, digits, `-`, `_`"),
            );
            None
        }
        (None, None) if fields.has_unknown() => None,
        (header, _) => {
            let what = if header.is_some() {
                "has both `header` and `cookie`"
            } else {
                "names nothing"
            };
            out.push(
                Diagnostic::error(format!("{title} {what}"))
                    .at(key)
                    .label("write `{ header: x-user }` or `{ cookie: session }`"),
            );
            None
        }
    }
}

/// `None` after a mistake: half a redirect leads somewhere else.
fn redirect(item: Item<'_>, out: &mut Diagnostics) -> Option<Located<Redirect>> {
    let at = item.key;
    let fields = Fields::of(item, keys::REDIRECT, out)?;
    let schemes = [("http", Scheme::Http), ("https", Scheme::Https)];
    let scheme = read(&fields, "scheme", |item| {
        scalars::word(&item, &schemes, out)
    });
    let host = read(&fields, "host", |item| plain_host(&item, out));
    let port = read(&fields, "port", |item| {
        let port = scalars::integer(&item, 1..=65_535, out)?;
        u16::try_from(port).ok()
    });
    let path = read(&fields, "path", |item| {
        rewrite::path_rewrite(item, keys::REDIRECT_PATH, out)
    });
    let statuses = [
        ("301", 301),
        ("302", 302),
        ("303", 303),
        ("307", 307),
        ("308", 308),
    ];
    let status = read(&fields, "status", |item| {
        scalars::word(&item, &statuses, out)
    });
    let read = Redirect {
        scheme: scheme?,
        host: host?,
        port: port?,
        path: path?,
        status: status?.unwrap_or(302),
    };
    Some(Located::new(read, at))
}

/// The value behind `key`, if there is one; `None` if it could not be read.
fn read<'n, T>(
    fields: &Fields<'n>,
    key: &str,
    read: impl FnOnce(Item<'n>) -> Option<T>,
) -> Option<Option<T>> {
    fields
        .get(key)
        .map_or(Some(None), |item| read(item).map(Some))
}

/// A host that is neither a wildcard nor has a port.
fn plain_host(item: &Item<'_>, out: &mut Diagnostics) -> Option<String> {
    match matches::host(item, out)? {
        HostMatch::Exact(name) => Some(name),
        HostMatch::Suffix(_) => {
            out.push(
                Diagnostic::error(format!("{} is a wildcard", item.title()))
                    .at(item.at())
                    .label("write one host: `www.example.com`"),
            );
            None
        }
    }
}

fn respond(item: Item<'_>, out: &mut Diagnostics) -> Option<Respond> {
    let at = item.key;
    let fields = Fields::of(item, keys::RESPOND, out)?;
    let status = fields
        .get("status")
        .map_or(Some(Located::new(200, at)), |item| {
            let status = scalars::integer(&item, 200..=599, out)?;
            Some(Located::new(u16::try_from(status).ok()?, item.at()))
        });
    let mut seen = HashMap::new();
    let headers = fields.get("headers");
    let headers = headers.map(|item| header_rules::values(&item, Of::Response, &mut seen, out));
    let body = fields.get("body").map(|item| body(item, out));
    Some(Respond {
        status: status.unwrap_or(Located::new(200, at)),
        headers: headers.unwrap_or_default(),
        body: body.unwrap_or_default(),
    })
}

/// A text, or a file that [`super::super::bodies`] reads.
fn body(item: Item<'_>, out: &mut Diagnostics) -> Body {
    if let Value::Scalar(scalar) = &item.node.value {
        return Body::Text(scalar.text.clone());
    }
    let Some(fields) = Fields::of(item, keys::BODY, out) else {
        return Body::Empty;
    };
    let path = fields.required("file", "PATH", out);
    let path = path.and_then(|item| scalars::text(&item, "a path", "write `page.html`", out));
    path.map_or(Body::Empty, |path| Body::File {
        path,
        bytes: Vec::new(),
    })
}

/// One mirror, or a list of them.
pub(super) fn mirrors(item: Item<'_>, out: &mut Diagnostics) -> Vec<Mirror> {
    let Value::Sequence(_) = &item.node.value else {
        return mirror(item, out).into_iter().collect();
    };
    let items = item
        .items("upstreams", "write `[shadow]`", out)
        .unwrap_or_default();
    if items.len() > MAX_MIRRORS {
        let message = format!("{} has more than {MAX_MIRRORS} items", item.title());
        out.push(
            Diagnostic::error(message)
                .at(item.key)
                .label("each of them doubles the work of a request"),
        );
    }
    let read = items.into_iter().filter_map(|item| mirror(item, out));
    read.collect()
}

fn mirror(item: Item<'_>, out: &mut Diagnostics) -> Option<Mirror> {
    const ALL: u32 = 10_000;
    if !matches!(item.node.value, Value::Mapping(_)) {
        let upstream = scalars::reference(&item, "an upstream", out);
        return Some(Mirror {
            upstream,
            hundredths: ALL,
        });
    }
    let fields = Fields::of(item, keys::MIRROR, out)?;
    let share = fields
        .get("percent")
        .and_then(|item| scalars::hundredths(&item, out));
    let upstream = fields.required("upstream", "UPSTREAM", out)?;
    Some(Mirror {
        upstream: scalars::reference(&upstream, "an upstream", out),
        hundredths: share.unwrap_or(ALL),
    })
}
