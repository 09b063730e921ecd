//! Metrics of the spans that are sent to a collector.

use prometheus::{IntCounter, IntCounterVec};

use super::families::Families;

/// The families.
#[derive(Debug)]
pub(super) struct SpanFamilies {
    pub(super) dropped: IntCounter,
    pub(super) exported: IntCounterVec,
}

impl SpanFamilies {
    pub(super) fn new(families: &Families<'_>) -> prometheus::Result<Self> {
        Ok(Self {
            dropped: families.counter(
                "outrigger_trace_spans_dropped_total",
                "Spans not sent because the collector was too slow for them",
            )?,
            exported: families.counters(
                "outrigger_trace_spans_exported_total",
                "Spans sent to the collector, by result",
                &["result"],
            )?,
        })
    }
}
