//! `upstreams.*`

use std::collections::HashMap;
use std::num::NonZeroU32;

use super::super::diagnostics::{Diagnostic, Diagnostics};
use super::super::model::{
    Balance, Endpoint, EndpointAddress, FailureRules, Http2, Located, Pool, Protocol, RetryBudget,
    Upstream, UpstreamLimits, UpstreamTimeouts,
};
use super::super::source::Span;
use super::super::yaml::Value;
use super::fields::{Fields, Item};
use super::{
    address, circuit_breaker, discovery, health, http2, keys, limits, outlier, retry, scalars, tcp,
    tls,
};
use scalars::{MAX_TIME, MIN_TIME};

/// Reads one upstream.
pub(super) fn upstream(name: Located<String>, item: Item<'_>, out: &mut Diagnostics) -> Upstream {
    let mut upstream = Upstream {
        name,
        endpoints: Vec::new(),
        balance: Balance::default(),
        timeouts: UpstreamTimeouts::default(),
        pool: Pool::default(),
        protocol: Protocol::default(),
        proxy_protocol: None,
        http2: Http2::default(),
        retry_budget: Some(RetryBudget::default()),
        limits: UpstreamLimits::default(),
        discovery: None,
        health_check: None,
        outlier: None,
        panic_threshold: Some(outlier::HALF),
        circuit_breaker: None,
        failure: FailureRules::default(),
        tls: None,
    };
    let Some(fields) = Fields::of(item, keys::UPSTREAM, out) else {
        return upstream;
    };
    sources(&fields, &mut upstream, out);
    let words = [
        ("round_robin", Balance::RoundRobin),
        ("least_connections", Balance::LeastConnections),
    ];
    if let Some(balance) = fields
        .get("balance")
        .and_then(|item| scalars::word(&item, &words, out))
    {
        upstream.balance = balance;
    }
    if let Some(item) = fields.get("timeouts") {
        timeouts(item, &mut upstream.timeouts, out);
    }
    if let Some(item) = fields.get("pool") {
        pool(item, &mut upstream.pool, out);
    }
    http2::protocol(&fields, &mut upstream, out);
    upstream.proxy_protocol = tcp::proxy_header(&fields, out);
    upstream.tls = fields.get("tls").and_then(|item| tls::upstream(item, out));
    policies(&fields, &mut upstream, out);
    upstream
}

fn policies(fields: &Fields<'_>, upstream: &mut Upstream, out: &mut Diagnostics) {
    if let Some(item) = fields.get("retry_budget") {
        upstream.retry_budget = retry::budget(item, out);
    }
    if let Some(item) = fields.get("limits") {
        upstream.limits = limits::upstream_limits(item, out);
    }
    upstream.health_check = fields
        .get("health_check")
        .and_then(|item| health::health_check(&item, out));
    upstream.outlier = fields
        .get("outlier")
        .and_then(|item| outlier::outlier(item, out));
    if let Some(read) = fields
        .get("panic_threshold")
        .and_then(|item| outlier::percent_or_off(&item, out))
    {
        upstream.panic_threshold = read;
    }
    if let Some(item) = fields.get("circuit_breaker") {
        upstream.circuit_breaker = circuit_breaker::circuit_breaker(item, out);
    }
    if let Some(item) = fields.get("failure") {
        upstream.failure = circuit_breaker::failure(item, out);
    }
}

/// `endpoints`, or `discovery` instead.
fn sources(fields: &Fields<'_>, upstream: &mut Upstream, out: &mut Diagnostics) {
    let Some(item) = fields.get("discovery") else {
        if !fields.is_mistyped("discovery")
            && let Some(item) = fields.required("endpoints", "[127.0.0.1:3000]", out)
        {
            upstream.endpoints = endpoints(&item, out);
        }
        return;
    };
    if let Some(endpoints) = fields.get("endpoints") {
        let message = format!("{} stands beside `discovery`", endpoints.title());
        out.push(
            Diagnostic::error(message)
                .at(endpoints.key)
                .label("remove one of them")
                .related(item.key, "this tells the endpoints"),
        );
    }
    upstream.discovery = discovery::discovery(item, out);
}

fn endpoints(item: &Item<'_>, out: &mut Diagnostics) -> Vec<Located<Endpoint>> {
    if matches!(&item.node.value, Value::Sequence(items) if items.is_empty()) {
        let message = format!("{} is empty", item.title());
        out.push(
            Diagnostic::error(message)
                .at(item.key)
                .label("write at least one address: `[127.0.0.1:3000]`"),
        );
    }
    listed(item, out)
}

/// The endpoints of a list, which may be empty.
pub(super) fn listed(item: &Item<'_>, out: &mut Diagnostics) -> Vec<Located<Endpoint>> {
    let Some(items) = item.items("addresses", "write a list: `[127.0.0.1:3000]`", out) else {
        return Vec::new();
    };
    let mut seen: HashMap<EndpointAddress, Span> = HashMap::new();
    let mut endpoints = Vec::with_capacity(items.len());
    for item in items {
        let at = item.at();
        let Some(endpoint) = endpoint(item, out) else {
            continue;
        };
        match seen.insert(endpoint.address.clone(), at) {
            None => endpoints.push(Located::new(endpoint, at)),
            Some(first) => out.push(
                Diagnostic::error(format!(
                    "the endpoint `{}` is listed twice",
                    endpoint.address
                ))
                .at(at)
                .label("remove it; a larger share is a `weight`")
                .related(first, "first written here"),
            ),
        }
    }
    endpoints
}

/// An address, or a mapping with its address and weight.
fn endpoint(item: Item<'_>, out: &mut Diagnostics) -> Option<Endpoint> {
    if !matches!(item.node.value, Value::Mapping(_)) {
        let address = address::endpoint(&item, out)?;
        return Some(Endpoint {
            address,
            weight: NonZeroU32::MIN,
        });
    }
    let fields = Fields::of(item, keys::ENDPOINT, out)?;
    let weight = fields
        .get("weight")
        .and_then(|item| scalars::integer(&item, 1..=256, out));
    let address = fields.required("address", "127.0.0.1:3000", out);
    let address = address.and_then(|item| address::endpoint(&item, out))?;
    Some(Endpoint {
        address,
        weight: weight.and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN),
    })
}

fn timeouts(item: Item<'_>, timeouts: &mut UpstreamTimeouts, out: &mut Diagnostics) {
    let Some(fields) = Fields::of(item, keys::UPSTREAM_TIMEOUTS, out) else {
        return;
    };
    for (key, target) in [
        ("connect", &mut timeouts.connect),
        ("tls", &mut timeouts.tls),
        ("idle", &mut timeouts.idle),
    ] {
        let read = fields
            .get(key)
            .and_then(|item| scalars::duration(&item, MIN_TIME..=MAX_TIME, out));
        *target = read.unwrap_or(*target);
    }
    if let Some(read) = fields
        .get("upgraded_idle")
        .and_then(|item| scalars::duration_or_off(&item, out))
    {
        timeouts.upgraded_idle = read;
    }
}

fn pool(item: Item<'_>, pool: &mut Pool, out: &mut Diagnostics) {
    let Some(fields) = Fields::of(item, keys::POOL, out) else {
        return;
    };
    if let Some(read) = fields
        .get("max_idle")
        .and_then(|item| scalars::integer(&item, 0..=65_536, out))
    {
        pool.max_idle = read;
    }
    let idle = fields
        .get("idle_timeout")
        .and_then(|item| scalars::duration(&item, MIN_TIME..=MAX_TIME, out));
    pool.idle_timeout = idle.unwrap_or(pool.idle_timeout);
    if let Some(read) = fields
        .get("max_age")
        .and_then(|item| scalars::duration_or_off(&item, out))
    {
        pool.max_age = read;
    }
}
