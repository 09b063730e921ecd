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
}
