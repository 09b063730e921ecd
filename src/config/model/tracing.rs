//! `tracing`

use std::fmt;

use super::Located;

/// `tracing`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tracing {
    /// `otlp`: the collector that gets the spans. Default: none; then traces are only passed on.
    pub otlp: Option<Located<Collector>>,
    /// `sample`: how many of the traces that begin here are recorded, in hundredths of a per cent, 0 to 10,000. Default
    /// 100 (`1%`). A caller that has decided is followed.
    pub sample: u32,
    /// `propagation`: the headers that traces are told in; all are read, the first is written. Default `w3c`.
    pub propagation: Vec<Propagation>,
    /// `service`: `service.name` of the spans. Default `outrigger`.
    pub service: String,
}

impl Default for Tracing {
    fn default() -> Self {
        Self {
            otlp: None,
            sample: 100,
            propagation: vec![Propagation::W3c],
            service: "outrigger".to_owned(),
        }
    }
}

/// `tracing.otlp` and `tracing.protocol`: where spans go, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collector {
    /// An IP address or a name; the former in brackets if it is one of IPv6.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The path of the URL; `/v1/traces` if it has none. gRPC has one of its own.
    pub path: String,
    /// `protocol`. Default: `grpc` on port 4317, else `http`.
    pub protocol: OtlpProtocol,
}

impl fmt::Display for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}:{}{}", self.host, self.port, self.path)
    }
}

/// `tracing.protocol`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtlpProtocol {
    /// `http`: protobuf over HTTP/1.
    Http,
    /// `grpc`
    Grpc,
}

/// `tracing.propagation[]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// `w3c`: `traceparent`, `tracestate`.
    W3c,
    /// `b3`: one header.
    B3,
    /// `b3_multi`: `X-B3-TraceId` and its like.
    B3Multi,
}
