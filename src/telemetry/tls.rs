//! Metrics of handshakes and certificates.
//!
//! Path: [`super::metrics`] registers them; `downstream` counts, and `snapshot` and `app` tell when certificates end.

use prometheus::{IntCounter, IntCounterVec, IntGaugeVec};

use super::families::Families;
use super::metrics::Metrics;

/// The families.
#[derive(Debug)]
pub(super) struct TlsFamilies {
    handshakes: IntCounterVec,
    expiry: IntGaugeVec,
    loads: IntCounterVec,
    unverified: IntGaugeVec,
}

/// The label `direction` of what endpoints are shown.
pub const UPSTREAM: &str = "upstream";

/// What became of files that were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoadResult {
    /// They are in use.
    Loaded,
    /// What there was before stays.
    Refused,
}

impl LoadResult {
    fn as_str(self) -> &'static str {
        match self {
            Self::Loaded => "loaded",
            Self::Refused => "refused",
        }
    }
}

/// The handles of one listener.
#[derive(Debug, Clone)]
pub struct HandshakeMetrics {
    results: Box<[IntCounter]>,
}

impl HandshakeMetrics {
    /// Counts one; `result` is an index into the results given to [`Metrics::handshakes`].
    pub fn count(&self, result: usize) {
        if let Some(counter) = self.results.get(result) {
            counter.inc();
        }
    }
}

impl TlsFamilies {
    pub(super) fn new(families: &Families<'_>) -> prometheus::Result<Self> {
        Ok(Self {
            handshakes: families.counters(
                "outrigger_tls_handshakes_total",
                "TLS handshakes with clients, by how they ended",
                &["direction", "listener", "result"],
            )?,
            expiry: families.gauges(
                "outrigger_tls_cert_expiry_seconds",
                "When the certificate that ends first does, in seconds since 1970",
                &["direction", "name"],
            )?,
            loads: families.counters(
                "outrigger_tls_loads_total",
                "Times that the files of `tls` were read, by result: loaded, or refused, which leaves what there was",
                &["direction", "name", "result"],
            )?,
            unverified: families.gauges(
                "outrigger_upstream_tls_unverified",
                "Whether the certificates of an upstream's endpoints are not looked at (`insecure: true`)",
                &["upstream"],
            )?,
        })
    }
}

impl Metrics {
    /// Resolves the handles of a listener's handshakes; `results` are all there are.
    pub fn handshakes(
        &self,
        direction: &str,
        listener: &str,
        results: &[&'static str],
    ) -> HandshakeMetrics {
        let counter = |result: &&'static str| {
            let labels = [direction, listener, result];
            self.tls.handshakes.with_label_values(&labels)
        };
        HandshakeMetrics {
            results: results.iter().map(counter).collect(),
        }
    }

    /// States when certificates of a listener, or of an upstream, end: the first one counts.
    pub fn certificates(&self, direction: &str, name: &str, ends: &[i64]) {
        if let Some(first) = ends.iter().min() {
            self.tls
                .expiry
                .with_label_values(&[direction, name])
                .set(*first);
        }
    }

    /// Counts that files of a listener, or of an upstream, were read.
    pub fn tls_loaded(&self, direction: &str, name: &str, result: LoadResult) {
        let labels = [direction, name, result.as_str()];
        self.tls.loads.with_label_values(&labels).inc();
    }

    /// States that an upstream's endpoints need not prove who they are, or that they have to.
    pub fn upstream_unverified(&self, upstream: &str, unverified: bool) {
        let gauge = self.tls.unverified.with_label_values(&[upstream]);
        gauge.set(i64::from(unverified));
    }

    /// Forgets what is known of an upstream's TLS.
    pub(super) fn forget_upstream_tls(&self, upstream: &str) {
        // Whatever is not there need not go.
        let _ = self.tls.unverified.remove_label_values(&[upstream]);
        let labels = [UPSTREAM, upstream];
        let _ = self.tls.expiry.remove_label_values(&labels);
        for result in [LoadResult::Loaded, LoadResult::Refused] {
            let labels = [UPSTREAM, upstream, result.as_str()];
            let _ = self.tls.loads.remove_label_values(&labels);
        }
    }
}
