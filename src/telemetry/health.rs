//! Metrics of endpoints' health, ejection and discovery.
//!
//! Path: [`super::metrics`] registers them; `upstream` and the tasks of `app` count. What happens once a check, a
//! lookup or an ejection is looked up by name when it happens: endpoints come and go, and so do their series.

use prometheus::{IntCounterVec, IntGauge, IntGaugeVec};

use super::families::Families;
use super::metrics::{AttemptResult, FAILURES, Metrics};

/// The families.
#[derive(Debug)]
pub(super) struct HealthFamilies {
    healthy: IntGaugeVec,
    checks: IntCounterVec,
    ejections: IntCounterVec,
    ejected: IntGaugeVec,
    panic: IntGaugeVec,
    endpoints: IntGaugeVec,
    lookups: IntCounterVec,
    file_reads: IntCounterVec,
}

/// The gauges of one upstream.
#[derive(Debug, Clone)]
pub struct UpstreamGauges {
    /// Endpoints, in service or not.
    pub endpoints: IntGauge,
    /// Endpoints ejected.
    pub ejected: IntGauge,
    /// 1 while too few are in service, so that all are used.
    pub panic: IntGauge,
}

/// What became of a lookup of a name; the label `result`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LookupResult {
    /// Addresses came.
    Ok,
    /// There is no such name.
    NotFound,
    /// The name has no addresses.
    NoAddress,
    /// The server says that it failed, or refused.
    ServerFailure,
    /// Nobody answered in time.
    Timeout,
    /// Anything else: no server can be reached, an answer makes no sense.
    Error,
}

impl LookupResult {
    const ALL: [Self; 6] = [
        Self::Ok,
        Self::NotFound,
        Self::NoAddress,
        Self::ServerFailure,
        Self::Timeout,
        Self::Error,
    ];

    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::NotFound => "not_found",
            Self::NoAddress => "no_address",
            Self::ServerFailure => "server_failure",
            Self::Timeout => "timeout",
            Self::Error => "error",
        }
    }
}

/// What became of a read of an endpoints file; the label `result`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileResult {
    /// Its list is in force.
    Ok,
    /// It is not there, cannot be read or has mistakes; the last good list stays.
    Refused,
}

impl FileResult {
    const ALL: [Self; 2] = [Self::Ok, Self::Refused];

    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Refused => "refused",
        }
    }
}

/// What became of a health check; the label `result`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckLabel {
    /// The endpoint answered as it should.
    Passed,
    /// It did not.
    Failed,
}

impl CheckLabel {
    const ALL: [Self; 2] = [Self::Passed, Self::Failed];

    fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
        }
    }
}

/// Why an endpoint was ejected; the label `cause`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EjectionLabel {
    /// So many failures in a row.
    ConsecutiveFailures,
    /// Too few of its requests succeeded.
    SuccessRate,
}

impl EjectionLabel {
    const ALL: [Self; 2] = [Self::ConsecutiveFailures, Self::SuccessRate];

    fn as_str(self) -> &'static str {
        match self {
            Self::ConsecutiveFailures => "consecutive_failures",
            Self::SuccessRate => "success_rate",
        }
    }
}

impl HealthFamilies {
    pub(super) fn new(families: &Families<'_>) -> prometheus::Result<Self> {
        let endpoint = &["upstream", "endpoint"];
        let upstream = &["upstream"];
        let of = |last| ["upstream", "endpoint", last];
        let healthy = "Whether an endpoint's health checks pass";
        let panic = "1 while too few endpoints are in service, so that all of them are used";
        let reads = "Reads of endpoints files, by result";
        let gauges = |name, help| families.gauges(name, help, upstream);
        Ok(Self {
            healthy: families.gauges("outrigger_endpoint_healthy", healthy, endpoint)?,
            checks: families.counters(
                "outrigger_health_checks_total",
                "Health checks, by result",
                &of("result"),
            )?,
            ejections: families.counters(
                "outrigger_endpoint_ejections_total",
                "Ejections of endpoints because of their requests, by cause",
                &of("cause"),
            )?,
            ejected: gauges("outrigger_endpoints_ejected", "Endpoints ejected now")?,
            panic: gauges("outrigger_upstream_panic", panic)?,
            endpoints: gauges("outrigger_upstream_endpoints", "Endpoints known now")?,
            lookups: families.counters(
                "outrigger_dns_lookups_total",
                "Lookups of endpoints' names, by result",
                &["upstream", "result"],
            )?,
            file_reads: families.counters(
                "outrigger_endpoints_file_reads_total",
                reads,
                &["upstream", "result"],
            )?,
        })
    }
}

/// Removing what was never there is no mistake.
fn forget<T: prometheus::core::MetricVecBuilder>(
    family: &prometheus::core::MetricVec<T>,
    labels: &[&str],
) {
    drop(family.remove_label_values(labels));
}

impl Metrics {
    /// Resolves the gauges of an upstream.
    pub fn upstream(&self, upstream: &str) -> UpstreamGauges {
        let labels = [upstream];
        UpstreamGauges {
            endpoints: self.health.endpoints.with_label_values(&labels),
            ejected: self.health.ejected.with_label_values(&labels),
            panic: self.health.panic.with_label_values(&labels),
        }
    }

    /// Counts a health check.
    pub fn health_check(&self, upstream: &str, endpoint: &str, result: CheckLabel) {
        let labels = [upstream, endpoint, result.as_str()];
        self.health.checks.with_label_values(&labels).inc();
    }

    /// States what an endpoint's health checks say.
    pub fn endpoint_healthy(&self, upstream: &str, endpoint: &str, healthy: bool) {
        let gauge = self.health.healthy.with_label_values(&[upstream, endpoint]);
        gauge.set(i64::from(healthy));
    }

    /// Nobody checks this endpoint's health anymore.
    pub fn endpoint_unchecked(&self, upstream: &str, endpoint: &str) {
        forget(&self.health.healthy, &[upstream, endpoint]);
    }

    /// Counts an ejection.
    pub fn ejection(&self, upstream: &str, endpoint: &str, cause: EjectionLabel) {
        let labels = [upstream, endpoint, cause.as_str()];
        self.health.ejections.with_label_values(&labels).inc();
    }

    /// Counts a lookup of a name.
    pub fn dns_lookup(&self, upstream: &str, result: LookupResult) {
        let labels = [upstream, result.as_str()];
        self.health.lookups.with_label_values(&labels).inc();
    }

    /// Counts a read of an endpoints file.
    pub fn endpoints_file_read(&self, upstream: &str, result: FileResult) {
        let labels = [upstream, result.as_str()];
        self.health.file_reads.with_label_values(&labels).inc();
    }

    /// Removes every series of an endpoint that is gone, so that names whose addresses change all day do not fill the
    /// registry. Handles that are still held count on, unseen.
    pub fn forget_endpoint(&self, upstream: &str, endpoint: &str) {
        let labels = [upstream, endpoint];
        self.forget_breaker(upstream, endpoint);
        self.upstreams.forget_endpoint(upstream, endpoint);
        forget(&self.health.healthy, &labels);
        for result in CheckLabel::ALL {
            forget(&self.health.checks, &[upstream, endpoint, result.as_str()]);
        }
        for cause in EjectionLabel::ALL {
            forget(
                &self.health.ejections,
                &[upstream, endpoint, cause.as_str()],
            );
        }
    }

    /// Removes every series of an upstream that is gone.
    pub fn forget_upstream(&self, upstream: &str) {
        self.forget_breaker(upstream, "");
        self.forget_upstream_tls(upstream);
        self.upgrades.forget(upstream);
        for gauge in [
            &self.health.endpoints,
            &self.health.ejected,
            &self.health.panic,
        ] {
            forget(gauge, &[upstream]);
        }
        for result in LookupResult::ALL {
            forget(&self.health.lookups, &[upstream, result.as_str()]);
        }
        for result in FileResult::ALL {
            forget(&self.health.file_reads, &[upstream, result.as_str()]);
        }
    }
}

impl super::families::UpstreamFamilies {
    fn forget_endpoint(&self, upstream: &str, endpoint: &str) {
        let labels = [upstream, endpoint];
        for result in AttemptResult::ALL {
            forget(&self.attempts, &[upstream, endpoint, result.as_str()]);
        }
        for reason in FAILURES {
            forget(&self.failures, &[upstream, endpoint, reason]);
        }
        for result in ["ok", "failed"] {
            forget(&self.connects, &[upstream, endpoint, result]);
        }
        forget(&self.pool_idle, &labels);
        forget(&self.pool_http2_connections, &labels);
        forget(&self.pool_http2_streams, &labels);
        forget(&self.pool_reused, &labels);
        forget(&self.stale_replays, &labels);
    }
}
