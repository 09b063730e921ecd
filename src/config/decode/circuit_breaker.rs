//! `upstreams.*.circuit_breaker` and `upstreams.*.failure`

use super::super::diagnostics::{Diagnostic, Diagnostics};
use super::super::model::{
    BreakerMode, BreakerScope, CircuitBreaker, FailureRules, GRPC_STATUS, Located, StatusRange,
};
use super::super::suggest;
use super::fields::{Fields, Item};
use super::{keys, scalars};
use scalars::{MAX_TIME, MIN_TIME};

/// Reads a breaker; `None` for `off`.
pub(super) fn circuit_breaker(
    item: Item<'_>,
    out: &mut Diagnostics,
) -> Option<Located<CircuitBreaker>> {
    if scalars::is_off(&item, out)? {
        return None;
    }
    let at = item.key;
    let mut breaker = CircuitBreaker::default();
    if let Some(fields) = Fields::of(item, keys::CIRCUIT_BREAKER, out) {
        triggers(&fields, &mut breaker, out);
        recovery(&fields, &mut breaker, out);
    }
    Some(Located::new(breaker, at))
}

fn triggers(fields: &Fields<'_>, breaker: &mut CircuitBreaker, out: &mut Diagnostics) {
    if let Some(item) = fields.get("consecutive_failures") {
        breaker.consecutive_failures = match scalars::is_off(&item, out) {
            Some(true) => None,
            Some(false) => {
                scalars::integer(&item, 1..=10_000, out).or(breaker.consecutive_failures)
            }
            None => breaker.consecutive_failures,
        };
    }
    if let Some(item) = fields.get("error_rate")
        && scalars::is_off(&item, out) == Some(false)
    {
        breaker.error_rate = percent(&item, out);
    }
    if let Some(item) = fields.get("slow") {
        let read = scalars::duration_or_off(&item, out).flatten();
        breaker.slow = read.map(|slow| Located::new(slow, item.at()));
    }
    let slow_rate = fields.get("slow_rate");
    if let Some(rate) = slow_rate.and_then(|item| percent(&item, out)) {
        breaker.slow_rate = rate;
    }
    if let Some(item) = fields.get("min_requests")
        && let Some(number) = scalars::integer(&item, 1..=1_000_000, out)
    {
        breaker.min_requests = Located::new(number, item.at());
    }
}

fn recovery(fields: &Fields<'_>, breaker: &mut CircuitBreaker, out: &mut Diagnostics) {
    for (key, target) in [
        ("open_for", &mut breaker.open_for),
        ("window", &mut breaker.window),
    ] {
        let read = fields
            .get(key)
            .and_then(|item| scalars::duration(&item, MIN_TIME..=MAX_TIME, out));
        *target = read.unwrap_or(*target);
    }
    for (key, target) in [
        ("half_open_max", &mut breaker.half_open_max),
        ("half_open_successes", &mut breaker.half_open_successes),
    ] {
        let read = fields
            .get(key)
            .and_then(|item| scalars::integer(&item, 1..=1_000, out));
        *target = read.unwrap_or(*target);
    }
    let scopes = [
        ("endpoint", BreakerScope::Endpoint),
        ("upstream", BreakerScope::Upstream),
        ("both", BreakerScope::Both),
    ];
    let scope = fields.get("scope");
    breaker.scope = scope
        .and_then(|item| scalars::word(&item, &scopes, out))
        .unwrap_or_default();
    let modes = [
        ("enforce", BreakerMode::Enforce),
        ("observe", BreakerMode::Observe),
    ];
    let mode = fields.get("mode");
    breaker.mode = mode
        .and_then(|item| scalars::word(&item, &modes, out))
        .unwrap_or_default();
}

/// Reads what counts as a failure.
pub(super) fn failure(item: Item<'_>, out: &mut Diagnostics) -> FailureRules {
    let mut rules = FailureRules::default();
    let Some(fields) = Fields::of(item, keys::FAILURE, out) else {
        return rules;
    };
    if let Some(items) = fields
        .get("statuses")
        .and_then(|item| item.items("statuses", "write a list: `[500-599]`", out))
    {
        let read = items.iter().filter_map(|item| statuses(item, out));
        rules.statuses = read.collect();
    }
    if let Some(items) = fields
        .get("grpc")
        .and_then(|item| item.items("codes", "write a list: `[unavailable]`", out))
    {
        rules.grpc = items.iter().filter_map(|item| grpc(item, out)).collect();
    }
    if let Some(item) = fields.get("slow") {
        let read = scalars::duration_or_off(&item, out).flatten();
        rules.slow = read.map(|slow| Located::new(slow, item.at()));
    }
    rules
}

/// `503`, or `500-599`.
fn statuses(item: &Item<'_>, out: &mut Diagnostics) -> Option<Located<StatusRange>> {
    let hint = "write `503` or `500-599`";
    let found = scalars::scalar(item, "a status or a range of them", hint, out)?;
    let text = found.value();
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let status = |text: &str| {
        let number = text.trim().parse::<u16>().ok();
        number.filter(|number| (200..600).contains(number))
    };
    let wrong = match (status(first), status(last)) {
        (Some(first), Some(last)) if first <= last => {
            return Some(Located::new(StatusRange { first, last }, item.at()));
        }
        (Some(_), Some(_)) => "ends before it begins",
        _ => "is not a status from 200 to 599, nor a range of them",
    };
    let message = format!("{} of {} {wrong}", found.words(), item.title());
    out.push(Diagnostic::error(message).at(item.at()).label(hint));
    None
}

/// The code that a name, in whatever case, or a number stands for.
pub(super) fn grpc_code(text: &str) -> Option<u16> {
    let mut codes = (0u16..).zip(GRPC_STATUS);
    let known =
        codes.find(|(number, name)| name.eq_ignore_ascii_case(text) || number.to_string() == text);
    known.map(|(number, _)| number)
}

/// `unavailable`, or its number.
fn grpc(item: &Item<'_>, out: &mut Diagnostics) -> Option<u16> {
    let hint = "write `unavailable` or `14`";
    let found = scalars::scalar(item, "a gRPC code", hint, out)?;
    let text = found.value();
    match grpc_code(text) {
        Some(0) => {
            let message = format!("{} cannot be `ok`, which is no failure", item.title());
            out.push(Diagnostic::error(message).at(item.at()).label("remove it"));
            None
        }
        Some(number) => Some(number),
        None => {
            let message = format!("{} of {} is not a gRPC code", found.words(), item.title());
            let near = suggest::did_you_mean(&text.to_ascii_lowercase(), GRPC_STATUS);
            let label = near.unwrap_or_else(|| hint.into());
            out.push(Diagnostic::error(message).at(item.at()).label(label));
            None
        }
    }
}

/// `50%`, from 1 to 100.
fn percent(item: &Item<'_>, out: &mut Diagnostics) -> Option<Located<u8>> {
    scalars::percent(item, 1..=100, out).map(|share| Located::new(share, item.at()))
}
