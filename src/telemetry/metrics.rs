//! All metric names, labels and buckets, and the registry that `/metrics` prints.
//!
//! Path: built once at start; `snapshot` resolves handles from it when a configuration is compiled, so the request
//! path never looks a series up by name. Labels come from the configuration or from a closed set, never from a client.

use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};

/// Every metric family of the process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    pub(super) requests: IntCounterVec,
    pub(super) duration: HistogramVec,
    pub(super) active: IntGaugeVec,
    errors: IntCounterVec,
    connections_active: IntGaugeVec,
    connections_total: IntCounterVec,
    connections_closed: IntCounterVec,
    attempts: IntCounterVec,
    upstream_connects: IntCounterVec,
    pool_idle: IntGaugeVec,
    pool_reused: IntCounterVec,
    stale_replays: IntCounterVec,
    config_reloads: IntCounterVec,
    config_info: IntGaugeVec,
    config_applied_at: IntGauge,
    access_log_dropped: IntCounter,
}

/// The handles of one listener.
#[derive(Debug, Clone)]
pub struct ListenerMetrics {
    /// Open connections.
    pub active: IntGauge,
    /// Connections accepted.
    pub accepted: IntCounter,
    /// Connections cut because the peer did not finish a request head in time.
    pub closed_header_timeout: IntCounter,
    /// Connections closed after idling, or cut because the peer stopped reading.
    pub closed_idle: IntCounter,
}

/// The handles of one endpoint.
#[derive(Debug, Clone)]
pub struct EndpointMetrics {
    attempts: [IntCounter; AttemptResult::ALL.len()],
    /// Idle connections in all workers' pools.
    pub idle: IntGauge,
    /// Requests sent on a connection that had served one before.
    pub reused: IntCounter,
    /// Requests replayed on a fresh connection because the pooled one had just been closed.
    pub stale_replays: IntCounter,
    /// Connections opened.
    pub connects: IntCounter,
    /// Connections refused, unreachable or timed out.
    pub connect_failures: IntCounter,
}

/// How an attempt ended; the label `result`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptResult {
    /// An answer's head arrived.
    Response,
    /// No connection was to be had.
    ConnectFailed,
    /// The connection broke, or what came was not HTTP.
    Reset,
    /// A timer ended the wait.
    Timeout,
    /// The client went away first.
    Cancelled,
}

impl AttemptResult {
    /// Every value, in the order of the handles' array.
    pub const ALL: [Self; 5] = [
        Self::Response,
        Self::ConnectFailed,
        Self::Reset,
        Self::Timeout,
        Self::Cancelled,
    ];

    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Response => "response",
            Self::ConnectFailed => "connect_failed",
            Self::Reset => "reset",
            Self::Timeout => "timeout",
            Self::Cancelled => "cancelled",
        }
    }
}

impl EndpointMetrics {
    /// Counts one attempt.
    pub fn attempt(&self, result: AttemptResult) {
        self.attempts[result as usize].inc();
    }
}

/// What became of a reload; the label `result`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReloadResult {
    /// In force.
    Applied,
    /// Refused; the old one stays.
    Refused,
    /// Read, and equal to what is in force.
    Unchanged,
}

impl ReloadResult {
    fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Refused => "refused",
            Self::Unchanged => "unchanged",
        }
    }
}

impl Metrics {
    /// Registers every family.
    ///
    /// # Errors
    ///
    /// When two families share a name or a name is malformed: a mistake in this file, found by any test.
    pub fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let builder = Families {
            registry: &registry,
        };
        let request_labels = &["direction", "route", "method", "code"];
        let endpoint_labels = &["upstream", "endpoint"];
        let metrics = Self {
            requests: builder.counters(
                "http_requests_total",
                "Requests answered",
                request_labels,
            )?,
            duration: builder.histograms(
                "http_request_duration_seconds",
                "Time from a request's head to the end of its answer",
                request_labels,
            )?,
            active: builder.gauges(
                "http_requests_active",
                "Requests under way",
                &["direction", "route"],
            )?,
            errors: builder.counters(
                "outrigger_errors_total",
                "Answers made by the proxy itself, and exchanges cut, by reason",
                &["direction", "route", "reason"],
            )?,
            connections_active: builder.gauges(
                "outrigger_connections_active",
                "Open downstream connections",
                &["direction", "listener"],
            )?,
            connections_total: builder.counters(
                "outrigger_connections_total",
                "Downstream connections accepted",
                &["direction", "listener"],
            )?,
            connections_closed: builder.counters(
                "outrigger_connections_closed_total",
                "Downstream connections closed by a timer, by reason",
                &["direction", "listener", "reason"],
            )?,
            attempts: builder.counters(
                "outrigger_upstream_attempts_total",
                "Attempts at endpoints, by result",
                &["upstream", "endpoint", "result"],
            )?,
            upstream_connects: builder.counters(
                "outrigger_upstream_connects_total",
                "Connections to endpoints, by result",
                &["upstream", "endpoint", "result"],
            )?,
            pool_idle: builder.gauges(
                "outrigger_pool_idle",
                "Idle upstream connections kept",
                endpoint_labels,
            )?,
            pool_reused: builder.counters(
                "outrigger_pool_reused_total",
                "Requests sent on a connection that had served one before",
                endpoint_labels,
            )?,
            stale_replays: builder.counters(
                "outrigger_pool_stale_replays_total",
                "Requests replayed because the pooled connection had just been closed",
                endpoint_labels,
            )?,
            config_reloads: builder.counters(
                "outrigger_config_reloads_total",
                "Configurations read, by result",
                &["result"],
            )?,
            config_info: builder.gauges(
                "outrigger_config_info",
                "The configuration in force",
                &["version", "hash"],
            )?,
            config_applied_at: builder.gauge(
                "outrigger_config_last_success_timestamp_seconds",
                "When the configuration in force was applied",
            )?,
            access_log_dropped: builder.counter(
                "outrigger_access_log_dropped_total",
                "Access lines dropped because the output could not take them",
            )?,
            registry: registry.clone(),
        };
        metrics.register_process(&builder)?;
        Ok(metrics)
    }

    fn register_process(&self, builder: &Families<'_>) -> prometheus::Result<()> {
        let info = builder.gauges(
            "outrigger_build_info",
            "The program's version",
            &["version"],
        )?;
        info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        for result in [
            ReloadResult::Applied,
            ReloadResult::Refused,
            ReloadResult::Unchanged,
        ] {
            self.config_reloads.with_label_values(&[result.as_str()]);
        }
        #[cfg(target_os = "linux")]
        self.registry.register(Box::new(
            prometheus::process_collector::ProcessCollector::for_self(),
        ))?;
        Ok(())
    }

    /// The text exposition format, version 0.0.4.
    ///
    /// # Errors
    ///
    /// When the encoder meets a family without a metric, which the registry does not hand out.
    pub fn encode(&self) -> prometheus::Result<Vec<u8>> {
        let mut out = Vec::with_capacity(16 * 1024);
        TextEncoder::new().encode(&self.registry.gather(), &mut out)?;
        Ok(out)
    }

    /// Resolves the handles of a listener.
    pub fn listener(&self, direction: &str, listener: &str) -> ListenerMetrics {
        let labels = [direction, listener];
        let closed = |reason| {
            self.connections_closed
                .with_label_values(&[direction, listener, reason])
        };
        ListenerMetrics {
            active: self.connections_active.with_label_values(&labels),
            accepted: self.connections_total.with_label_values(&labels),
            closed_header_timeout: closed("request_header_timeout"),
            closed_idle: closed("idle_timeout"),
        }
    }

    /// Resolves the handles of an endpoint.
    pub fn endpoint(&self, upstream: &str, endpoint: &str) -> EndpointMetrics {
        let labels = [upstream, endpoint];
        let connects = |result| {
            self.upstream_connects
                .with_label_values(&[upstream, endpoint, result])
        };
        EndpointMetrics {
            attempts: AttemptResult::ALL.map(|result| {
                self.attempts
                    .with_label_values(&[upstream, endpoint, result.as_str()])
            }),
            idle: self.pool_idle.with_label_values(&labels),
            reused: self.pool_reused.with_label_values(&labels),
            stale_replays: self.stale_replays.with_label_values(&labels),
            connects: connects("ok"),
            connect_failures: connects("failed"),
        }
    }

    /// Counts an exchange that the proxy answered itself or had to cut.
    pub fn error(&self, direction: &str, route: &str, reason: &str) {
        self.errors
            .with_label_values(&[direction, route, reason])
            .inc();
    }

    /// Counts a reload.
    pub fn reload(&self, result: ReloadResult) {
        self.config_reloads
            .with_label_values(&[result.as_str()])
            .inc();
    }

    /// States which configuration is in force since `unix_seconds`.
    pub fn config_in_force(&self, version: u64, hash: &str, unix_seconds: i64) {
        self.config_info.reset();
        self.config_info
            .with_label_values(&[&version.to_string(), hash])
            .set(1);
        self.config_applied_at.set(unix_seconds);
    }

    /// The counter of access lines that were dropped.
    pub fn access_log_dropped(&self) -> IntCounter {
        self.access_log_dropped.clone()
    }
}

/// Creates and registers families.
struct Families<'a> {
    registry: &'a Registry,
}

impl Families<'_> {
    fn counters(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> prometheus::Result<IntCounterVec> {
        let family = IntCounterVec::new(Opts::new(name, help), labels)?;
        self.registry.register(Box::new(family.clone()))?;
        Ok(family)
    }

    fn counter(&self, name: &str, help: &str) -> prometheus::Result<IntCounter> {
        let counter = IntCounter::new(name, help)?;
        self.registry.register(Box::new(counter.clone()))?;
        Ok(counter)
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntGaugeVec> {
        let family = IntGaugeVec::new(Opts::new(name, help), labels)?;
        self.registry.register(Box::new(family.clone()))?;
        Ok(family)
    }

    fn gauge(&self, name: &str, help: &str) -> prometheus::Result<IntGauge> {
        let gauge = IntGauge::new(name, help)?;
        self.registry.register(Box::new(gauge.clone()))?;
        Ok(gauge)
    }

    fn histograms(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> prometheus::Result<HistogramVec> {
        let family = HistogramVec::new(HistogramOpts::new(name, help), labels)?;
        self.registry.register(Box::new(family.clone()))?;
        Ok(family)
    }
}

/// The two series that every answered request adds to.
#[derive(Debug, Clone)]
pub(super) struct RequestSeries {
    pub(super) total: IntCounter,
    pub(super) duration: Histogram,
}
