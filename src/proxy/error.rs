//! Why a request got no answer from an app, or lost it half-way.
//!
//! Path: made in [`super::forward`], [`super::attempt`] and [`super::body`]; [`super::respond`] turns it into an answer.
//! The codes are a closed list: they appear alike in answers, access lines and the metric label `reason`.

use http::StatusCode;
use thiserror::Error;

use crate::upstream::connect::ConnectError;

/// One variant a cause.
#[derive(Debug, Error)]
pub enum ProxyError {
    /// The request's head contradicts itself or the protocol.
    #[error("{0}")]
    BadRequest(&'static str),
    /// `CONNECT` asks for a tunnel that nobody allowed.
    #[error("tunnels are not offered here")]
    ConnectMethod,
    /// Nothing in the file takes this request.
    #[error("no route takes this request")]
    NoRoute,
    /// The upstream has nobody to ask.
    #[error("the upstream has no endpoint")]
    NoEndpoint,
    /// No connection was to be had.
    #[error("the connection to the endpoint failed")]
    Connect(#[source] ConnectError),
    /// The connection broke before an answer's head had arrived.
    #[error("the endpoint closed the connection before answering")]
    UpstreamReset(#[source] hyper::Error),
    /// What the endpoint sent is not HTTP.
    #[error("the endpoint's answer is not valid HTTP")]
    UpstreamProtocol(#[source] hyper::Error),
    /// The endpoint switched protocols and nobody had asked it to.
    #[error("the endpoint switched protocols without being asked")]
    UnaskedUpgrade,
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
    /// The client broke off its body.
    #[error("the client broke off the request's body")]
    ClientBody,
    /// The client left before the answer was complete. Neither an error nor the endpoint's fault.
    #[error("the client left before the answer was complete")]
    ClientGone,
    /// A defect of the proxy.
    #[error("the proxy has a defect; this request met it")]
    Panic,
}

/// On which side the cause lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The client.
    Downstream,
    /// The endpoint, or the way to it.
    Upstream,
    /// The proxy or its configuration.
    Proxy,
}

impl Side {
    /// The word used in answers and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Downstream => "downstream",
            Self::Upstream => "upstream",
            Self::Proxy => "proxy",
        }
    }
}

/// Everything that follows from the variant alone.
struct Facts {
    code: &'static str,
    reason: &'static str,
    status: StatusCode,
    side: Side,
    phase: &'static str,
}

impl ProxyError {
    /// The code in the answer's body: upper case.
    pub fn code(&self) -> &'static str {
        self.facts().code
    }

    /// The same code for logs and metrics: lower case.
    pub fn reason(&self) -> &'static str {
        self.facts().reason
    }

    /// The status that the client sees.
    pub fn status(&self) -> StatusCode {
        self.facts().status
    }

    /// Whose side the cause lies on.
    pub fn side(&self) -> Side {
        self.facts().side
    }

    /// What the exchange was doing: `read_head`, `route`, `connect`, `wait`, `body` or `policy`.
    pub fn phase(&self) -> &'static str {
        self.facts().phase
    }

    fn facts(&self) -> Facts {
        use Side::{Downstream, Proxy, Upstream};
        let facts = |code, reason, status, side, phase| Facts {
            code,
            reason,
            status,
            side,
            phase,
        };
        match self {
            Self::BadRequest(_) => facts(
                "BAD_REQUEST",
                "bad_request",
                StatusCode::BAD_REQUEST,
                Downstream,
                "read_head",
            ),
            Self::ConnectMethod => facts(
                "METHOD_NOT_ALLOWED",
                "method_not_allowed",
                StatusCode::METHOD_NOT_ALLOWED,
                Downstream,
                "read_head",
            ),
            Self::NoRoute => facts(
                "NO_ROUTE",
                "no_route",
                StatusCode::NOT_FOUND,
                Proxy,
                "route",
            ),
            Self::NoEndpoint => facts(
                "NO_ENDPOINT",
                "no_endpoint",
                StatusCode::SERVICE_UNAVAILABLE,
                Upstream,
                "connect",
            ),
            Self::Connect(ConnectError::Timeout(_)) => facts(
                "CONNECT_TIMEOUT",
                "connect_timeout",
                StatusCode::GATEWAY_TIMEOUT,
                Upstream,
                "connect",
            ),
            Self::Connect(ConnectError::Io(_) | ConnectError::Handshake(_)) => facts(
                "CONNECT_FAILED",
                "connect_failed",
                StatusCode::BAD_GATEWAY,
                Upstream,
                "connect",
            ),
            Self::UpstreamReset(_) => facts(
                "UPSTREAM_RESET",
                "upstream_reset",
                StatusCode::BAD_GATEWAY,
                Upstream,
                "wait",
            ),
            Self::UpstreamProtocol(_) => facts(
                "UPSTREAM_PROTOCOL_ERROR",
                "upstream_protocol_error",
                StatusCode::BAD_GATEWAY,
                Upstream,
                "wait",
            ),
            Self::UnaskedUpgrade => facts(
                "UPSTREAM_PROTOCOL_ERROR",
                "upstream_protocol_error",
                StatusCode::BAD_GATEWAY,
                Upstream,
                "wait",
            ),
            Self::UpstreamBody(_) => facts(
                "UPSTREAM_BODY_RESET",
                "upstream_body_reset",
                StatusCode::BAD_GATEWAY,
                Upstream,
                "body",
            ),
            Self::UpstreamIdle => facts(
                "UPSTREAM_IDLE_TIMEOUT",
                "upstream_idle_timeout",
                StatusCode::GATEWAY_TIMEOUT,
                Upstream,
                "wait",
            ),
            Self::RequestTimeout => facts(
                "REQUEST_TIMEOUT",
                "request_timeout",
                StatusCode::GATEWAY_TIMEOUT,
                Upstream,
                "wait",
            ),
            Self::ClientIdle => facts(
                "CLIENT_IDLE_TIMEOUT",
                "client_idle_timeout",
                StatusCode::REQUEST_TIMEOUT,
                Downstream,
                "body",
            ),
            Self::ClientBody => facts(
                "CLIENT_BODY_ABORTED",
                "client_body_aborted",
                StatusCode::BAD_REQUEST,
                Downstream,
                "body",
            ),
            Self::ClientGone => facts(
                "CLIENT_GONE",
                "client_gone",
                StatusCode::BAD_REQUEST,
                Downstream,
                "body",
            ),
            Self::Panic => facts(
                "INTERNAL_ERROR",
                "internal_error",
                StatusCode::INTERNAL_SERVER_ERROR,
                Proxy,
                "policy",
            ),
        }
    }

    /// What lies below, as one line; empty when there is nothing.
    pub fn cause(&self) -> Option<String> {
        let mut source = std::error::Error::source(self)?;
        // The innermost error is the system's own word; what lies between repeats ours.
        while let Some(inner) = source.source() {
            source = inner;
        }
        Some(source.to_string())
    }
}
