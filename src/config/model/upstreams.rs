//! `upstreams.*`

use std::num::{NonZeroU8, NonZeroU32};
use std::time::Duration;

use super::{
    CircuitBreaker, Discovery, EndpointAddress, FailureRules, HealthCheck, Http2, Located, Outlier,
    Protocol, ProxyHeaderVersion, RetryBudget, UpstreamLimits, UpstreamTls,
};

/// One upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// The key in `upstreams`.
    pub name: Located<String>,
    /// `endpoints`: at least one, no address twice. Required, unless there is `discovery`.
    pub endpoints: Vec<Located<Endpoint>>,
    /// `discovery`: who tells the endpoints, if the file does not.
    pub discovery: Option<Discovery>,
    /// `balance`. Default `round_robin`.
    pub balance: Balance,
    /// `timeouts`.
    pub timeouts: UpstreamTimeouts,
    /// `pool`.
    pub pool: Pool,
    /// `protocol`: what is spoken with the endpoints. Default `auto`.
    pub protocol: Protocol,
    /// `http2`.
    pub http2: Http2,
    /// `proxy_protocol`: connections begin with a PROXY header of that version. Default: none (`off`).
    pub proxy_protocol: Option<Located<ProxyHeaderVersion>>,
    /// `retry_budget`: the share of retries; `None` (`off`): no limit. On by default.
    pub retry_budget: Option<RetryBudget>,
    /// `limits`.
    pub limits: UpstreamLimits,
    /// `health_check`. Default: none.
    pub health_check: Option<HealthCheck>,
    /// `outlier`: ejection of endpoints whose requests fail. Default: none.
    pub outlier: Option<Outlier>,
    /// `panic_threshold`: with a smaller share of endpoints in service, in per cent, all are used. 1 to 100, `None`
    /// (`off`): never. Default 50.
    pub panic_threshold: Option<NonZeroU8>,
    /// `circuit_breaker`. Default: none.
    pub circuit_breaker: Option<Located<CircuitBreaker>>,
    /// `failure`.
    pub failure: FailureRules,
    /// `tls`. Default: none.
    pub tls: Option<UpstreamTls>,
}

/// One endpoint: `127.0.0.1:3000` or `{ address: …, weight: 2 }`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// `address`: IP or host name, and port (`localhost:3000` means `127.0.0.1:3000`).
    pub address: EndpointAddress,
    /// `weight`: share relative to the others, 1 to 256. Default 1.
    pub weight: NonZeroU32,
}

/// `upstreams.*.balance`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Balance {
    /// `round_robin`: smooth weighted round robin.
    #[default]
    RoundRobin,
    /// `least_connections`: fewest requests in flight for its weight.
    LeastConnections,
}

/// `upstreams.*.timeouts`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpstreamTimeouts {
    /// `connect`: TCP connect. Default 1 s.
    pub connect: Duration,
    /// `tls`: TLS handshake, after the connect. Default 3 s.
    pub tls: Duration,
    /// `idle`: the upstream sends and takes nothing although its answer is awaited. Default 60 s.
    pub idle: Duration,
    /// `upgraded_idle`: nothing moves on a connection that was upgraded, to WebSocket for example; `None` (`off`):
    /// unlimited. Default 1 h.
    pub upgraded_idle: Option<Duration>,
}

impl Default for UpstreamTimeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(1),
            tls: Duration::from_secs(3),
            idle: Duration::from_secs(60),
            upgraded_idle: Some(Duration::from_secs(3600)),
        }
    }
}

/// `upstreams.*.pool`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool {
    /// `max_idle`: idle connections kept per worker and endpoint; 0 keeps none. At most 65,536; default 128.
    pub max_idle: u32,
    /// `idle_timeout`: an idle connection is closed after this. Default 60 s.
    pub idle_timeout: Duration,
    /// `max_age`: a connection is not used again after this; `None` (`off`): unlimited. Default 10 min.
    pub max_age: Option<Duration>,
}

impl Default for Pool {
    fn default() -> Self {
        Self {
            max_idle: 128,
            idle_timeout: Duration::from_secs(60),
            max_age: Some(Duration::from_secs(600)),
        }
    }
}
