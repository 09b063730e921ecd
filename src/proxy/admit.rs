//! An endpoint for an attempt, and the right to ask it.
//!
//! Path: [`super::attempt`] calls it before each attempt. Balancing says whose turn it is, breakers whether it may be asked
//! at all; when none may, the request is refused at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::error::{Limit, ProxyError, Refusal};
use crate::policy::circuit_breaker::Phase;
use crate::upstream::Upstream;
use crate::upstream::admission::Admission;
use crate::upstream::breaker::OpenCircuit;
use crate::upstream::endpoint::Endpoint;

/// The right to make an attempt at an endpoint of `upstream`, if there is a choice not at one that was `tried`.
///
/// # Errors
///
/// [`ProxyError::CircuitOpen`] when breakers let no attempt through, [`ProxyError::NoEndpoint`] when there is nobody to ask.
pub fn admit(
    upstream: &Arc<Upstream>,
    tried: &[Arc<Endpoint>],
    now: Instant,
) -> Result<Admission, ProxyError> {
    // Once around: the last place of a half-open breaker may be taken between the pick and the question.
    for _ in 0..=upstream.endpoints.len() {
        let Some(endpoint) = upstream.pick(tried, now) else {
            break;
        };
        if let Ok(admission) = upstream.admit(&endpoint, now) {
            return Ok(admission);
        }
    }
    Err(refused(upstream, now))
}

/// Why nothing may be asked.
pub fn refused(upstream: &Upstream, now: Instant) -> ProxyError {
    let Some(open) = upstream.open_circuit(now) else {
        return ProxyError::NoEndpoint;
    };
    if let Some(breakers) = &upstream.breakers {
        breakers.whole.count_refused();
    }
    ProxyError::CircuitOpen(Box::new(refusal(&upstream.name, open)))
}

fn refusal(upstream: &str, open: OpenCircuit) -> Refusal {
    let why = match (open.phase, open.remaining) {
        (Phase::ForcedOpen, _) => "its circuit breaker was opened by hand".into(),
        (_, Some(remaining)) => {
            let seconds = whole_seconds(remaining);
            format!("its circuit breaker is open for another {seconds} s")
        }
        (_, None) => "its circuit breaker waits for the answer to a probe".into(),
    };
    Refusal {
        message: format!("upstream `{upstream}` is not being called: {why}"),
        // When it is not known, a second is soon enough to ask again.
        retry_after: Some(open.remaining.unwrap_or(Duration::from_secs(1))),
        limit: open.key.map(|key| Limit {
            key: format!("upstreams.{upstream}.circuit_breaker.{key}"),
            value: open.value,
        }),
        ..Refusal::default()
    }
}

/// Rounded up: a client that waits as long as it is told finds the breaker half-open.
fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}
