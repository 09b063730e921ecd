//! `upstreams.*.circuit_breaker` → [`Breakers`], `upstreams.*.failure` → [`Classifier`].
//!
//! A section that did not change keeps its breakers as they are, open or closed. One that did begins with closed ones; only
//! what an operator had forced stays so.

use std::sync::Arc;

use super::Environment;
use crate::config::model::{self, BreakerMode, BreakerScope, CircuitBreaker, FailureRules};
use crate::policy::circuit_breaker::{Rate, Settings, Slow};
use crate::policy::failure::{Classifier, Statuses};
use crate::upstream::Upstream;
use crate::upstream::breaker::{Breakers, Ears, Mode};

/// An upstream as it was: its section and itself.
pub(super) type Before<'a> = (&'a model::Upstream, &'a Arc<Upstream>);

pub(super) fn compile_breakers(
    section: &model::Upstream,
    before: Option<Before<'_>>,
    environment: &Environment,
) -> Option<Arc<Breakers>> {
    if let Some((old, upstream)) = before
        && old.circuit_breaker == section.circuit_breaker
    {
        return upstream.breakers.clone();
    }
    let breaker = &section.circuit_breaker.as_ref()?.value;
    let counting = settings(breaker);
    let (whole, endpoints) = match breaker.scope {
        BreakerScope::Endpoint => (Settings::IDLE, counting),
        BreakerScope::Upstream => (counting, Settings::IDLE),
        BreakerScope::Both => (counting, counting),
    };
    let mode = match breaker.mode {
        BreakerMode::Enforce => Mode::Enforce,
        BreakerMode::Observe => Mode::Observe,
    };
    let ears = Ears {
        metrics: Arc::clone(&environment.metrics),
        journal: Arc::clone(&environment.journal),
    };
    let name: Arc<str> = section.name.value.as_str().into();
    let breakers = Breakers::new(&name, whole, endpoints, mode, ears);
    if let Some(old) = before.and_then(|(_, upstream)| upstream.breakers.as_ref()) {
        breakers.whole.inherit(&old.whole);
    }
    Some(Arc::new(breakers))
}

fn settings(breaker: &CircuitBreaker) -> Settings {
    Settings {
        consecutive_failures: breaker.consecutive_failures,
        open_for: breaker.open_for,
        half_open_max: breaker.half_open_max,
        half_open_successes: breaker.half_open_successes,
        error_rate: breaker.error_rate.map(|rate| Rate(rate.value)),
        slow: breaker.slow.map(|slow| Slow {
            from: slow.value,
            rate: Rate(breaker.slow_rate.value),
        }),
        window: breaker.window,
        min_requests: breaker.min_requests.value,
    }
}

pub(super) fn classifier(rules: &FailureRules) -> Classifier {
    let ranges = rules.statuses.iter().map(|range| range.value);
    let statuses = Statuses::new(ranges.flat_map(|range| range.first..=range.last));
    let slow = rules.slow.map(|slow| slow.value);
    Classifier::new(statuses, rules.grpc.iter().copied(), slow)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_of_the_file_are_those_of_the_policy() {
        assert_eq!(classifier(&FailureRules::default()), Classifier::default());
    }
}
