//! `listeners`: by name, each with an address.
//!
//! Path: `decode` → here → `snapshot`. A listener without a right address gets one that is never bound, for a file
//! with a mistake is never run.

use std::net::{Ipv4Addr, SocketAddr};

use super::address::{Use, socket};
use super::fields::{Field, Fields, entries, join};
use super::scalars::{Zero, boolean, duration, key_name, number, reference, size, word};
use crate::config::diagnostics::{Diagnostics, Section};
use crate::config::model::{Direction, Listener, ListenerLimits, ListenerTimeouts, Located};
use crate::config::source::Span;
use crate::config::yaml::Node;

pub(super) const LISTENER: &[&str] = &[
    "address",
    "direction",
    "forward",
    "reuse_port",
    "timeouts",
    "limits",
];
pub(super) const TIMEOUTS: &[&str] = &["request_header", "idle"];
pub(super) const LIMITS: &[&str] = &["connections", "header_bytes", "headers"];

const DIRECTIONS: &[(&str, Direction)] = &[
    ("inbound", Direction::Inbound),
    ("outbound", Direction::Outbound),
];
const NOWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// Reads all listeners.
pub(super) fn all(field: &Field<'_>, out: &mut Diagnostics) -> Option<Vec<Listener>> {
    let Some(entries) = entries(
        field,
        "write each listener as `inbound: { address: 0.0.0.0:8080 }`",
        out,
    ) else {
        out.mark_unreadable(Section::Listeners);
        return None;
    };
    Some(
        entries
            .iter()
            .map(|(name, node)| one(name, node, out))
            .collect(),
    )
}

fn one(name: &Located<String>, node: &Node, out: &mut Diagnostics) -> Listener {
    key_name(name, "listeners", out);
    let field = Field {
        node,
        path: join("listeners", &name.value),
    };
    let by_name = if name.value == "outbound" {
        Direction::Outbound
    } else {
        Direction::Inbound
    };
    let mut listener = Listener {
        name: name.clone(),
        address: Located::new(NOWHERE, Span::default()),
        direction: by_name,
        forward: None,
        reuse_port: false,
        timeouts: ListenerTimeouts::default(),
        limits: ListenerLimits::default(),
    };
    let Some(fields) = Fields::open(
        &field,
        LISTENER,
        "write `{ address: 0.0.0.0:8080, forward: app }`",
        out,
    ) else {
        out.mark_unreadable(Section::Routes);
        return listener;
    };
    let address = |field: &Field<'_>, out: &mut Diagnostics| socket(field, Use::Bind, out);
    listener.address = fields
        .required(("address", "0.0.0.0:8080"), name.at, out, address)
        .unwrap_or(listener.address);
    listener.direction = fields
        .read("direction", out, |field, out| word(field, DIRECTIONS, out))
        .unwrap_or(by_name);
    listener.forward = fields.read("forward", out, |field, out| {
        reference(field, "an upstream", out)
    });
    if fields.has_unknown || (listener.forward.is_none() && fields.field("forward").is_some()) {
        out.mark_unreadable(Section::Routes);
    }
    listener.reuse_port = fields.read("reuse_port", out, boolean).unwrap_or_default();
    listener.timeouts = fields.read("timeouts", out, timeouts).unwrap_or_default();
    listener.limits = fields.read("limits", out, limits).unwrap_or_default();
    listener
}

fn timeouts(field: &Field<'_>, out: &mut Diagnostics) -> Option<ListenerTimeouts> {
    let fields = Fields::open(
        field,
        TIMEOUTS,
        "write `{ request_header: 10s, idle: 60s }`",
        out,
    )?;
    let default = ListenerTimeouts::default();
    let time = |field: &Field<'_>, out: &mut Diagnostics| duration(field, Zero::Refused, out);
    Some(ListenerTimeouts {
        request_header: fields
            .read("request_header", out, time)
            .unwrap_or(default.request_header),
        idle: fields.read("idle", out, time).unwrap_or(default.idle),
    })
}

fn limits(field: &Field<'_>, out: &mut Diagnostics) -> Option<ListenerLimits> {
    let fields = Fields::open(
        field,
        LIMITS,
        "write `{ connections: 10000, header_bytes: 64KiB }`",
        out,
    )?;
    let default = ListenerLimits::default();
    let connections = |field: &Field<'_>, out: &mut Diagnostics| number(field, 1..=1_000_000, out);
    let header_bytes =
        |field: &Field<'_>, out: &mut Diagnostics| size(field, 1024..=1024 * 1024, out);
    let headers = |field: &Field<'_>, out: &mut Diagnostics| number(field, 1..=1_000, out);
    Some(ListenerLimits {
        connections: fields
            .read("connections", out, connections)
            .unwrap_or(default.connections),
        header_bytes: fields
            .read("header_bytes", out, header_bytes)
            .unwrap_or(default.header_bytes),
        headers: fields
            .read("headers", out, headers)
            .unwrap_or(default.headers),
    })
}
