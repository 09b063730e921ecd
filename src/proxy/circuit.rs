//! A request that circuit breakers let nowhere.
//!
//! Path: [`super::attempts`] got no place at any endpoint; what is told to the client about it is made here.

use std::time::Duration;

use super::error::{Limit, ProxyError, Refusal};
use super::unavailable;
use crate::policy::circuit_breaker::Phase;
use crate::upstream::Upstream;
use crate::upstream::breaker::OpenCircuit;

/// Nothing may be asked, for `open` stands in the way.
pub fn refused(upstream: &Upstream, open: OpenCircuit) -> ProxyError {
    if let Some(breakers) = &upstream.breakers {
        breakers.whole.count_refused();
    }
    let last_error = unavailable::last_errors(upstream);
    ProxyError::CircuitOpen(Box::new(Refusal {
        last_error,
        ..refusal(&upstream.name, open)
    }))
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
