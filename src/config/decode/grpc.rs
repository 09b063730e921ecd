//! `routes[].match[].grpc`: a service and perhaps one of its methods, which are nothing but a path (gRPC over HTTP/2,
//! "Requests": `/` service `/` method).

use super::super::diagnostics::Diagnostics;
use super::super::model::PathMatch;
use super::fields::{Fields, Item};
use super::matches::{Mistake, refuse};
use super::{keys, scalars};

/// The path that stands for a service, or for one of its methods.
pub(super) fn grpc(item: Item<'_>, out: &mut Diagnostics) -> Option<PathMatch> {
    let fields = Fields::of(item, keys::GRPC, out)?;
    let service = fields.required("service", "pay.v1.Payments", out);
    let service = service.and_then(|item| name(&item, "pay.v1.Payments", out));
    let method = fields.get("method").map(|item| name(&item, "Charge", out));
    let method = method.map_or(Some(None), |read| read.map(Some))?;
    // What an unknown key was meant to say would narrow the rule.
    if fields.has_unknown() {
        return None;
    }
    let service = service?;
    Some(match method {
        Some(method) => PathMatch::Exact(format!("/{service}/{method}")),
        None => PathMatch::Prefix(format!("/{service}")),
    })
}

fn name<'n>(item: &Item<'n>, sample: &str, out: &mut Diagnostics) -> Option<&'n str> {
    let hint = format!("write a name: `{sample}`");
    let scalar = scalars::scalar(item, "a name", &hint, out)?;
    let name = scalar.value();
    match mistake(name, &hint) {
        Some(mistake) => refuse(item, scalar, mistake, out),
        None => Some(name),
    }
}

fn mistake(name: &str, hint: &str) -> Option<Mistake> {
    if name.contains('/') {
        let label = "write what is before its `/` as `service`, what is behind it as `method`";
        return Some(("is a path, not a name", label.to_owned()));
    }
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.');
    if !name.chars().all(legal) {
        let label = "use letters, digits, `_`, `.`";
        return Some(("holds characters that no name has", label.to_owned()));
    }
    // Also `..`, which in a path means something else.
    let empty = name.split('.').any(str::is_empty);
    empty.then(|| ("has a `.` with nothing before or after it", hint.to_owned()))
}
