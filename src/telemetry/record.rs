//! What is known about one request: filled while it advances, written once when it is over.
//!
//! Path: `proxy::exchange` owns it; every decision lands here as a value. Metrics and the access line are views of it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Method, StatusCode, Uri};

use super::reason::Reason;
use super::route::RouteTelemetry;
use super::trace::Trace;
use super::trace::ids::SpanId;

/// One request, from its head to the end of its answer.
#[derive(Debug)]
pub struct RequestRecord {
    /// The client as far as trusted peers tell.
    pub client: IpAddr,
    /// The request's method.
    pub method: Method,
    /// The request's target; only its path is ever shown.
    pub uri: Uri,
    /// `X-Request-Id`, once it is known.
    pub request_id: Option<HeaderValue>,
    /// The trace it belongs to, if anybody asks.
    pub trace: Option<Trace>,
    /// The route that took the request, or the listener's stand-in for none.
    pub route: Arc<RouteTelemetry>,
    /// The upstream that the route leads to.
    pub upstream: Option<Arc<str>>,
    /// Every try at an endpoint, in order.
    pub attempts: Attempts,
    /// The status that was sent, unless the client had gone before.
    pub status: Option<StatusCode>,
    /// Why the proxy answered itself or cut the exchange; a code of the closed list.
    pub reason: Option<Reason>,
    /// What the system said below the reason.
    pub cause: Option<Box<str>>,
    /// The limit of the configuration behind the reason.
    pub limit: Option<Box<Limit>>,
    /// The file and line of that limit: `outrigger.yaml:12`; with `(default)` behind it where nothing is written, and then
    /// the line of the section that it would be written in.
    pub limit_at: Option<Box<str>>,
    /// Why a failed attempt was not followed by another one; a word of a closed list.
    pub not_retried: Option<&'static str>,
    /// How long it waited until a limit let it go on.
    pub queued: Duration,
    /// What a policy that only observes would have done to it; a code of the closed list of reasons.
    pub observed: Option<&'static str>,
    /// Bytes of the request's body taken from the client.
    pub bytes_in: u64,
    /// Bytes of the answer's body given to the client.
    pub bytes_out: u64,
    /// Head's arrival → answer's head from the upstream.
    pub first_byte: Option<Duration>,
    /// Head's arrival → end of the exchange.
    pub duration: Duration,
    /// Whether it is the probe of an orchestrator or a load balancer, by its own word.
    pub probe: bool,
    /// Fields of its head that the access line shows, in the order of the file.
    pub headers: Option<Box<[Option<HeaderValue>]>>,
    /// Hash of the configuration that served it.
    pub config: Arc<str>,
}

/// A limit of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// Where it stands: `upstreams.pay.limits.in_flight`.
    pub key: String,
    /// Its value, as written.
    pub value: String,
}

/// One try at one endpoint.
#[derive(Debug, Clone)]
pub struct AttemptRecord {
    /// The endpoint's address.
    pub endpoint: Arc<str>,
    /// How it ended.
    pub outcome: Outcome,
    /// Time until it ended or the answer's head arrived.
    pub elapsed: Duration,
    /// Time to open the connection, without TLS; `None` when a pooled one served.
    pub connect: Option<Duration>,
    /// Time of the TLS handshake on it, if there was one and it went well.
    pub tls: Option<Duration>,
    /// The request's head's arrival → its beginning.
    pub started: Duration,
    /// The app's parent, if anybody asks for traces.
    pub span: Option<SpanId>,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// With an answer.
    Status(StatusCode),
    /// Without; a code of the closed list of reasons.
    Failed(&'static str),
}

/// The attempts of a request. Nearly always there is one, so the first needs no allocation.
#[derive(Debug, Default)]
pub struct Attempts {
    first: Option<AttemptRecord>,
    more: Vec<AttemptRecord>,
}

impl Attempts {
    /// Adds the next one.
    pub fn push(&mut self, attempt: AttemptRecord) {
        if self.first.is_none() {
            self.first = Some(attempt);
        } else {
            self.more.push(attempt);
        }
    }

    /// In order.
    pub fn iter(&self) -> impl Iterator<Item = &AttemptRecord> {
        self.first.iter().chain(&self.more)
    }

    /// The latest one.
    pub fn last(&self) -> Option<&AttemptRecord> {
        self.more.last().or(self.first.as_ref())
    }
}
