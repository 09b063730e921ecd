//! Metrics of connections that stopped speaking HTTP.
//!
//! Path: [`super::metrics`] registers them, the handles are in an upstream's; `proxy::upgrade` counts.

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::families::Families;

/// The families.
#[derive(Debug)]
pub(super) struct UpgradeFamilies {
    active: IntGaugeVec,
    total: IntCounterVec,
    bytes: IntCounterVec,
}

/// The handles of one upstream.
#[derive(Debug, Clone)]
pub struct UpgradeMetrics {
    /// Open now.
    pub active: IntGauge,
    /// Begun so far.
    pub total: IntCounter,
    /// Bytes from clients.
    pub up: IntCounter,
    /// Bytes from endpoints.
    pub down: IntCounter,
}

impl UpgradeFamilies {
    pub(super) fn new(families: &Families<'_>) -> prometheus::Result<Self> {
        let upstream = &["upstream"];
        Ok(Self {
            active: families.gauges(
                "outrigger_upgraded_connections",
                "Connections open after a switch of protocols, such as WebSocket",
                upstream,
            )?,
            total: families.counters(
                "outrigger_upgrades_total",
                "Switches of protocols",
                upstream,
            )?,
            bytes: families.counters(
                "outrigger_upgraded_bytes_total",
                "Bytes moved after a switch of protocols; up: to the endpoint",
                &["upstream", "way"],
            )?,
        })
    }

    /// Removing what was never there is no mistake.
    pub(super) fn forget(&self, upstream: &str) {
        drop(self.active.remove_label_values(&[upstream]));
        drop(self.total.remove_label_values(&[upstream]));
        for way in ["up", "down"] {
            drop(self.bytes.remove_label_values(&[upstream, way]));
        }
    }

    pub(super) fn handles(&self, upstream: &str) -> UpgradeMetrics {
        let bytes = |way| self.bytes.with_label_values(&[upstream, way]);
        UpgradeMetrics {
            active: self.active.with_label_values(&[upstream]),
            total: self.total.with_label_values(&[upstream]),
            up: bytes("up"),
            down: bytes("down"),
        }
    }
}
