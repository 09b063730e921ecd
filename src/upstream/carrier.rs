//! What carries one request to an endpoint: a connection of HTTP/1.1 to itself, or a stream of HTTP/2.
//!
//! Path: `proxy::attempt` takes one, sends on it, and reads the answer from it; the end of the answer's body lets it rest.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use hyper::body::Incoming;
use tokio::time::Instant;

use super::Upstream;
use super::connect::{ConnectError, Opening};
use super::connection::{Connection, SendFailure};
use super::endpoint::Endpoint;
use super::http2::{self, Stream};
use super::request_body::RequestBody;

/// One of both.
#[derive(Debug)]
pub enum Carrier {
    /// HTTP/1.1.
    Connection(Box<Connection>),
    /// HTTP/2.
    Stream(Stream),
}

/// The protocol of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

/// How long a connection must have been idle before it is asked whether its peer is still there. What is closed sooner
/// is found by sending: then not a byte has left.
const UNASKED: Duration = Duration::from_millis(2);

impl Carrier {
    /// One that is open, whose peer is still there.
    pub async fn pooled(
        endpoint: &Endpoint,
        upstream: &Upstream,
        (worker, speaks): (usize, Speaks),
        now: Instant,
    ) -> Option<Self> {
        if speaks == Speaks::Http2 {
            let streams = endpoint.pool.streams(worker)?;
            let stream = streams.ready(&upstream.pool, now)?;
            if stream.is_reused() {
                endpoint.metrics.reused.inc();
            }
            return Some(Self::Stream(stream));
        }
        while let Some(mut connection) = endpoint.pool.take(worker, now, &upstream.pool) {
            let idle = now.saturating_duration_since(connection.idle_since());
            if idle < UNASKED || connection.is_usable().await {
                endpoint.metrics.reused.inc();
                return Some(Self::Connection(connection));
            }
        }
        None
    }

    /// A fresh one, of a request that has `left`; with HTTP/2 it may be on a connection that somebody else has opened meanwhile.
    ///
    /// # Errors
    ///
    /// See [`ConnectError`].
    pub async fn open(
        endpoint: &Arc<Endpoint>,
        upstream: &Upstream,
        (worker, speaks): (usize, Speaks),
        left: Option<Duration>,
    ) -> Result<Self, ConnectError> {
        let opening = Opening::to(upstream, left);
        match speaks {
            // Boxed: to open a connection is rare, and would be part of every request's future.
            Speaks::Http1 => (Box::pin(opening.http1(endpoint)).await).map(Self::Connection),
            Speaks::Http2 => {
                let streams = endpoint.pool.streams(worker).ok_or(ConnectError::Full)?;
                let stream = Box::pin(streams.take(endpoint, opening)).await?;
                Ok(Self::Stream(stream))
            }
        }
    }

    /// Sends what `request` makes and waits for the head of its answer. Dropping the future gives up the request; the carrier must be
    /// dropped, too.
    ///
    /// # Errors
    ///
    /// See [`SendFailure`].
    pub async fn send(
        &mut self,
        request: impl FnOnce() -> Request<RequestBody>,
    ) -> Result<Response<Incoming>, SendFailure> {
        match self {
            Self::Connection(connection) => connection.send(request).await,
            Self::Stream(stream) => stream.send(request).await,
        }
    }

    /// Whether it, or the connection below, has served a request before.
    pub fn is_reused(&self) -> bool {
        match self {
            Self::Connection(connection) => connection.is_reused(),
            Self::Stream(stream) => stream.is_reused(),
        }
    }

    /// How long the TLS handshake took, if it was for this request.
    pub fn handshake_time(&self) -> Option<Duration> {
        match self {
            Self::Connection(connection) => connection.handshake_time(),
            Self::Stream(stream) => stream.handshake_time(),
        }
    }

    /// Whether a request that failed on it may have met a connection that its peer had just closed.
    pub fn may_be_stale(&self) -> bool {
        match self {
            Self::Connection(connection) => connection.is_reused(),
            Self::Stream(stream) => stream.may_be_stale(),
        }
    }

    /// See [`Connection::learn_keep_alive`]; HTTP/2 has no such field.
    pub fn learn_keep_alive(&mut self, headers: &HeaderMap) {
        if let Self::Connection(connection) = self {
            connection.learn_keep_alive(headers);
        }
    }

    /// See [`Connection::detach`]; the body of a stream has a task anyway.
    pub fn detach(&mut self) {
        if let Self::Connection(connection) = self {
            connection.detach();
        }
    }

    /// The next frame of the answer's body.
    pub fn poll_frame(
        &mut self,
        incoming: &mut Incoming,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self {
            Self::Connection(connection) => connection.poll_frame(incoming, cx),
            Self::Stream(_) => http2::poll_frame(incoming, cx),
        }
    }

    /// Notes the end of an exchange at `now`: a connection returns to the pool, or is closed if it cannot serve another; a
    /// stream gives its place away.
    pub fn rest(self, endpoint: &Endpoint, upstream: &Upstream, (worker, now): (usize, Instant)) {
        if let Self::Connection(mut connection) = self
            && connection.rest(now)
        {
            endpoint.pool.put(worker, connection, &upstream.pool);
        }
    }
}
