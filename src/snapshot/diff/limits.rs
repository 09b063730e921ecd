//! `limits`, `rate_limit` and `memory` as lines.

use std::num::NonZeroU32;

use super::{list, time, word};
use crate::config::model::{
    BodyLimit, InFlightLimit, LimitMode, Memory, MemoryLimit, RateHeaders, RateKey, RateLimit,
    UpstreamLimits, WhenExceeded,
};
use crate::units::Pretty;

/// What takes a key and its value.
type Line<'l> = &'l mut dyn FnMut(&str, String);

pub(super) fn write_in_flight(limit: &InFlightLimit, line: Line<'_>) {
    line("limits.in_flight", or_off(limit.in_flight));
    line("limits.pending", limit.pending.to_string());
    line("limits.pending_wait", time(limit.pending_wait));
}

pub(super) fn write_upstream_limits(limits: &UpstreamLimits, line: Line<'_>) {
    write_in_flight(&limits.in_flight, line);
    line(
        "limits.endpoint_in_flight",
        or_off(limits.endpoint_in_flight),
    );
    line("limits.connections", or_off(limits.connections));
    line("limits.header_bytes", limits.header_bytes.to_string());
    line("limits.headers", limits.headers.to_string());
}

pub(super) fn write_body_bytes(limit: BodyLimit, line: Line<'_>) {
    let shown = match limit {
        BodyLimit::Default => "default".to_owned(),
        BodyLimit::Off => "off".to_owned(),
        BodyLimit::Bytes(bytes) => Pretty::Bytes(bytes.get().into()).to_string(),
    };
    line("limits.body_bytes", shown);
}

pub(super) fn write_memory(memory: &Memory, line: Line<'_>) {
    let limit = match memory.limit {
        MemoryLimit::Auto => "auto".to_owned(),
        MemoryLimit::Off => "off".to_owned(),
        MemoryLimit::Bytes(bytes) => Pretty::Bytes(bytes).to_string(),
    };
    line("memory.limit", limit);
    line("memory.replay_at", format!("{}%", memory.replay_at));
    line("memory.shed_at", format!("{}%", memory.shed_at));
}

fn or_off(limit: Option<NonZeroU32>) -> String {
    limit.map_or("off".into(), |limit| limit.to_string())
}

pub(super) fn write_rate_limits(rules: &[RateLimit], line: Line<'_>) {
    for rule in rules {
        line(&format!("rate_limit.{}", rule.name.value), shown(rule));
    }
}

/// `100 per 1s, burst 200, by client_ip`, and what differs from the defaults.
fn shown(rule: &RateLimit) -> String {
    let mut text = format!("{} per {}", rule.requests, time(rule.per));
    let mut add = |part: String| {
        text.push_str(", ");
        text.push_str(&part);
    };
    if rule.burst != rule.requests {
        add(format!("burst {}", rule.burst));
    }
    add(format!("by {}", by(&rule.key)));
    if rule.when_exceeded == WhenExceeded::Wait {
        add(format!(
            "wait at most {}, at most {} at once",
            time(rule.max_wait.value),
            rule.max_waiting
        ));
    }
    if rule.headers != RateHeaders::Off {
        add(format!("headers {}", word(&rule.headers)));
    }
    add(format!("{} keys", rule.max_keys));
    if rule.mode == LimitMode::Observe {
        add("observed only".to_owned());
    }
    text
}

fn by(key: &[RateKey]) -> String {
    let part = |part: &RateKey| match part {
        RateKey::ClientIp => "client_ip".to_owned(),
        RateKey::ClientIdentity => "client_identity".to_owned(),
        RateKey::Route => "route".to_owned(),
        RateKey::Method => "method".to_owned(),
        RateKey::Header(name) => format!("header {name}"),
        RateKey::Cookie(name) => format!("cookie {name}"),
        RateKey::Query(name) => format!("query {name}"),
    };
    match key {
        [single] => part(single),
        several => list(several.iter().map(part)),
    }
}
