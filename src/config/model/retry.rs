//! `routes[].retry`, `upstreams.*.retry_budget`

use std::time::Duration;

use super::super::source::Span;
use super::Located;

/// `routes[].retry`; `off` is one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// `attempts`: in all, the first one included. 1 to 10; default 3.
    pub attempts: u32,
    /// `on`: after what. Default: everything but statuses other than 503, see [`RetryOn::default_set`].
    pub on: Vec<RetryOn>,
    /// `per_try_timeout`: from an attempt's start to its answer's head; `None` (`off`): no limit of its own. Default off.
    pub per_try_timeout: Option<Located<Duration>>,
    /// `backoff`.
    pub backoff: Backoff,
    /// `max_retry_after`: longest wait an answer may ask for with `Retry-After` or `grpc-retry-pushback-ms`. Default 1 s.
    pub max_retry_after: Duration,
    /// `retry_unsafe`: whether a POST or PATCH that may have reached the app is sent again. Default `false`.
    pub retry_unsafe: Located<bool>,
    /// `replay_bytes`: request bodies up to this size are kept for another attempt; 0 keeps none. At most 16 MiB;
    /// default 64 KiB.
    pub replay_bytes: u32,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 3,
            on: RetryOn::default_set(),
            per_try_timeout: None,
            backoff: Backoff::default(),
            max_retry_after: Duration::from_secs(1),
            retry_unsafe: Located::new(false, Span::default()),
            replay_bytes: 64 * 1024,
        }
    }
}

/// One word of `retry.on`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryOn {
    /// `connect_failure`: no connection was to be had.
    ConnectFailure,
    /// `refused_stream`: the endpoint did not process the request.
    RefusedStream,
    /// `reset`: the connection broke, or carried no HTTP, before the answer's head.
    Reset,
    /// `attempt_timeout`: `per_try_timeout` ended the attempt.
    AttemptTimeout,
    /// `throttled`: 429 with a `Retry-After` that fits.
    Throttled,
    /// A status from 400 to 599.
    Status(u16),
    /// A `grpc-status` by its name in lower case: `unavailable`, `resource_exhausted`, …
    Grpc(u16),
}

impl RetryOn {
    /// What is safe and useful nearly everywhere.
    pub fn default_set() -> Vec<Self> {
        vec![
            Self::ConnectFailure,
            Self::RefusedStream,
            Self::Reset,
            Self::AttemptTimeout,
            Self::Throttled,
            Self::Status(503),
            Self::Grpc(14),
        ]
    }
}

/// The names of `grpc-status` (gRPC, "Status codes and their use"), by code; 0 is no failure.
pub const GRPC_STATUS: [&str; 17] = [
    "ok",
    "cancelled",
    "unknown",
    "invalid_argument",
    "deadline_exceeded",
    "not_found",
    "already_exists",
    "permission_denied",
    "resource_exhausted",
    "failed_precondition",
    "aborted",
    "out_of_range",
    "unimplemented",
    "internal",
    "unavailable",
    "data_loss",
    "unauthenticated",
];

/// `routes[].retry.backoff`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// `base`: bound of the first wait; doubles with each retry. Default 25 ms.
    pub base: Duration,
    /// `max`: no wait is longer. Default 250 ms.
    pub max: Duration,
    /// `jitter`. Default `full`.
    pub jitter: Jitter,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            base: Duration::from_millis(25),
            max: Duration::from_millis(250),
            jitter: Jitter::default(),
        }
    }
}

/// `routes[].retry.backoff.jitter`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Jitter {
    /// `full`: anything between 0 and the bound.
    #[default]
    Full,
    /// `decorrelated`: between the base and three times the wait before.
    Decorrelated,
    /// `none`: the bound itself.
    None,
}

/// `upstreams.*.retry_budget`; `off` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryBudget {
    /// `percent`: retries per hundred requests, 0 % to 100 %. Default 20 %.
    pub percent: u32,
    /// `window`: how far back both count, 1 s to 10 min. Default 10 s.
    pub window: Duration,
    /// `min_per_second`: retries allowed whatever the requests, 0 to 1,000. Default 3.
    pub min_per_second: u32,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self {
            percent: 20,
            window: Duration::from_secs(10),
            min_per_second: 3,
        }
    }
}
