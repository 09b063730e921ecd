//! The answer's body on its way to the client.
//!
//! Path: [`super::forward`] wraps the endpoint's body in it → the downstream connection polls it. It streams: a frame is
//! read when the client can take it. It holds the exchange and the endpoint's connection to the end; then the
//! connection returns to its pool, if the answer was complete, or is closed.

mod endpoint;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

pub use endpoint::{EndpointBody, Lease};

use super::error::ProxyError;
use super::exchange::Exchange;
use super::respond;
use crate::upstream::http2;
use endpoint::End;

/// What the client is sent.
#[derive(Debug)]
pub struct ProxyBody {
    content: Content,
    exchange: Option<Arc<Exchange>>,
    /// Whether it is the client's turn: there is something to take, or nobody has asked yet.
    awaits_client: bool,
    on_break: OnBreak,
}

/// What a client is told when the answer breaks off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnBreak {
    /// Nothing: its stream is reset, its connection closed.
    Cut,
    /// How the gRPC call ended, in trailers; it is told from a complete answer by its `grpc-status`.
    Trailers,
}

#[derive(Debug)]
enum Content {
    Full(Option<Bytes>),
    Endpoint(Box<EndpointBody>),
}

impl ProxyBody {
    /// A body that the proxy made.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        Self {
            content: Content::Full(Some(bytes.into()).filter(|bytes| !bytes.is_empty())),
            exchange: None,
            awaits_client: false,
            on_break: OnBreak::Cut,
        }
    }

    /// The body of an endpoint's answer.
    pub fn endpoint(body: Box<EndpointBody>, on_break: OnBreak) -> Self {
        Self {
            content: Content::Endpoint(body),
            exchange: None,
            awaits_client: false,
            on_break,
        }
    }

    /// Lets the body hold `exchange` to its end.
    pub fn hold(&mut self, exchange: Arc<Exchange>) {
        self.exchange = Some(exchange);
        let begun = !self.is_end_stream();
        self.turn(begun);
    }

    /// Notes whose turn it is.
    fn turn(&mut self, awaits_client: bool) {
        if self.awaits_client != awaits_client
            && let Some(exchange) = &self.exchange
        {
            let observer = &exchange.connection.observer;
            if awaits_client {
                observer.answer_offered();
            } else {
                observer.answer_taken();
            }
            self.awaits_client = awaits_client;
        }
    }

    fn fail(&self, error: &ProxyError) {
        if let Some(exchange) = &self.exchange {
            exchange.fail(error);
        }
    }

    /// The last frame after `error`, if there is to be one.
    fn last_words(&mut self, error: &ProxyError) -> Option<Frame<Bytes>> {
        let exchange = self.exchange.as_ref();
        let exchange = exchange.filter(|_| self.on_break == OnBreak::Trailers)?;
        // Its code reaches the client with the reset, as if nobody stood between.
        if let ProxyError::UpstreamBody(error) = error
            && http2::reason(error).is_some_and(|it| it.is_remote() && it.is_reset())
        {
            return None;
        }
        let trailers = respond::last_words(exchange, error);
        self.content = Content::Full(None);
        Some(Frame::trailers(trailers))
    }
}

impl Body for ProxyBody {
    type Data = Bytes;
    type Error = ProxyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ProxyError>>> {
        self.turn(false);
        let frame = match &mut self.content {
            Content::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Content::Endpoint(body) => body.poll(cx),
        };
        match &frame {
            Poll::Ready(Some(Ok(frame))) => {
                if let (Some(data), Some(exchange)) = (frame.data_ref(), &self.exchange) {
                    exchange.sent(data.len());
                }
                self.turn(true);
            }
            Poll::Ready(Some(Err(error))) => {
                self.fail(error);
                if let Some(frame) = self.last_words(error) {
                    return Poll::Ready(Some(Ok(frame)));
                }
            }
            Poll::Ready(None) | Poll::Pending => {}
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Full(bytes) => bytes.is_none(),
            Content::Endpoint(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Full(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Content::Endpoint(body) if body.failure.is_some() => SizeHint::default(),
            Content::Endpoint(body) => body.incoming.size_hint(),
        }
    }
}

impl Drop for ProxyBody {
    fn drop(&mut self) {
        self.turn(false);
        if let Content::Endpoint(body) = &self.content
            && body.outcome() == End::Broken
        {
            self.fail(body.failure.as_ref().unwrap_or(&ProxyError::ClientGone));
        }
    }
}
