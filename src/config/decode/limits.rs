//! `limits` of listeners, routes and upstreams, and `memory`.

use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::super::diagnostics::{Diagnostic, Diagnostics};
use super::super::model::{BodyLimit, InFlightLimit, Memory, MemoryLimit, UpstreamLimits};
use super::fields::{Fields, Item};
use super::{keys, scalars};
use crate::units::{self, Pretty};

const MOST: u32 = 1_000_000;
/// A larger one is better not limited at all.
const MOST_BODY: u32 = 1 << 31;
/// The smaller is the least that hyper reads at once.
const ANSWER_HEAD: RangeInclusive<u32> = 8 * 1024..=1024 * 1024;
/// Less than this the proxy itself needs to start.
const LEAST_MEMORY: u64 = 1024 * 1024;
const MOST_MEMORY: u64 = 1 << 44;

/// `limits` of a route: those of requests under way, and of their bodies.
pub(super) fn route_limits(item: Item<'_>, out: &mut Diagnostics) -> (InFlightLimit, BodyLimit) {
    let Some(fields) = Fields::of(item, keys::ROUTE_LIMITS, out) else {
        return Default::default();
    };
    (
        in_flight(&fields, &["in_flight"], out),
        body_bytes(&fields, out),
    )
}

/// `body_bytes` among `fields`.
pub(super) fn body_bytes(fields: &Fields<'_>, out: &mut Diagnostics) -> BodyLimit {
    let Some(item) = fields.get("body_bytes") else {
        return BodyLimit::Default;
    };
    match scalars::is_off(&item, out) {
        None => BodyLimit::Default,
        Some(true) => BodyLimit::Off,
        Some(false) => scalars::bytes(&item, 1..=MOST_BODY, out)
            .and_then(NonZeroU32::new)
            .map_or(BodyLimit::Default, BodyLimit::Bytes),
    }
}

/// `limits` of an upstream.
pub(super) fn upstream_limits(item: Item<'_>, out: &mut Diagnostics) -> UpstreamLimits {
    let Some(fields) = Fields::of(item, keys::UPSTREAM_LIMITS, out) else {
        return UpstreamLimits::default();
    };
    let mut limits = UpstreamLimits {
        in_flight: in_flight(&fields, &keys::UPSTREAM_ROOM, out),
        endpoint_in_flight: count_or_off(&fields, "endpoint_in_flight", out),
        connections: count_or_off(&fields, "connections", out),
        ..UpstreamLimits::default()
    };
    let size = fields.get("header_bytes");
    if let Some(read) = size.and_then(|item| scalars::bytes(&item, ANSWER_HEAD, out)) {
        limits.header_bytes = read;
    }
    let count = fields.get("headers");
    if let Some(read) = count.and_then(|item| scalars::integer(&item, 1..=1_000, out)) {
        limits.headers = read;
    }
    limits
}

/// `in_flight`, `pending` and `pending_wait` among `fields`; one waits for what is limited by the keys `room`.
pub(super) fn in_flight(
    fields: &Fields<'_>,
    room: &[&str],
    out: &mut Diagnostics,
) -> InFlightLimit {
    let mut limit = InFlightLimit {
        in_flight: count_or_off(fields, "in_flight", out),
        ..InFlightLimit::default()
    };
    let pending = fields.get("pending");
    if let Some(read) = pending
        .as_ref()
        .and_then(|item| scalars::integer(item, 0..=MOST, out))
    {
        limit.pending = read;
    }
    let limited = room
        .iter()
        .any(|key| fields.get(key).is_some() || fields.is_mistyped(key));
    if let Some(item) = pending.filter(|_| limit.pending > 0 && !limited) {
        out.push(
            Diagnostic::warning(format!("{} has nothing to wait for", item.title()))
                .at(item.at())
                .label("add `in_flight: 1000`, or remove it"),
        );
    }
    if let Some(item) = fields.get("pending_wait") {
        let range = scalars::MIN_TIME..=scalars::MAX_TIME;
        limit.pending_wait = scalars::duration(&item, range, out).unwrap_or(limit.pending_wait);
        if fields.get("pending").is_none() && !fields.is_mistyped("pending") {
            out.push(
                Diagnostic::warning(format!("{} has no effect: nobody may wait", item.title()))
                    .at(item.at())
                    .label("add `pending: 100`, or remove it"),
            );
        }
    }
    limit
}

fn count_or_off(fields: &Fields<'_>, key: &str, out: &mut Diagnostics) -> Option<NonZeroU32> {
    let item = fields.get(key)?;
    if scalars::is_off(&item, out)? {
        return None;
    }
    scalars::integer(&item, 1..=MOST, out).and_then(NonZeroU32::new)
}

/// `memory`
pub(super) fn memory(item: Item<'_>, out: &mut Diagnostics) -> Memory {
    let mut memory = Memory::default();
    let place = item.clone();
    let Some(fields) = Fields::of(item, keys::MEMORY, out) else {
        return memory;
    };
    if let Some(read) = fields
        .get("limit")
        .and_then(|item| memory_limit(&item, out))
    {
        memory.limit = read;
    }
    for (key, target) in [
        ("replay_at", &mut memory.replay_at),
        ("shed_at", &mut memory.shed_at),
    ] {
        let read = fields
            .get(key)
            .and_then(|item| scalars::percent(&item, 1..=100, out));
        *target = read.unwrap_or(*target);
    }
    if memory.replay_at > memory.shed_at {
        let at = fields.get("replay_at").or_else(|| fields.get("shed_at"));
        let message = format!(
            "`memory.replay_at: {}%` is above `memory.shed_at: {}%`: requests would be refused before memory is saved",
            memory.replay_at, memory.shed_at
        );
        out.push(
            Diagnostic::error(message)
                .at(at.map_or(place.key, |item| item.at()))
                .label("write a `replay_at` that is not above `shed_at`"),
        );
    }
    memory
}

fn memory_limit(item: &Item<'_>, out: &mut Diagnostics) -> Option<MemoryLimit> {
    if scalars::is_off(item, out)? {
        return Some(MemoryLimit::Off);
    }
    let hint = "write `auto`, `off` or a size: `256MiB`";
    let found = scalars::scalar(item, "`auto`, `off` or a size", hint, out)?;
    if found.value() == "auto" {
        return Some(MemoryLimit::Auto);
    }
    match units::bytes(found.value()) {
        Ok(size) if (LEAST_MEMORY..=MOST_MEMORY).contains(&size) => Some(MemoryLimit::Bytes(size)),
        Ok(_) => {
            let (low, high) = (Pretty::Bytes(LEAST_MEMORY), Pretty::Bytes(MOST_MEMORY));
            let message = format!(
                "{} must be from {low} to {high}, not {}",
                item.title(),
                found.words()
            );
            out.push(Diagnostic::error(message).at(item.at()).label(hint));
            None
        }
        Err(mistake) => {
            let message = format!("{} of {} {mistake}", found.words(), item.title());
            out.push(Diagnostic::error(message).at(item.at()).label(hint));
            None
        }
    }
}

/// How messages show a time.
pub(super) fn shown(time: Duration) -> Pretty {
    Pretty::Time(time)
}
