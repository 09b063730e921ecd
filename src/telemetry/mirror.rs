//! What became of mirrored requests.
//!
//! Path: handles are resolved by `snapshot`; `proxy::mirror` counts, once for each request that was to be copied.

use std::collections::HashSet;

use prometheus::{IntCounter, IntCounterVec};

use super::catalogue::forget_where;
use super::families::Families;
use super::metrics::Metrics;

/// The family of the copies.
#[derive(Debug)]
pub(super) struct MirrorFamilies {
    requests: IntCounterVec,
}

impl MirrorFamilies {
    pub(super) fn forget_routes(&self, gone: &HashSet<String>) {
        forget_where(&self.requests, "route", gone);
    }

    pub(super) fn new(families: &Families<'_>) -> prometheus::Result<Self> {
        Ok(Self {
            requests: families.counters(
                "outrigger_mirror_requests_total",
                "Requests to be copied to another upstream, by what became of the copy",
                &["route", "upstream", "result"],
            )?,
        })
    }
}

/// What became of a copy; the label `result`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MirrorResult {
    /// It was answered, with whatever status.
    Answered,
    /// It was sent or tried, and not answered.
    Failed,
    /// Its time was over.
    Timeout,
    /// Not made: the body is larger than what is copied.
    TooLarge,
    /// Not made: as many copies as may be were under way.
    Overflow,
    /// Not sent: the request's own body did not arrive in full.
    Incomplete,
}

impl MirrorResult {
    const ALL: [Self; 6] = [
        Self::Answered,
        Self::Failed,
        Self::Timeout,
        Self::TooLarge,
        Self::Overflow,
        Self::Incomplete,
    ];

    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Failed => "failed",
            Self::Timeout => "timeout",
            Self::TooLarge => "too_large",
            Self::Overflow => "overflow",
            Self::Incomplete => "incomplete",
        }
    }
}

/// The handles of one mirror.
#[derive(Debug)]
pub struct MirrorTelemetry {
    results: [IntCounter; MirrorResult::ALL.len()],
}

impl MirrorTelemetry {
    /// Resolves the handles.
    pub fn new(metrics: &Metrics, route: &str, upstream: &str) -> Self {
        let family = &metrics.mirrors.requests;
        Self {
            results: MirrorResult::ALL
                .map(|result| family.with_label_values(&[route, upstream, result.as_str()])),
        }
    }

    /// Counts one.
    pub fn count(&self, result: MirrorResult) {
        self.results[result as usize].inc();
    }
}
