//! Why a request got no answer from an app, or lost it half-way.
//!
//! Path: made in [`super::forward`], [`super::attempt`] and [`super::body`]; [`super::respond`] turns it into an answer.
//! The codes are a closed list: they appear alike in answers, access lines and the metric label `reason`.

use std::time::{Duration, Instant};

use http::{HeaderMap, StatusCode};
use thiserror::Error;

pub use crate::telemetry::reason::Reason;
pub use crate::telemetry::record::Limit;

use crate::upstream::Upstream;
use crate::upstream::admission::NoRoom;
use crate::upstream::connect::{ConnectError, FaultKind};

/// One variant a cause.
#[derive(Debug, Error)]
pub enum ProxyError {
    /// The request's head was not complete in time.
    #[error("the request's head was not complete in time")]
    HeaderTimeout,
    /// The request's head contradicts itself or the protocol.
    #[error("{0}")]
    BadRequest(&'static str),
    /// The request's head has more lines than it may.
    #[error("the request has too many header lines")]
    HeadTooLarge,
    /// `CONNECT` asks for a tunnel that nobody allowed.
    #[error("tunnels are not offered here")]
    ConnectMethod,
    /// Nothing in the file takes this request.
    #[error("no route takes this request")]
    NoRoute,
    /// The upstream has nobody to ask.
    #[error("the upstream has no endpoint")]
    NoEndpoint(Box<Refusal>),
    /// Whom there is to ask could not be found out.
    #[error("the upstream's endpoints could not be looked up")]
    Discovery(Box<Refusal>),
    /// No connection was to be had.
    #[error("the connection to the endpoint failed")]
    Connect(#[source] ConnectError),
    /// The connection broke before an answer's head had arrived.
    #[error("the endpoint closed the connection before answering")]
    UpstreamReset(#[source] hyper::Error),
    /// What the endpoint sent is not HTTP.
    #[error("the endpoint's answer is not valid HTTP")]
    UpstreamProtocol(#[source] hyper::Error),
    /// The head of the endpoint's answer has more bytes or lines than it may.
    #[error("the head of the endpoint's answer is too large")]
    UpstreamHeadTooLarge,
    /// The endpoint's answer says in several ways how long it is.
    #[error("the endpoint's answer says in several ways how long it is")]
    UpstreamFraming,
    /// The endpoint switched protocols and nobody had asked it to.
    #[error("the endpoint switched protocols without being asked")]
    UnaskedUpgrade,
    /// Nothing moved for too long after a switch of protocols.
    #[error("nothing moved on the upgraded connection for too long")]
    UpgradedIdle,
    /// The connection broke in the middle of an answer.
    #[error("the endpoint broke off its answer")]
    UpstreamBody(#[source] hyper::Error),
    /// The endpoint neither sent nor took anything for too long.
    #[error("the endpoint was silent for too long")]
    UpstreamIdle,
    /// The whole request took too long.
    #[error("the request took longer than its route allows")]
    RequestTimeout,
    /// The client stopped sending its body.
    #[error("the client stopped sending the request's body")]
    ClientIdle,
    /// The client sent its body more slowly than it may.
    #[error("the client sent the request's body too slowly")]
    ClientTooSlow,
    /// The request's body is longer than it may be.
    #[error("the request's body is too large")]
    BodyTooLarge,
    /// The client broke off its body.
    #[error("the client broke off the request's body")]
    ClientBody,
    /// The client left before the answer was complete. Neither an error nor the endpoint's fault.
    #[error("the client left before the answer was complete")]
    ClientGone,
    /// A rate limit is used up.
    #[error("too many requests")]
    RateLimited(Box<Refusal>),
    /// As many requests as are allowed are under way.
    #[error("too many requests are under way")]
    Overloaded(Overload, Box<Refusal>),
    /// A circuit breaker is open.
    #[error("the upstream is not being called: its circuit breaker is open")]
    CircuitOpen(Box<Refusal>),
    /// Every endpoint is out of service.
    #[error("no endpoint of the upstream is in service")]
    NoHealthyEndpoint(Box<Refusal>),
    /// One attempt took longer than it may.
    #[error("the endpoint took longer than one attempt may")]
    AttemptTimeout,
    /// The time that the client allowed is over.
    #[error("the time that the client allowed is over")]
    DeadlineExceeded,
    /// A defect of the proxy.
    #[error("the proxy has a defect; this request met it")]
    Panic,
}

/// What there is too much of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overload {
    /// Requests of a listener.
    Listener,
    /// Requests of a route.
    Route,
    /// Requests of an upstream.
    Upstream,
    /// Requests of each endpoint.
    Endpoint,
    /// Requests before one that waited.
    Queue,
    /// Memory in use.
    Memory,
}

impl Overload {
    fn reason(self) -> Reason {
        match self {
            Self::Listener => Reason::ListenerOverloaded,
            Self::Route => Reason::RouteOverloaded,
            Self::Upstream => Reason::UpstreamOverloaded,
            Self::Endpoint => Reason::EndpointsOverloaded,
            Self::Queue => Reason::QueueTimeout,
            Self::Memory => Reason::MemoryOverloaded,
        }
    }
}

/// What there is to say about a refusal by policy.
#[derive(Debug, Default)]
pub struct Refusal {
    /// What happened, with names; a full sentence without its stop.
    pub message: String,
    /// When to come again; sent as `Retry-After` in whole seconds, at least 1.
    pub retry_after: Option<Duration>,
    /// The limit that was reached.
    pub limit: Option<Limit>,
    /// What had gone wrong last at whoever is not asked anymore.
    pub last_error: Option<String>,
    /// Further fields of the answer.
    pub headers: HeaderMap,
}

impl ProxyError {
    /// No endpoint of `upstream` takes the request.
    pub fn no_room(upstream: &Upstream, why: NoRoom, now: Instant) -> Self {
        match why {
            NoRoom::NoEndpoint => super::unavailable::nobody(upstream, now),
            NoRoom::Full => super::admit::endpoints_full(upstream),
            NoRoom::Open(open) => super::circuit::refused(upstream, open),
        }
    }

    /// There is no connection to an endpoint of `upstream`; that it may have no more of them is our own doing.
    pub fn not_connected(upstream: &Upstream, error: ConnectError) -> Self {
        match error {
            ConnectError::Full => super::admit::endpoints_full(upstream),
            error => Self::Connect(error),
        }
    }

    /// The code in the answer's body: [`Self::reason`] in upper case.
    pub fn code(&self) -> String {
        self.reason().as_str().to_ascii_uppercase()
    }

    /// The status that the client sees; it stands with the reason.
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.reason().facts().status)
            .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The status that a gRPC caller sees: of what gRPC makes of HTTP's statuses, but for those that it has a better
    /// word for.
    pub fn grpc_status(&self) -> u16 {
        if matches!(self, Self::ClientGone | Self::ClientBody) {
            return 1; // CANCELLED
        }
        match self.status().as_u16() {
            408 | 504 => 4,        // DEADLINE_EXCEEDED
            403 => 7,              // PERMISSION_DENIED
            413 | 429 | 431 => 8,  // RESOURCE_EXHAUSTED
            404 | 405 | 501 => 12, // UNIMPLEMENTED
            400 | 500 => 13,       // INTERNAL
            502 | 503 => 14,       // UNAVAILABLE
            401 => 16,             // UNAUTHENTICATED
            _ => 2,                // UNKNOWN
        }
    }

    /// Its place in the closed list.
    #[rustfmt::skip]
    pub fn reason(&self) -> Reason {
        match self {
            Self::HeaderTimeout => Reason::HeaderTimeout,
            Self::BadRequest(_) => Reason::BadRequest,
            Self::HeadTooLarge => Reason::RequestHeadersTooLarge,
            Self::ConnectMethod => Reason::MethodNotAllowed,
            Self::ClientIdle => Reason::ClientIdleTimeout,
            Self::ClientTooSlow => Reason::ClientBodyTooSlow,
            Self::ClientBody => Reason::ClientBodyAborted,
            Self::BodyTooLarge => Reason::BodyTooLarge,
            Self::ClientGone => Reason::ClientGone,
            Self::NoRoute => Reason::NoRoute,
            Self::Panic => Reason::InternalError,
            Self::RateLimited(_) => Reason::RateLimited,
            Self::Overloaded(what, _) => what.reason(),
            Self::CircuitOpen(_) => Reason::CircuitOpen,
            Self::NoHealthyEndpoint(_) => Reason::NoHealthyEndpoint,
            Self::AttemptTimeout => Reason::AttemptTimeout,
            Self::DeadlineExceeded => Reason::DeadlineExceeded,
            Self::NoEndpoint(_) => Reason::NoEndpoint,
            Self::Discovery(_) => Reason::DiscoveryFailed,
            Self::Connect(error) => connect_reason(error),
            Self::UpstreamReset(_) => Reason::UpstreamReset,
            Self::UpstreamProtocol(_) | Self::UpstreamFraming | Self::UnaskedUpgrade => {
                Reason::UpstreamProtocolError
            }
            Self::UpstreamHeadTooLarge => Reason::UpstreamHeadersTooLarge,
            Self::UpgradedIdle => Reason::UpgradedIdleTimeout,
            Self::UpstreamBody(_) => Reason::UpstreamBodyReset,
            Self::UpstreamIdle => Reason::UpstreamIdleTimeout,
            Self::RequestTimeout => Reason::RequestTimeout,
        }
    }

    /// What a policy said when it refused.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::RateLimited(refusal)
            | Self::Overloaded(_, refusal)
            | Self::CircuitOpen(refusal)
            | Self::NoEndpoint(refusal)
            | Self::Discovery(refusal)
            | Self::NoHealthyEndpoint(refusal) => Some(refusal),
            _ => None,
        }
    }

    /// What lies below, as one line; empty when there is nothing.
    pub fn cause(&self) -> Option<String> {
        let mut source = std::error::Error::source(self)?;
        // The innermost error is the system's own word; what lies between repeats ours.
        while let Some(inner) = source.source() {
            source = inner;
        }
        let text = source.to_string();
        // The number behind the system's words says nothing more.
        Some(
            text.split(" (os error")
                .next()
                .unwrap_or_default()
                .to_owned(),
        )
    }
}

fn connect_reason(error: &ConnectError) -> Reason {
    match error {
        ConnectError::Timeout(_) => Reason::ConnectTimeout,
        ConnectError::TlsTimeout(_) => Reason::UpstreamTlsTimeout,
        ConnectError::Tls(fault) => match fault.kind {
            FaultKind::Certificate => Reason::UpstreamCertificate,
            FaultKind::Refused => Reason::UpstreamTlsRefused,
            FaultKind::Protocol => Reason::UpstreamTlsFailed,
        },
        ConnectError::Io(io) if io.kind() == std::io::ErrorKind::ConnectionRefused => {
            Reason::ConnectRefused
        }
        ConnectError::NotHttp2(_) | ConnectError::NoStreams => Reason::UpstreamNotHttp2,
        ConnectError::Io(_) | ConnectError::Handshake(_) | ConnectError::Full => {
            Reason::ConnectFailed
        }
    }
}
