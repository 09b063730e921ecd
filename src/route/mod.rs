//! Which route a request takes, and what that wants done with it.
//!
//! Path: `proxy::action` brings the path into its normal form ([`normalize`]), asks the listener's [`table::Table`], and
//! does what the route's [`Action`] says; `snapshot` builds all of it. Order in the file does not matter but for ties:
//! the more specific match wins (Gateway API, HTTPRouteRule).

pub mod conditions;
pub mod header_rules;
pub mod limits;
pub mod mirror;
pub mod normalize;
pub mod rate_key;
pub mod redirect;
pub mod rewrite;
pub mod split;
pub mod table;

use std::sync::Arc;
use std::time::Duration;

use crate::policy::retry::RetryPolicy;
use crate::telemetry::route::RouteTelemetry;
use crate::upstream::Upstream;
use bytes::Bytes;
use header_rules::HeaderRules;
use http::{HeaderMap, StatusCode};
use mirror::Mirror;
use redirect::Redirect;
use rewrite::Rewrite;
use split::Split;

/// A route as one of its rules leads to it.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The route.
    pub route: Arc<Route>,
    /// Length of the prefix that the rule matches, without trailing `/`; 0 when it matches no prefix.
    pub prefix: usize,
}

/// What happens to the requests that match.
#[derive(Debug)]
pub struct Route {
    /// The name in the configuration.
    pub name: Arc<str>,
    /// What is done with them.
    pub action: Action,
    /// Changes of the answer's headers.
    pub response_headers: HeaderRules,
    /// Limit from the request's head to the end of its answer.
    pub timeout: Option<Duration>,
    /// Whether to try again.
    pub retry: RetryPolicy,
    /// Limit of one attempt, to its answer's head.
    pub per_try_timeout: Option<Duration>,
    /// How much of a request's body is kept for another attempt, in bytes.
    pub replay_bytes: usize,
    /// How long a request's body may be, in bytes.
    pub body_bytes: Option<u64>,
    /// Whether CONNECT is let through, as bytes.
    pub tunnel: bool,
    /// What they have to pass; shared by all listeners.
    pub limits: Arc<limits::RouteLimits>,
    /// Handles of its metrics on this listener.
    pub telemetry: Arc<RouteTelemetry>,
}

/// What is done with a request.
#[derive(Debug)]
pub enum Action {
    /// It goes to an upstream.
    Forward(Forward),
    /// The client is sent elsewhere.
    Redirect(Redirect),
    /// The proxy answers.
    Respond(Reply),
}

/// The way to an upstream.
#[derive(Debug)]
pub struct Forward {
    /// Where to.
    pub target: Target,
    /// Another path or host.
    pub rewrite: Option<Rewrite>,
    /// Changes of the request's headers.
    pub request_headers: HeaderRules,
    /// Copies.
    pub mirrors: Box<[Mirror]>,
}

/// Which upstream.
#[derive(Debug)]
pub enum Target {
    /// Always this one.
    One(Arc<Upstream>),
    /// One of several.
    Split(Split),
}

/// An answer that the file gives.
#[derive(Debug)]
pub struct Reply {
    /// Its status.
    pub status: StatusCode,
    /// Its headers; among them `Content-Type`, if it has a body.
    pub headers: HeaderRules,
    /// Its body.
    pub body: Bytes,
}

impl Route {
    /// The upstream for a request with these headers; none if the route does not forward.
    pub fn target(&self, headers: &HeaderMap) -> Option<&Arc<Upstream>> {
        match &self.action {
            Action::Forward(forward) => match &forward.target {
                Target::One(upstream) => Some(upstream),
                Target::Split(split) => split.pick(headers),
            },
            Action::Redirect(_) | Action::Respond(_) => None,
        }
    }
}
