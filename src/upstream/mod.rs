//! From an attempt to the wire: upstreams, their endpoints, who is next, and the pooled connections.
//!
//! Path: `proxy::attempt` picks an endpoint among the [`members`] by their [`balance`], takes a connection from the
//! endpoint's [`pool`] or opens one with [`connect`], and sends. State that belongs to an address (pool, requests in
//! flight, health, ejection) lives in the [`endpoint::Endpoint`], so it survives a reload of everything around it.
//! Beside the path: [`health`] asks endpoints how they are, [`discover`] finds out which ones there are.

pub mod address;
pub mod admission;
pub mod balance;
pub mod breaker;
pub mod carrier;
pub mod connect;
pub mod connection;
pub mod discover;
pub mod endpoint;
pub mod health;
pub mod http2;
pub mod members;
pub mod pool;
pub mod proxy_header;
pub mod queue;
pub mod replay_room;
pub mod request_body;
pub mod request_limit;
pub mod streams;

use std::borrow::Cow;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use breaker::Breakers;
use carrier::Speaks;
use discover::Discovery;
use endpoint::Endpoint;
use health::HealthCheck;
use members::{EndpointSet, Members};
use pool::PoolSettings;
use proxy_header::ProxyHeader;
use tokio::sync::Semaphore;

use crate::policy::budget::RetryBudget;
use crate::policy::failure::{Classifier, Failure, Verdict};
use crate::policy::outlier::{Outcome, Rules};
use crate::telemetry::metrics::UpstreamMetrics;
use crate::tls::client::ClientTls;

/// A named set of equal endpoints, and how to talk to them.
#[derive(Debug)]
pub struct Upstream {
    /// The name in the configuration.
    pub name: Arc<str>,
    /// What limits the requests under way.
    pub limits: UpstreamLimits,
    /// Where requests can go, and who is next.
    pub members: Members,
    /// Where its endpoints come from, if not all of them are addresses in the file.
    pub discovery: Option<Discovery>,
    /// How endpoints are asked for their health.
    pub health_check: Option<HealthCheck>,
    /// When endpoints are ejected because of their requests.
    pub outlier: Option<Rules>,
    /// Limit of a TCP connect.
    pub connect_timeout: Duration,
    /// How it encrypts; `None`: not at all.
    pub tls: Option<Encryption>,
    /// How long an endpoint may neither send nor take anything while its answer is awaited.
    pub idle_timeout: Duration,
    /// How long nothing may move on a connection that was upgraded; `None`: for ever.
    pub upgraded_idle: Option<Duration>,
    /// What is spoken with its endpoints.
    pub protocol: Protocol,
    /// The PROXY header that begins its connections; `None`: none.
    pub proxy_header: Option<ProxyHeader>,
    /// What the pools keep.
    pub pool: PoolSettings,
    /// Rights to one more copy of a request: mirrors are bounded apart from requests.
    pub copies: Arc<Semaphore>,
    /// What share of its requests may be retries; `None`: any.
    pub retry_budget: Option<Arc<RetryBudget>>,
    /// Handles of its metrics.
    pub metrics: UpstreamMetrics,
    /// What counts as a failure of its endpoints.
    pub failure: Classifier,
    /// Its circuit breakers, if it has any.
    pub breakers: Option<Arc<Breakers>>,
}

/// What is spoken with the endpoints of an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// HTTP/1.1, but gRPC, which is never spoken over it, by HTTP/2.
    #[default]
    Auto,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

/// TLS towards the endpoints of an upstream.
#[derive(Debug)]
pub struct Encryption {
    /// Whom it believes, and what it shows.
    pub client: Arc<ClientTls>,
    /// Limit of a handshake, from the TCP connect on.
    pub timeout: Duration,
}

/// What limits the requests under way at an upstream.
#[derive(Debug, Default)]
pub struct UpstreamLimits {
    /// Of all endpoints together.
    pub requests: Option<Arc<request_limit::RequestLimit>>,
    /// Of one endpoint.
    pub per_endpoint: Option<NonZeroU32>,
    /// The key that says so.
    pub per_endpoint_key: &'static str,
    /// Where requests wait when all endpoints are full.
    pub queue: Option<Arc<queue::Queue>>,
}

impl Upstream {
    /// Its endpoints now.
    pub fn endpoints(&self) -> Arc<EndpointSet> {
        self.members.load()
    }

    /// Why the proxy is not ready because of this upstream, if its health check is to decide that.
    pub fn unready(&self, now: Instant) -> Option<String> {
        self.health_check.as_ref().filter(|check| check.readiness)?;
        let set = self.endpoints();
        if set.iter().any(|it| it.is_healthy() && it.is_proven()) {
            return None;
        }
        let why = set
            .iter()
            .next()
            .map(|endpoint| match endpoint.is_proven() {
                false if endpoint.is_healthy() => format!("{} not checked yet", endpoint.label),
                _ => format!("{} {}", endpoint.label, endpoint.describe(now)),
            });
        let why = why.unwrap_or("it has no endpoint".into());
        Some(format!(
            "no endpoint of upstream `{}` is healthy: {why}",
            self.name
        ))
    }

    /// What is spoken about a request, of which `grpc` tells whether it is a call of gRPC: that is not defined over anything
    /// but HTTP/2, so whoever takes such calls speaks it.
    pub fn speaks(&self, grpc: impl FnOnce() -> bool) -> Speaks {
        match self.protocol {
            Protocol::Http1 => Speaks::Http1,
            Protocol::Http2 => Speaks::Http2,
            Protocol::Auto if grpc() => Speaks::Http2,
            Protocol::Auto => Speaks::Http1,
        }
    }

    /// Takes note of how an attempt at `endpoint` that took `elapsed` spoke for it. Called once for each attempt: with its
    /// failure, or at the end of its answer's body.
    pub fn report(
        &self,
        endpoint: &Arc<Endpoint>,
        verdict: Verdict,
        _elapsed: Duration,
        now: Instant,
    ) {
        if let Verdict::Failure(failure) = verdict
            && let Some(text) = told(failure)
        {
            endpoint.note_error(&text, now);
        }
        let outcome = match verdict {
            Verdict::Success => Outcome::Success,
            Verdict::Failure(_) => Outcome::Failure,
            Verdict::Ignored => return,
        };
        if let Some(rules) = &self.outlier
            && let Some(cause) = endpoint.tally.record(rules, outcome, now)
        {
            self.members.eject(endpoint, rules, cause, now);
        }
    }
}

/// A failure as an endpoint's last error; `None` where [`connect`] has noted more than is known here.
fn told(failure: Failure) -> Option<Cow<'static, str>> {
    Some(match failure {
        Failure::Connect => return None,
        Failure::Timeout => "no answer in time".into(),
        Failure::Reset => "the connection broke".into(),
        Failure::Protocol => "the answer is not valid HTTP".into(),
        Failure::Status(status) => format!("answered {}", status.as_u16()).into(),
        Failure::Grpc(code) => format!("answered grpc-status {code}").into(),
        Failure::Slow => "answered too slowly".into(),
    })
}

#[cfg(test)]
mod tests;
