//! Which route a request takes.
//!
//! Path: `proxy::forward` asks the listener's [`table::Table`]; `snapshot` builds it. Order in the file does not
//! matter but for ties: the more specific match wins (Gateway API, HTTPRouteRule: host, then path, then method).

pub mod limits;
pub mod rate_key;
pub mod table;

use std::sync::Arc;
use std::time::Duration;

use crate::policy::retry::RetryPolicy;
use crate::telemetry::route::RouteTelemetry;
use crate::upstream::Upstream;

/// What happens to the requests that match.
#[derive(Debug)]
pub struct Route {
    /// The name in the configuration.
    pub name: Arc<str>,
    /// Where they go.
    pub upstream: Arc<Upstream>,
    /// Limit from the request's head to the end of its answer.
    pub timeout: Option<Duration>,
    /// Whether to try again.
    pub retry: RetryPolicy,
    /// Limit of one attempt, to its answer's head.
    pub per_try_timeout: Option<Duration>,
    /// How much of a request's body is kept for another attempt, in bytes.
    pub replay_bytes: usize,
    /// What they have to pass; shared by all listeners.
    pub limits: Arc<limits::RouteLimits>,
    /// Handles of its metrics on this listener.
    pub telemetry: Arc<RouteTelemetry>,
}
