//! `upstreams.*.circuit_breaker` and `upstreams.*.failure`

use std::time::Duration;

use super::super::source::Span;
use super::Located;

/// `upstreams.*.circuit_breaker`; not there (or `off`): no breaker. `{}` gives these defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CircuitBreaker {
    /// `consecutive_failures`: failures in a row that open it, 1 to 10,000; `None` (`off`): any number passes. Default 5.
    pub consecutive_failures: Option<u32>,
    /// `open_for`: how long requests are refused before probes pass. Default 10 s.
    pub open_for: Duration,
    /// `half_open_max`: probes at once, 1 to 1,000. Default 1.
    pub half_open_max: u32,
    /// `half_open_successes`: probes that have to go well to close it, 1 to 1,000. Default 1.
    pub half_open_successes: u32,
    /// `error_rate`: share of failures in percent that opens it, 1 to 100; `None` (`off`, default): no share does.
    pub error_rate: Option<Located<u8>>,
    /// `slow`: an answer whose head takes as long as this is slow; `None` (`off`, default): none is.
    pub slow: Option<Located<Duration>>,
    /// `slow_rate`: share of slow answers in percent that opens it, 1 to 100. Default 50.
    pub slow_rate: Located<u8>,
    /// `window`: time over which shares are taken. Default 10 s.
    pub window: Duration,
    /// `min_requests`: a share of fewer requests than this opens nothing, 1 to 1,000,000. Default 20.
    pub min_requests: Located<u32>,
    /// `scope`: what is refused together. Default `endpoint`.
    pub scope: BreakerScope,
    /// `mode`: whether it acts. Default `enforce`.
    pub mode: BreakerMode,
}

impl CircuitBreaker {
    /// The default of `slow_rate`, in percent.
    pub const SLOW_RATE: u8 = 50;
    /// The default of `min_requests`.
    pub const MIN_REQUESTS: u32 = 20;
}

impl Default for CircuitBreaker {
    fn default() -> Self {
        Self {
            consecutive_failures: Some(5),
            open_for: Duration::from_secs(10),
            half_open_max: 1,
            half_open_successes: 1,
            error_rate: None,
            slow: None,
            slow_rate: Located::new(Self::SLOW_RATE, Span::default()),
            window: Duration::from_secs(10),
            min_requests: Located::new(Self::MIN_REQUESTS, Span::default()),
            scope: BreakerScope::default(),
            mode: BreakerMode::default(),
        }
    }
}

/// `upstreams.*.circuit_breaker.scope`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BreakerScope {
    /// `endpoint`: each endpoint has a breaker; others take over from one that is open, and requests are refused when
    /// all are.
    #[default]
    Endpoint,
    /// `upstream`: one breaker counts the attempts at all endpoints, for those that fail together.
    Upstream,
    /// `both`: each counts for itself.
    Both,
}

/// `upstreams.*.circuit_breaker.mode`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BreakerMode {
    /// `enforce`: it refuses requests.
    #[default]
    Enforce,
    /// `observe`: it only tells in metrics, journal and log what it would have done.
    Observe,
}

/// `upstreams.*.failure`: which answers speak against their endpoint, for breakers, ejection and metrics. That there is no
/// answer (no connection, a timeout, a reset) always does; that the client left, or that the proxy refused, never does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailureRules {
    /// `statuses`: HTTP statuses, single or as ranges, 200 to 599. Default 500 to 599 without 501.
    pub statuses: Vec<Located<StatusRange>>,
    /// `grpc`: codes of `grpc-status`. Default `unknown`, `internal`, `unavailable`, `data_loss`.
    pub grpc: Vec<u16>,
    /// `slow`: an answer whose head takes as long as this is a failure; `None` (`off`, default): none is.
    pub slow: Option<Located<Duration>>,
}

/// `503` or `500-599`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatusRange {
    /// The lowest.
    pub first: u16,
    /// The highest.
    pub last: u16,
}

impl Default for FailureRules {
    fn default() -> Self {
        let range = |first, last| Located::new(StatusRange { first, last }, Span::default());
        Self {
            statuses: vec![range(500, 500), range(502, 599)],
            grpc: vec![2, 13, 14, 15],
            slow: None,
        }
    }
}
