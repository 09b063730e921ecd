//! All metric names, labels and buckets.
//!
//! Path: [`super::metrics`] registers them once. A label is from the configuration or from a closed set.

use std::cell::RefCell;

use prometheus::{
    CounterVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Opts, Registry,
};

use super::catalogue::Described;
use super::metrics::ReloadResult;

/// About requests: the three classic names, and why some failed.
#[derive(Debug)]
pub(super) struct RequestFamilies {
    pub(super) total: IntCounterVec,
    pub(super) duration: HistogramVec,
    pub(super) active: IntGaugeVec,
    pub(super) errors: IntCounterVec,
    pub(super) first_byte: HistogramVec,
    pub(super) bytes_in: IntCounterVec,
    pub(super) bytes_out: IntCounterVec,
}

impl RequestFamilies {
    pub(super) fn new(families: &Families<'_>) -> prometheus::Result<Self> {
        let labels = &["direction", "route", "method", "code"];
        let duration = "Time from a request's head to the end of its answer";
        let first_byte = "Time from a request's head to the head of its answer from the upstream";
        let route = &["direction", "route"];
        let errors = "Answers made by the proxy itself, and exchanges cut, by reason";
        Ok(Self {
            total: families.counters("http_requests_total", "Requests answered", labels)?,
            duration: families.histograms("http_request_duration_seconds", duration, labels)?,
            active: families.gauges(
                "http_requests_active",
                "Requests under way",
                &["direction", "route"],
            )?,
            errors: families.counters(
                "outrigger_errors_total",
                errors,
                &["direction", "route", "reason"],
            )?,
            first_byte: families.histograms("outrigger_first_byte_seconds", first_byte, route)?,
            bytes_in: families.counters(
                "outrigger_request_bytes_total",
                "Bytes of requests' bodies taken from clients",
                route,
            )?,
            bytes_out: families.counters(
                "outrigger_response_bytes_total",
                "Bytes of answers' bodies given to clients",
                route,
            )?,
        })
    }
}

/// About client connections.
#[derive(Debug)]
pub(super) struct ConnectionFamilies {
    pub(super) active: IntGaugeVec,
    pub(super) total: IntCounterVec,
    pub(super) closed: IntCounterVec,
}

impl ConnectionFamilies {
    pub(super) fn new(families: &Families<'_>) -> prometheus::Result<Self> {
        let labels = &["direction", "listener"];
        let closed = "Downstream connections closed by a timer, by reason";
        Ok(Self {
            active: families.gauges(
                "outrigger_connections_active",
                "Open downstream connections",
                labels,
            )?,
            total: families.counters(
                "outrigger_connections_total",
                "Downstream connections accepted",
                labels,
            )?,
            closed: families.counters(
                "outrigger_connections_closed_total",
                closed,
                &["direction", "listener", "reason"],
            )?,
        })
    }
}

/// About endpoints and the connections to them.
#[derive(Debug)]
pub(super) struct UpstreamFamilies {
    pub(super) attempts: IntCounterVec,
    pub(super) connects: IntCounterVec,
    pub(super) pool_idle: IntGaugeVec,
    pub(super) pool_http2_connections: IntGaugeVec,
    pub(super) pool_http2_streams: IntGaugeVec,
    pub(super) pool_reused: IntCounterVec,
    pub(super) stale_replays: IntCounterVec,
    pub(super) retries: IntCounterVec,
    pub(super) not_retried: IntCounterVec,
    pub(super) failures: IntCounterVec,
    pub(super) budget: IntGaugeVec,
}

impl UpstreamFamilies {
    pub(super) fn new(families: &Families<'_>) -> prometheus::Result<Self> {
        let labels = &["upstream", "endpoint"];
        let with_result = &["upstream", "endpoint", "result"];
        let attempts = "Attempts at endpoints, by result";
        let connects = "Connections to endpoints, by result";
        let reused = "Requests sent on a connection that had served one before";
        let http2 = "outrigger_pool_http2_connections";
        let shared = "HTTP/2 connections that take streams";
        let streams = "Streams open on HTTP/2 connections";
        let replays = "Requests replayed because the pooled connection had just been closed";
        Ok(Self {
            attempts: families.counters(
                "outrigger_upstream_attempts_total",
                attempts,
                with_result,
            )?,
            connects: families.counters(
                "outrigger_upstream_connects_total",
                connects,
                with_result,
            )?,
            pool_idle: families.gauges(
                "outrigger_pool_idle",
                "Idle upstream connections kept",
                labels,
            )?,
            pool_http2_connections: families.gauges(http2, shared, labels)?,
            pool_http2_streams: families.gauges("outrigger_pool_http2_streams", streams, labels)?,
            pool_reused: families.counters("outrigger_pool_reused_total", reused, labels)?,
            stale_replays: families.counters(
                "outrigger_pool_stale_replays_total",
                replays,
                labels,
            )?,
            retries: families.counters(
                "outrigger_retries_total",
                "Attempts that followed a failed one",
                &["upstream"],
            )?,
            not_retried: families.counters(
                "outrigger_not_retried_total",
                "Failed attempts that no other followed, by reason",
                &["upstream", "reason"],
            )?,
            failures: families.counters(
                "outrigger_upstream_failures_total",
                "Attempts that spoke against their endpoint, by reason",
                &["upstream", "endpoint", "reason"],
            )?,
            budget: families.gauges(
                "outrigger_retry_budget_left",
                "Retries that the budget of an upstream still allows",
                &["upstream"],
            )?,
        })
    }
}

/// About the configuration.
#[derive(Debug)]
pub(super) struct ConfigFamilies {
    pub(super) reloads: IntCounterVec,
    pub(super) info: IntGaugeVec,
    pub(super) applied_at: IntGauge,
}

impl ConfigFamilies {
    pub(super) fn new(families: &Families<'_>) -> prometheus::Result<Self> {
        let reloads = "Configurations read, by result";
        let applied_at = "When the configuration in force was applied";
        let new = Self {
            reloads: families.counters("outrigger_config_reloads_total", reloads, &["result"])?,
            info: families.gauges(
                "outrigger_config_info",
                "The configuration in force",
                &["version", "hash"],
            )?,
            applied_at: families.gauge(
                "outrigger_config_last_success_timestamp_seconds",
                applied_at,
            )?,
        };
        for result in [
            ReloadResult::Applied,
            ReloadResult::Refused,
            ReloadResult::Unchanged,
        ] {
            new.reloads.with_label_values(&[result.as_str()]);
        }
        Ok(new)
    }
}

/// Creates and registers families.
pub(super) struct Families<'a> {
    pub(super) registry: &'a Registry,
    /// Every family, for the page about them.
    pub(super) described: RefCell<Vec<Described>>,
}

impl Families<'_> {
    fn note(&self, name: &str, kind: &'static str, help: &str, labels: &[&str]) {
        self.described.borrow_mut().push(Described {
            name: name.to_owned(),
            kind,
            labels: labels.iter().map(|label| (*label).to_owned()).collect(),
            help: help.to_owned(),
        });
    }

    /// Counters of seconds.
    pub(super) fn seconds(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> prometheus::Result<CounterVec> {
        self.note(name, "counter", help, labels);
        let family = CounterVec::new(Opts::new(name, help), labels)?;
        self.registry.register(Box::new(family.clone()))?;
        Ok(family)
    }

    pub(super) fn counters(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> prometheus::Result<IntCounterVec> {
        self.note(name, "counter", help, labels);
        let family = IntCounterVec::new(Opts::new(name, help), labels)?;
        self.registry.register(Box::new(family.clone()))?;
        Ok(family)
    }

    pub(super) fn counter(&self, name: &str, help: &str) -> prometheus::Result<IntCounter> {
        self.note(name, "counter", help, &[]);
        let counter = IntCounter::new(name, help)?;
        self.registry.register(Box::new(counter.clone()))?;
        Ok(counter)
    }

    pub(super) fn gauges(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> prometheus::Result<IntGaugeVec> {
        self.note(name, "gauge", help, labels);
        let family = IntGaugeVec::new(Opts::new(name, help), labels)?;
        self.registry.register(Box::new(family.clone()))?;
        Ok(family)
    }

    pub(super) fn gauge(&self, name: &str, help: &str) -> prometheus::Result<IntGauge> {
        self.note(name, "gauge", help, &[]);
        let gauge = IntGauge::new(name, help)?;
        self.registry.register(Box::new(gauge.clone()))?;
        Ok(gauge)
    }

    pub(super) fn histograms(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> prometheus::Result<HistogramVec> {
        self.note(name, "histogram", help, labels);
        let family = HistogramVec::new(HistogramOpts::new(name, help), labels)?;
        self.registry.register(Box::new(family.clone()))?;
        Ok(family)
    }
}
