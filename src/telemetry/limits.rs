//! The metrics of rate limits, of limits of requests under way, and of memory.
//!
//! Path: resolved by `snapshot`, counted by `proxy`; what can be read off the limit itself is set when somebody looks.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::catalogue::forget_where;
use super::families::Families;
use super::metrics::Metrics;

/// About limits.
#[derive(Debug)]
pub(super) struct LimitFamilies {
    rate_total: IntCounterVec,
    rate_keys: IntGaugeVec,
    rate_evictions: IntCounterVec,
    in_flight: IntGaugeVec,
    pending: IntGaugeVec,
    refused: IntCounterVec,
    memory: MemoryMetrics,
}

/// The handles of the memory budget.
#[derive(Debug, Clone)]
pub struct MemoryMetrics {
    /// Bytes in use.
    pub used: IntGauge,
    /// Bytes allowed; 0: no limit.
    pub limit: IntGauge,
    /// 0: normal, 1: nothing is kept for replays, 2: new requests are refused.
    pub level: IntGauge,
}

/// What a rule said; the label `result`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RateResult {
    /// Within the rate.
    Allowed,
    /// Refused.
    Limited,
    /// Would have been refused, or would have waited, and is only observed.
    WouldLimit,
    /// Let through after a wait.
    Waited,
}

/// The handles of one rule of a rate limit.
#[derive(Debug)]
pub struct RateMetrics {
    results: [IntCounter; 4],
    keys: IntGauge,
    evictions: IntCounter,
    evictions_told: AtomicU64,
}

impl RateMetrics {
    /// Counts one decision.
    pub fn count(&self, result: RateResult) {
        self.results[result as usize].inc();
    }

    /// Sets what the table says of itself.
    pub fn observe(&self, keys: usize, evictions: u64) {
        self.keys.set(i64::try_from(keys).unwrap_or(i64::MAX));
        // Two may look at once; each tells only what the other has not.
        let told = self.evictions_told.fetch_max(evictions, Ordering::Relaxed);
        self.evictions.inc_by(evictions.saturating_sub(told));
    }
}

impl Drop for RateMetrics {
    fn drop(&mut self) {
        self.keys.set(0);
    }
}

/// Whose requests under way are limited; the label `scope`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// A listener's.
    Listener,
    /// A route's.
    Route,
    /// An upstream's.
    Upstream,
    /// An endpoint's; counted under its upstream's name.
    Endpoint,
}

impl Scope {
    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Listener => "listener",
            Self::Route => "route",
            Self::Upstream => "upstream",
            Self::Endpoint => "endpoint",
        }
    }
}

/// The handles of one limit of requests under way.
#[derive(Debug, Clone)]
pub struct AdmissionMetrics {
    /// Under way.
    pub in_flight: IntGauge,
    /// Waiting for their turn.
    pub pending: IntGauge,
    /// Refused because there was no place to wait.
    pub full: IntCounter,
    /// Refused after waiting as long as one may.
    pub timeout: IntCounter,
}

impl LimitFamilies {
    pub(super) fn forget_routes(&self, gone: &HashSet<String>) {
        forget_where(&self.rate_total, "route", gone);
        forget_where(&self.rate_keys, "route", gone);
        forget_where(&self.rate_evictions, "route", gone);
        self.forget(&[Scope::Route, Scope::Listener], gone);
    }

    fn forget(&self, scopes: &[Scope], gone: &HashSet<String>) {
        for (scope, name) in scopes
            .iter()
            .flat_map(|it| gone.iter().map(move |name| (it, name)))
        {
            let labels = [scope.as_str(), name];
            drop(self.in_flight.remove_label_values(&labels));
            drop(self.pending.remove_label_values(&labels));
            for result in ["full", "timeout"] {
                drop(
                    self.refused
                        .remove_label_values(&[scope.as_str(), name, result]),
                );
            }
        }
    }

    /// Removes what is told of an upstream that is gone.
    pub(super) fn forget_upstream(&self, upstream: &str) {
        let gone = HashSet::from([upstream.to_owned()]);
        self.forget(&[Scope::Upstream, Scope::Endpoint], &gone);
    }

    pub(super) fn new(families: &Families<'_>) -> prometheus::Result<Self> {
        let rule = &["route", "rule"];
        let scope = &["scope", "name"];
        let total = "Decisions of rate limits, by result";
        let keys = "Keys that rate limits remember";
        let evictions = "Keys that rate limits forgot to make room for others";
        let refused = "Requests refused because too many were under way, by limit and result";
        let level = "What is given up for want of memory: 0 nothing, 1 replays, 2 new requests";
        Ok(Self {
            rate_total: families.counters(
                "outrigger_rate_limit_total",
                total,
                &["route", "rule", "result"],
            )?,
            rate_keys: families.gauges("outrigger_rate_limit_keys", keys, rule)?,
            rate_evictions: families.counters(
                "outrigger_rate_limit_evictions_total",
                evictions,
                rule,
            )?,
            in_flight: families.gauges(
                "outrigger_in_flight",
                "Requests under way where their number is limited",
                scope,
            )?,
            pending: families.gauges(
                "outrigger_pending",
                "Requests waiting until fewer are under way",
                scope,
            )?,
            refused: families.counters(
                "outrigger_limit_rejected_total",
                refused,
                &["scope", "name", "result"],
            )?,
            memory: MemoryMetrics {
                used: families.gauge("outrigger_memory_bytes", "Memory in use, as limited")?,
                limit: families.gauge(
                    "outrigger_memory_limit_bytes",
                    "Memory allowed; 0 without a limit",
                )?,
                level: families.gauge("outrigger_memory_level", level)?,
            },
        })
    }
}

impl Metrics {
    /// Resolves the handles of a rule of a rate limit.
    pub fn rate_limit(&self, route: &str, rule: &str) -> RateMetrics {
        let limits = &self.limits;
        let labels = [route, rule];
        let result = |result| limits.rate_total.with_label_values(&[route, rule, result]);
        RateMetrics {
            results: ["allowed", "limited", "would_limit", "waited"].map(result),
            keys: limits.rate_keys.with_label_values(&labels),
            evictions: limits.rate_evictions.with_label_values(&labels),
            evictions_told: AtomicU64::new(0),
        }
    }

    /// Resolves the handles of a limit of requests under way.
    pub fn admission(&self, scope: Scope, name: &str) -> AdmissionMetrics {
        let limits = &self.limits;
        let labels = [scope.as_str(), name];
        let refused = |result| {
            limits
                .refused
                .with_label_values(&[scope.as_str(), name, result])
        };
        AdmissionMetrics {
            in_flight: limits.in_flight.with_label_values(&labels),
            pending: limits.pending.with_label_values(&labels),
            full: refused("full"),
            timeout: refused("timeout"),
        }
    }

    /// The handles of the memory budget.
    pub fn memory(&self) -> &MemoryMetrics {
        &self.limits.memory
    }
}
