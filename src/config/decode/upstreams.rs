//! `upstreams`: by name, each with endpoints.
//!
//! Path: `decode` → here → `snapshot`. An upstream whose endpoints are wrong has none, which only a file with a
//! mistake can have.

use super::address::endpoints;
use super::fields::{Field, Fields, entries, join};
use super::scalars::{Zero, duration, duration_or_off, key_name, number, word};
use crate::config::diagnostics::{Diagnostics, Section};
use crate::config::model::{Balance, Located, Pool, Upstream, UpstreamTimeouts};
use crate::config::yaml::Node;

pub(super) const UPSTREAM: &[&str] = &["endpoints", "balance", "timeouts", "pool"];
pub(super) const TIMEOUTS: &[&str] = &["connect", "idle"];
pub(super) const POOL: &[&str] = &["max_idle", "idle_timeout", "max_age"];

const BALANCES: &[(&str, Balance)] = &[
    ("round_robin", Balance::RoundRobin),
    ("least_connections", Balance::LeastConnections),
];

/// Reads all upstreams.
pub(super) fn all(field: &Field<'_>, out: &mut Diagnostics) -> Option<Vec<Upstream>> {
    let Some(entries) = entries(
        field,
        "write each upstream as `app: { endpoints: [127.0.0.1:3000] }`",
        out,
    ) else {
        out.mark_unreadable(Section::Upstreams);
        return None;
    };
    Some(
        entries
            .iter()
            .map(|(name, node)| one(name, node, out))
            .collect(),
    )
}

fn one(name: &Located<String>, node: &Node, out: &mut Diagnostics) -> Upstream {
    key_name(name, "upstreams", out);
    let field = Field {
        node,
        path: join("upstreams", &name.value),
    };
    let mut upstream = Upstream {
        name: name.clone(),
        endpoints: Vec::new(),
        balance: Balance::default(),
        timeouts: UpstreamTimeouts::default(),
        pool: Pool::default(),
    };
    let Some(fields) = Fields::open(
        &field,
        UPSTREAM,
        "write `{ endpoints: [127.0.0.1:3000] }`",
        out,
    ) else {
        return upstream;
    };
    let example = ("endpoints", "[127.0.0.1:3000]");
    upstream.endpoints = fields
        .required(example, name.at, out, endpoints)
        .unwrap_or_default();
    upstream.balance = fields
        .read("balance", out, |field, out| word(field, BALANCES, out))
        .unwrap_or_default();
    upstream.timeouts = fields.read("timeouts", out, timeouts).unwrap_or_default();
    upstream.pool = fields.read("pool", out, pool).unwrap_or_default();
    upstream
}

fn timeouts(field: &Field<'_>, out: &mut Diagnostics) -> Option<UpstreamTimeouts> {
    let fields = Fields::open(field, TIMEOUTS, "write `{ connect: 1s, idle: 60s }`", out)?;
    let default = UpstreamTimeouts::default();
    let time = |field: &Field<'_>, out: &mut Diagnostics| duration(field, Zero::Refused, out);
    Some(UpstreamTimeouts {
        connect: fields.read("connect", out, time).unwrap_or(default.connect),
        idle: fields.read("idle", out, time).unwrap_or(default.idle),
    })
}

fn pool(field: &Field<'_>, out: &mut Diagnostics) -> Option<Pool> {
    let fields = Fields::open(
        field,
        POOL,
        "write `{ max_idle: 128, idle_timeout: 60s, max_age: 10m }`",
        out,
    )?;
    let default = Pool::default();
    let max_idle = |field: &Field<'_>, out: &mut Diagnostics| number(field, 0..=65_536, out);
    let idle_timeout =
        |field: &Field<'_>, out: &mut Diagnostics| duration(field, Zero::Refused, out);
    Some(Pool {
        max_idle: fields
            .read("max_idle", out, max_idle)
            .unwrap_or(default.max_idle),
        idle_timeout: fields
            .read("idle_timeout", out, idle_timeout)
            .unwrap_or(default.idle_timeout),
        max_age: fields
            .read("max_age", out, duration_or_off)
            .unwrap_or(default.max_age),
    })
}
