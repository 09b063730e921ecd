//! The registry that `/metrics` prints, and the handles that others count with. Names are in `families`.
//!
//! Path: built once at start; `snapshot` resolves handles from it when a configuration is compiled, so the request
//! path never looks a series up by name. Labels come from the configuration or from a closed set, never from a client.

use std::cell::RefCell;
use std::time::Duration;

use http::StatusCode;
use prometheus::{Encoder, Histogram, IntCounter, IntGauge, Registry, TextEncoder};

use super::attempts::{AttemptFamilies, AttemptTimes};
use super::breaker::{BreakerFamilies, BreakerMetrics};
use super::catalogue::{Bounds, Described};
use super::exemplars::Exemplars;
use super::families::{
    ConfigFamilies, ConnectionFamilies, Families, RequestFamilies, UpstreamFamilies,
};
use super::health::HealthFamilies;
use super::limits::LimitFamilies;
use super::mirror::MirrorFamilies;
use super::openmetrics;
use super::protocol::{ProtocolFamilies, ProtocolMetrics};
use super::spans::SpanFamilies;
use super::tcp::TcpFamilies;
use super::tls::TlsFamilies;
use super::upgrade::{UpgradeFamilies, UpgradeMetrics};

/// Every metric family of the process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    pub(super) requests: RequestFamilies,
    connections: ConnectionFamilies,
    pub(super) upstreams: UpstreamFamilies,
    attempts: AttemptFamilies,
    pub(super) health: HealthFamilies,
    breakers: BreakerFamilies,
    config: ConfigFamilies,
    pub(super) limits: LimitFamilies,
    pub(super) mirrors: MirrorFamilies,
    pub(super) traces: SpanFamilies,
    pub(super) tls: TlsFamilies,
    protocol: ProtocolFamilies,
    pub(super) upgrades: UpgradeFamilies,
    pub(super) tcp: TcpFamilies,
    access_log_dropped: IntCounter,
    pub(super) bounds: Bounds,
    pub(super) exemplars: Exemplars,
    pub(super) described: Vec<Described>,
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
    /// How clients broke the protocol.
    pub protocol: ProtocolMetrics,
}

/// The handles of one endpoint.
#[derive(Debug, Clone)]
pub struct EndpointMetrics {
    times: AttemptTimes,
    attempts: [IntCounter; AttemptResult::ALL.len()],
    failures: [IntCounter; FAILURES.len()],
    /// Idle connections in all workers' pools.
    pub idle: IntGauge,
    /// HTTP/2 connections of all workers that take streams.
    pub http2_connections: IntGauge,
    /// Streams open on them.
    pub http2_streams: IntGauge,
    /// Requests sent on a connection that had served one before.
    pub reused: IntCounter,
    /// Requests replayed on a fresh connection because the pooled one had just been closed.
    pub stale_replays: IntCounter,
    /// Connections opened.
    pub connects: IntCounter,
    /// Connections refused, unreachable or timed out.
    pub connect_failures: IntCounter,
}

/// The handles of one upstream.
#[derive(Debug, Clone)]
pub struct UpstreamMetrics {
    /// Attempts that followed a failed one.
    pub retries: IntCounter,
    /// Connections that stopped speaking HTTP.
    pub upgrades: UpgradeMetrics,
    /// Retries that the budget still allows; set when somebody looks.
    pub budget: IntGauge,
    not_retried: Box<[IntCounter]>,
}

impl UpstreamMetrics {
    /// Counts a failure that was not followed by another attempt; `why` is an index into the reasons given to
    /// [`Metrics::retries`].
    pub fn not_retried(&self, why: usize) {
        if let Some(counter) = self.not_retried.get(why) {
            counter.inc();
        }
    }
}
/// Why an attempt spoke against its endpoint; the label `reason`.
pub const FAILURES: [&str; 7] = [
    "connect", "timeout", "reset", "protocol", "status", "grpc", "slow",
];

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

    /// Notes that an attempt took so long until it had an `answer` or ended without.
    pub fn took(&self, answer: Option<StatusCode>, elapsed: Duration) {
        self.times.observe(answer, elapsed);
    }

    /// Counts an attempt that spoke against its endpoint for the `reason`-th of [`FAILURES`].
    pub fn failure(&self, reason: usize) {
        if let Some(counter) = self.failures.get(reason) {
            counter.inc();
        }
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
    /// The label's value.
    pub fn as_str(self) -> &'static str {
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
        let families = Families {
            registry: &registry,
            described: RefCell::default(),
        };
        let info = families.gauges(
            "outrigger_build_info",
            "The program's version",
            &["version"],
        )?;
        info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        #[cfg(target_os = "linux")]
        registry.register(Box::new(
            prometheus::process_collector::ProcessCollector::for_self(),
        ))?;
        Ok(Self {
            requests: RequestFamilies::new(&families)?,
            connections: ConnectionFamilies::new(&families)?,
            upstreams: UpstreamFamilies::new(&families)?,
            attempts: AttemptFamilies::new(&families)?,
            health: HealthFamilies::new(&families)?,
            breakers: BreakerFamilies::new(&families)?,
            config: ConfigFamilies::new(&families)?,
            limits: LimitFamilies::new(&families)?,
            mirrors: MirrorFamilies::new(&families)?,
            traces: SpanFamilies::new(&families)?,
            tls: TlsFamilies::new(&families)?,
            protocol: ProtocolFamilies::new(&families)?,
            upgrades: UpgradeFamilies::new(&families)?,
            tcp: TcpFamilies::new(&families)?,
            access_log_dropped: families.counter(
                "outrigger_access_log_dropped_total",
                "Access lines dropped because the output could not take them",
            )?,
            bounds: Bounds::new(&families)?,
            exemplars: Exemplars::default(),
            described: families.described.take(),
            registry,
        })
    }

    /// The text exposition format, version 0.0.4.
    ///
    /// # Errors
    ///
    /// When the encoder meets a family without a metric, which the registry does not hand out.
    pub fn encode(&self) -> prometheus::Result<Vec<u8>> {
        self.bounds.observe();
        let mut out = Vec::with_capacity(16 * 1024);
        TextEncoder::new().encode(&self.registry.gather(), &mut out)?;
        Ok(out)
    }

    /// The OpenMetrics text format, version 1.0.0, with exemplars.
    pub fn encode_openmetrics(&self) -> String {
        self.bounds.observe();
        openmetrics::encode(&self.registry.gather(), &self.exemplars)
    }

    /// Resolves the handles of a listener.
    pub fn listener(&self, direction: &str, listener: &str) -> ListenerMetrics {
        let labels = [direction, listener];
        let closed = |reason| {
            self.connections
                .closed
                .with_label_values(&[direction, listener, reason])
        };
        ListenerMetrics {
            active: self.connections.active.with_label_values(&labels),
            accepted: self.connections.total.with_label_values(&labels),
            closed_header_timeout: closed("request_header_timeout"),
            closed_idle: closed("idle_timeout"),
            protocol: self.protocol.listener(direction, listener),
        }
    }

    /// Resolves the handles of an endpoint.
    pub fn endpoint(&self, upstream: &str, endpoint: &str) -> EndpointMetrics {
        let labels = [upstream, endpoint];
        let connects = |result| {
            self.upstreams
                .connects
                .with_label_values(&[upstream, endpoint, result])
        };
        EndpointMetrics {
            times: self.attempts.of(upstream),
            attempts: AttemptResult::ALL.map(|result| {
                self.upstreams
                    .attempts
                    .with_label_values(&[upstream, endpoint, result.as_str()])
            }),
            failures: FAILURES.map(|reason| {
                self.upstreams
                    .failures
                    .with_label_values(&[upstream, endpoint, reason])
            }),
            idle: self.upstreams.pool_idle.with_label_values(&labels),
            http2_connections: self
                .upstreams
                .pool_http2_connections
                .with_label_values(&labels),
            http2_streams: self.upstreams.pool_http2_streams.with_label_values(&labels),
            reused: self.upstreams.pool_reused.with_label_values(&labels),
            stale_replays: self.upstreams.stale_replays.with_label_values(&labels),
            connects: connects("ok"),
            connect_failures: connects("failed"),
        }
    }

    /// Resolves the handles of an upstream's retries; `reasons` are all there are for not trying again.
    pub fn retries(&self, upstream: &str, reasons: &[&'static str]) -> UpstreamMetrics {
        let not_retried = &self.upstreams.not_retried;
        UpstreamMetrics {
            retries: self.upstreams.retries.with_label_values(&[upstream]),
            upgrades: self.upgrades.handles(upstream),
            budget: self.upstreams.budget.with_label_values(&[upstream]),
            not_retried: reasons
                .iter()
                .map(|reason| not_retried.with_label_values(&[upstream, reason]))
                .collect(),
        }
    }

    /// Removes the series of an upstream's retries and limits; `reasons` as before.
    pub fn forget_retries(&self, upstream: &str, reasons: &[&'static str]) {
        let families = &self.upstreams;
        // An error says that there is no such series, which is what was wanted.
        drop(families.retries.remove_label_values(&[upstream]));
        drop(families.budget.remove_label_values(&[upstream]));
        self.attempts.forget(upstream);
        self.limits.forget_upstream(upstream);
        for reason in reasons {
            drop(
                families
                    .not_retried
                    .remove_label_values(&[upstream, reason]),
            );
        }
    }

    /// Resolves the handles of a circuit breaker; the upstream's own has the `endpoint` "".
    pub fn breaker(&self, upstream: &str, endpoint: &str, mode: &str) -> BreakerMetrics {
        self.breakers.handles(upstream, endpoint, mode)
    }

    /// Shows the state of a circuit breaker no longer, because it is gone.
    pub fn forget_breaker(&self, upstream: &str, endpoint: &str) {
        self.breakers.forget(upstream, endpoint);
    }

    /// Counts an exchange that the proxy answered itself or had to cut.
    pub fn error(&self, direction: &str, route: &str, reason: &str) {
        self.requests
            .errors
            .with_label_values(&[direction, route, reason])
            .inc();
    }

    /// Counts a reload.
    pub fn reload(&self, result: ReloadResult) {
        self.config
            .reloads
            .with_label_values(&[result.as_str()])
            .inc();
    }

    /// States which configuration is in force since `unix_seconds`.
    pub fn config_in_force(&self, version: u64, hash: &str, unix_seconds: i64) {
        self.config.info.reset();
        self.config
            .info
            .with_label_values(&[&version.to_string(), hash])
            .set(1);
        self.config.applied_at.set(unix_seconds);
    }

    /// The counter of access lines that were dropped.
    pub fn access_log_dropped(&self) -> IntCounter {
        self.access_log_dropped.clone()
    }
}

/// The two series that every answered request adds to.
#[derive(Debug, Clone)]
pub(super) struct RequestSeries {
    pub(super) total: IntCounter,
    pub(super) duration: Histogram,
}
