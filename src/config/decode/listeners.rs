//! `listeners.*`

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;

use super::super::diagnostics::{Diagnostic, Diagnostics};
use super::super::model::{
    BodyLimit, Direction, DotSegments, DoubleSlash, EncodedSlash, Listener, ListenerLimits,
    ListenerProtocol, ListenerTimeouts, Located, Normalize, ProxyProtocol,
};
use super::super::source::Span;
use super::super::yaml::{Scalar, Value};
use super::address;
use super::fields::{Fields, Item, brief};
use super::{keys, limits, scalars, tcp, tls, unix};
use crate::units;
use crate::units::place::{FileRules, Place};
use scalars::{MAX_TIME, MIN_TIME};

/// Stands for an address that could not be read: port 0 collides with nothing.
const UNREAD: Place = Place::Tcp(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0));

/// Reads one listener.
pub(super) fn listener(name: Located<String>, item: Item<'_>, out: &mut Diagnostics) -> Listener {
    let named_outbound = name.value == "outbound";
    let mut listener = Listener {
        direction: if named_outbound {
            Direction::Outbound
        } else {
            Direction::Inbound
        },
        name,
        address: Located::new(UNREAD, Span::default()),
        unix: FileRules::default(),
        protocol: ListenerProtocol::default(),
        proxy_protocol: ProxyProtocol::default(),
        forward: None,
        reuse_port: false,
        timeouts: ListenerTimeouts::default(),
        limits: ListenerLimits::default(),
        normalize: Normalize::default(),
        tls: None,
    };
    let unread = Some(Located::new(String::new(), item.key));
    let Some(fields) = Fields::of(item, keys::LISTENER, out) else {
        listener.forward = unread;
        return listener;
    };
    place(&fields, &mut listener, out);
    let words = [
        ("inbound", Direction::Inbound),
        ("outbound", Direction::Outbound),
    ];
    if let Some(direction) = fields
        .get("direction")
        .and_then(|item| scalars::word(&item, &words, out))
    {
        listener.direction = direction;
    }
    listener.forward = fields
        .get("forward")
        .map(|item| scalars::reference(&item, "an upstream", out));
    if let Some(reuse) = fields
        .get("reuse_port")
        .and_then(|item| scalars::boolean(&item, out))
    {
        listener.reuse_port = reuse;
    }
    tcp::protocol(&fields, &mut listener, out);
    if let Some(item) = fields.get("timeouts") {
        timeouts(item, &mut listener.timeouts, out);
    }
    if let Some(item) = fields.get("limits") {
        read_limits(item, &mut listener.limits, out);
    }
    if let Some(item) = fields.get("normalize") {
        normalize(item, &mut listener.normalize, out);
    }
    listener.tls = fields.get("tls").and_then(|item| tls::listener(item, out));
    listener
}

/// Where it listens, and for whom.
fn place(fields: &Fields<'_>, listener: &mut Listener, out: &mut Diagnostics) {
    let address = fields.required("address", "127.0.0.1:8080", out);
    if let Some(address) = address.and_then(|item| address::place(&item, out)) {
        listener.address = address;
    }
    if let Some(item) = fields.get("unix") {
        listener.unix = unix::rules(item, listener.address.value.socket(), out);
    }
}

fn normalize(item: Item<'_>, normalize: &mut Normalize, out: &mut Diagnostics) {
    let Some(fields) = Fields::of(item, keys::NORMALIZE, out) else {
        return;
    };
    let words = [
        ("keep", EncodedSlash::Keep),
        ("decode", EncodedSlash::Decode),
        ("reject", EncodedSlash::Reject),
    ];
    let read = fields.get("encoded_slash");
    let read = read.and_then(|item| scalars::word(&item, &words, out));
    normalize.encoded_slash = read.unwrap_or(normalize.encoded_slash);
    let words = [
        ("keep", DoubleSlash::Keep),
        ("merge", DoubleSlash::Merge),
        ("reject", DoubleSlash::Reject),
    ];
    let read = fields.get("double_slash");
    let read = read.and_then(|item| scalars::word(&item, &words, out));
    normalize.double_slash = read.unwrap_or(normalize.double_slash);
    let words = [
        ("keep", DotSegments::Keep),
        ("resolve", DotSegments::Resolve),
        ("reject", DotSegments::Reject),
    ];
    let read = fields.get("dot_segments");
    let read = read.and_then(|item| scalars::word(&item, &words, out));
    normalize.dot_segments = read.unwrap_or(normalize.dot_segments);
}

fn timeouts(item: Item<'_>, timeouts: &mut ListenerTimeouts, out: &mut Diagnostics) {
    let Some(fields) = Fields::of(item, keys::LISTENER_TIMEOUTS, out) else {
        return;
    };
    for (key, target) in [
        ("request_header", &mut timeouts.request_header),
        ("idle", &mut timeouts.idle),
        ("tls_handshake", &mut timeouts.tls_handshake),
    ] {
        let read = fields
            .get(key)
            .and_then(|item| scalars::duration(&item, MIN_TIME..=MAX_TIME, out));
        *target = read.unwrap_or(*target);
    }
}

fn read_limits(item: Item<'_>, limits: &mut ListenerLimits, out: &mut Diagnostics) {
    let Some(fields) = Fields::of(item, keys::LISTENER_LIMITS, out) else {
        return;
    };
    if let Some(read) = fields
        .get("connections")
        .and_then(|item| scalars::integer(&item, 1..=1_000_000, out))
    {
        limits.connections = read;
    }
    if let Some(read) = fields
        .get("header_bytes")
        .and_then(|item| scalars::bytes(&item, 1024..=1024 * 1024, out))
    {
        limits.header_bytes = read;
    }
    if let Some(read) = fields
        .get("headers")
        .and_then(|item| scalars::integer(&item, 1..=1_000, out))
    {
        limits.headers = read;
    }
    limits.min_body_rate = fields
        .get("min_body_rate")
        .and_then(|item| rate_or_off(&item, out));
    limits.body_bytes = match limits::body_bytes(&fields, out) {
        // There is nothing that it could switch off.
        BodyLimit::Off => BodyLimit::Default,
        read => read,
    };
    limits.in_flight = limits::in_flight(&fields, &["in_flight"], out);
}

/// Bytes per second.
fn rate_or_off(item: &Item<'_>, out: &mut Diagnostics) -> Option<NonZeroU32> {
    if scalars::is_off(item, out)? {
        return None;
    }
    if let Value::Scalar(scalar) = &item.node.value
        && let Some(mistake) = rate_mistake(scalar)
    {
        let (what, label) = mistake;
        let message = format!("{} {what}", item.title());
        out.push(Diagnostic::error(message).at(item.at()).label(label));
        return None;
    }
    scalars::bytes(item, 1..=1024 * 1024 * 1024, out).and_then(NonZeroU32::new)
}

/// What is wrong with a rate that would be right elsewhere.
fn rate_mistake(scalar: &Scalar) -> Option<(&'static str, String)> {
    let text = scalar.value();
    if units::bytes(text) == Ok(0) {
        return Some(("cannot be 0", "write `off` for no limit".to_owned()));
    }
    let size = text.strip_suffix("/s").map(str::trim_end)?;
    let label = if scalar.shown.is_some() {
        "correct that file".to_owned()
    } else {
        format!("write `{}`", brief(size))
    };
    Some((
        "is a size; that it is per second need not be written",
        label,
    ))
}
