//! The metrics of circuit breakers.
//!
//! Path: `upstream::breaker` counts with the handles; names and labels stand here.

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::families::Families;

/// The states between which a breaker goes; the label `to`.
pub const STATES: [&str; 3] = ["closed", "half_open", "open"];

/// About circuit breakers.
#[derive(Debug)]
pub(super) struct BreakerFamilies {
    state: IntGaugeVec,
    transitions: IntCounterVec,
    rejected: IntCounterVec,
}

impl BreakerFamilies {
    pub(super) fn new(families: &Families<'_>) -> prometheus::Result<Self> {
        let state =
            "Circuit breakers: 0 closed, 1 half-open, 2 open; the upstream's own has no endpoint";
        let transitions = "Circuit breakers that went to another state";
        let rejected = "Requests refused by a circuit breaker, or with mode observe those that would have been";
        Ok(Self {
            state: families.gauges(
                "outrigger_circuit_breaker_state",
                state,
                &["upstream", "endpoint"],
            )?,
            transitions: families.counters(
                "outrigger_circuit_breaker_transitions_total",
                transitions,
                &["upstream", "endpoint", "to"],
            )?,
            rejected: families.counters(
                "outrigger_circuit_breaker_rejected_total",
                rejected,
                &["upstream", "mode"],
            )?,
        })
    }

    pub(super) fn forget(&self, upstream: &str, endpoint: &str) {
        // An error says that there is no such series, which is what was wanted.
        let _ = self.state.remove_label_values(&[upstream, endpoint]);
    }

    pub(super) fn handles(&self, upstream: &str, endpoint: &str, mode: &str) -> BreakerMetrics {
        BreakerMetrics {
            state: self.state.with_label_values(&[upstream, endpoint]),
            transitions: STATES.map(|to| {
                self.transitions
                    .with_label_values(&[upstream, endpoint, to])
            }),
            rejected: self.rejected.with_label_values(&[upstream, mode]),
        }
    }
}

/// The handles of one breaker.
#[derive(Debug, Clone)]
pub struct BreakerMetrics {
    /// 0 closed, 1 half-open, 2 open.
    pub state: IntGauge,
    /// By the state that was entered, as in [`STATES`].
    pub transitions: [IntCounter; STATES.len()],
    /// Requests refused; the same one for all breakers of an upstream.
    pub rejected: IntCounter,
}
