//! Circuit breakers as operators see them, and force them.
//!
//! Path: [`super::views`] shows them in `/upstreams`, [`super::handlers`] takes `POST /upstreams/NAME/breaker`.

use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};

use crate::policy::circuit_breaker::{Force, Phase};
use crate::snapshot::Snapshot;
use crate::upstream::Upstream;
use crate::upstream::breaker::{Breaker, BreakerStatus, Mode, word};
use crate::upstream::members::Member;

/// `   breaker closed`, `   breaker open 7 s more`; empty when the upstream has none. Open, too, when all endpoints' are.
pub fn upstream_words(upstream: &Upstream) -> String {
    let now = now();
    let Some(breakers) = &upstream.breakers else {
        return String::new();
    };
    let mut status = breakers.whole.status(now);
    if let (Phase::Closed, Some(open)) = (status.phase, upstream.open_circuit(now)) {
        status.phase = open.phase;
        status.remaining = open.remaining;
    }
    format!("   breaker {}", words(status))
}

/// The same for an endpoint.
pub fn endpoint_words(member: &Member) -> String {
    let breaker = member.breaker.as_deref();
    breaker.map_or_else(String::new, |breaker| {
        format!("   breaker {}", words(breaker.status(now())))
    })
}

/// `{"state":"open","remaining_ms":7000,"mode":"enforce"}`; `null` when there is none.
pub fn status_json(breaker: Option<&Breaker>) -> Value {
    breaker.map_or(Value::Null, |breaker| {
        let status = breaker.status(now());
        let remaining = status.remaining.map(|remaining| remaining.as_millis());
        json!({
            "state": word(status.phase),
            "remaining_ms": remaining.map(|millis| u64::try_from(millis).unwrap_or(u64::MAX)),
            "mode": status.mode.as_str(),
        })
    })
}

fn words(status: BreakerStatus) -> String {
    let state = match (status.phase, status.remaining) {
        (Phase::Closed, _) => "closed".into(),
        (Phase::Open, Some(remaining)) => {
            let seconds = remaining.as_secs() + u64::from(remaining.subsec_nanos() > 0);
            format!("open {seconds} s more")
        }
        (Phase::Open, None) => "open, the next request is a probe".into(),
        (Phase::HalfOpen, _) => "half-open".into(),
        (Phase::ForcedOpen, _) => "open by hand".into(),
        (Phase::ForcedClosed, _) => "closed by hand".into(),
    };
    match status.mode {
        Mode::Enforce => state,
        Mode::Observe => format!("{state} (observed only)"),
    }
}

/// What came of forcing a breaker.
#[derive(Debug, PartialEq, Eq)]
pub enum Forced {
    /// Done; the breakers, by what they belong to.
    Done(Value),
    /// There is no such upstream or endpoint; what there is.
    Unknown(String),
    /// The upstream has no breaker.
    NoBreaker(String),
    /// The query cannot be understood; how it is written.
    BadQuery(String),
}

const USAGE: &str = "write POST /upstreams/NAME/breaker?state=open|closed|auto, for one endpoint also &endpoint=ADDRESS";

/// Forces the breaker of the upstream `name`, or of one of its endpoints, as `query` says.
pub fn force(snapshot: &Snapshot, name: &str, query: &str) -> Forced {
    let Some((force, address)) = parse(query) else {
        return Forced::BadQuery(USAGE.into());
    };
    let mut upstreams = snapshot.upstreams.iter();
    let Some(upstream) = upstreams.find(|upstream| *upstream.name == *name) else {
        let names = snapshot.upstreams.iter().map(|upstream| &*upstream.name);
        let names = names.collect::<Vec<_>>().join(", ");
        return Forced::Unknown(format!("no upstream has this name; there are: {names}"));
    };
    let Some(breakers) = &upstream.breakers else {
        return Forced::NoBreaker(format!(
            "upstream `{name}` has no circuit breaker; add `circuit_breaker: {{}}` to it"
        ));
    };
    match address {
        None => force_all(upstream, &breakers.whole, force),
        Some(address) => {
            let Some(breaker) = find(upstream, &address) else {
                let set = upstream.endpoints();
                let labels = set.iter().map(|endpoint| &*endpoint.label);
                let labels = labels.collect::<Vec<_>>().join(", ");
                return Forced::Unknown(format!(
                    "upstream `{name}` has no such endpoint; it has: {labels}"
                ));
            };
            breaker.force(force);
        }
    }
    Forced::Done(upstream_json(upstream))
}

/// An open breaker of the upstream is enough to refuse everything. To let everything pass, those of its endpoints must not
/// refuse either; and when it decides by itself again, so do they.
fn force_all(upstream: &Upstream, whole: &Breaker, force: Option<Force>) {
    whole.force(force);
    let set = upstream.endpoints();
    for breaker in set.members().iter().filter_map(|it| it.breaker.as_deref()) {
        match (force, breaker.status(now()).phase) {
            (Some(Force::Closed), phase) if phase != Phase::ForcedClosed => breaker.force(force),
            (None, Phase::ForcedOpen | Phase::ForcedClosed) => breaker.force(None),
            _ => {}
        }
    }
}

fn find(upstream: &Upstream, address: &str) -> Option<Arc<Breaker>> {
    let set = upstream.endpoints();
    let mut members = set.members().iter();
    let member = members.find(|member| *member.endpoint.label == *address)?;
    member.breaker.clone()
}

fn upstream_json(upstream: &Upstream) -> Value {
    let whole = upstream.breakers.as_ref().map(|breakers| &breakers.whole);
    let set = upstream.endpoints();
    let endpoints = set.members().iter().map(|member| {
        let label = &*member.endpoint.label;
        json!({ "address": label, "breaker": status_json(member.breaker.as_deref()) })
    });
    json!({
        "name": *upstream.name,
        "breaker": status_json(whole),
        "endpoints": endpoints.collect::<Vec<_>>(),
    })
}

/// What is asked for; a key that is missing, unknown or there twice is a mistake.
fn parse(query: &str) -> Option<(Option<Force>, Option<String>)> {
    let (mut state, mut endpoint) = (None, None);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=')?;
        let slot = match key {
            "state" => &mut state,
            "endpoint" => &mut endpoint,
            _ => return None,
        };
        if slot.replace(decode(value)?).is_some() {
            return None;
        }
    }
    let force = match state?.as_str() {
        "open" => Some(Force::Open),
        "closed" => Some(Force::Closed),
        "auto" => None,
        _ => return None,
    };
    Some((force, endpoint))
}

/// Percent-decoding (RFC 3986 §2.1): `%5B::1%5D:80` → `[::1]:80`.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        let digits = std::str::from_utf8(digits).ok()?;
        let digits = digits
            .bytes()
            .all(|digit| digit.is_ascii_hexdigit())
            .then_some(digits)?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_says_one_state_and_at_most_one_endpoint() {
        assert_eq!(parse("state=open"), Some((Some(Force::Open), None)));
        assert_eq!(
            parse("endpoint=%5b::1%5D:80&state=auto"),
            Some((None, Some("[::1]:80".into())))
        );
        for wrong in [
            "",
            "state",
            "state=",
            "state=half",
            "endpoint=a",
            "state=open&state=closed",
            "state=open&what=1",
            "state=open&endpoint=%",
            "state=open&endpoint=%+1",
            "state=open&endpoint=%ff",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
