//! What passes through TCP listeners.
//!
//! Path: handles are resolved by `snapshot`; `proxy::tcp` counts. Open connections of a listener are counted with those
//! of all listeners.

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::families::Families;
use super::metrics::Metrics;

/// The families of TCP listeners.
#[derive(Debug)]
pub(super) struct TcpFamilies {
    connections: IntCounterVec,
    active: IntGaugeVec,
    bytes: IntCounterVec,
}

impl TcpFamilies {
    pub(super) fn new(families: &Families<'_>) -> prometheus::Result<Self> {
        Ok(Self {
            connections: families.counters(
                "outrigger_tcp_connections_total",
                "Connections of TCP listeners that have ended, by how",
                &["listener", "upstream", "result"],
            )?,
            active: families.gauges(
                "outrigger_tcp_connections_active",
                "Connections of TCP listeners that are joined with an endpoint",
                &["listener", "upstream"],
            )?,
            bytes: families.counters(
                "outrigger_tcp_bytes_total",
                "Bytes passed on by TCP listeners: `up` to endpoints, `down` to clients",
                &["listener", "upstream", "direction"],
            )?,
        })
    }
}

/// How a connection ended; the label `result`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TcpResult {
    /// Both sides had said all.
    Closed,
    /// One side broke it off.
    Reset,
    /// Nothing had moved for the idle time.
    Idle,
    /// The drain's time was up, or the process ended.
    Cut,
    /// No endpoint was in service, or none had room.
    NoEndpoint,
    /// No endpoint that was tried took the connection.
    ConnectFailed,
}

impl TcpResult {
    const ALL: [Self; 6] = [
        Self::Closed,
        Self::Reset,
        Self::Idle,
        Self::Cut,
        Self::NoEndpoint,
        Self::ConnectFailed,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Reset => "reset",
            Self::Idle => "idle",
            Self::Cut => "cut",
            Self::NoEndpoint => "no_endpoint",
            Self::ConnectFailed => "connect_failed",
        }
    }
}

/// The handles of one TCP listener.
#[derive(Debug)]
pub struct TcpTelemetry {
    results: [IntCounter; TcpResult::ALL.len()],
    /// Connections joined with an endpoint.
    pub active: IntGauge,
    /// Bytes to endpoints.
    pub up: IntCounter,
    /// Bytes to clients.
    pub down: IntCounter,
}

impl TcpTelemetry {
    /// Resolves the handles.
    pub fn new(metrics: &Metrics, listener: &str, upstream: &str) -> Self {
        let families = &metrics.tcp;
        let bytes = |direction| {
            let labels = [listener, upstream, direction];
            families.bytes.with_label_values(&labels)
        };
        Self {
            results: TcpResult::ALL.map(|result| {
                let labels = [listener, upstream, result.as_str()];
                families.connections.with_label_values(&labels)
            }),
            active: families.active.with_label_values(&[listener, upstream]),
            up: bytes("up"),
            down: bytes("down"),
        }
    }

    /// Counts a connection that has ended.
    pub fn ended(&self, result: TcpResult) {
        self.results[result as usize].inc();
    }
}
