//! The answer's body on its way to the client.
//!
//! Path: [`super::forward`] wraps the endpoint's body in it → the downstream connection polls it. It streams: a frame is
//! read when the client can take it. It holds the exchange and the endpoint's connection to the end; then the
//! connection returns to its pool, if the answer was complete, or is closed.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::task::unconstrained;
use tokio::time::{Instant, Sleep, sleep_until};

use super::error::ProxyError;
use super::exchange::Exchange;
use super::wait::{is_too_slow, past, with_look};
use super::{respond, verdict};
use crate::policy::deadline::Deadline;
use crate::policy::failure::{Failure, Verdict};
use crate::upstream::admission::Admission;
use crate::upstream::carrier::Carrier;
use crate::upstream::http2;
use crate::upstream::request_body::{Upload, UploadState};

/// What the client is sent.
#[derive(Debug)]
pub struct ProxyBody {
    content: Content,
    exchange: Option<Arc<Exchange>>,
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
#[allow(
    clippy::large_enum_variant,
    reason = "nearly every answer is an endpoint's, and a box for it would cost each of them an allocation"
)]
enum Content {
    Full(Option<Bytes>),
    Endpoint(EndpointBody),
}

impl ProxyBody {
    /// A body that the proxy made.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        Self {
            content: Content::Full(Some(bytes.into()).filter(|bytes| !bytes.is_empty())),
            exchange: None,
            on_break: OnBreak::Cut,
        }
    }

    /// The body of an endpoint's answer.
    pub fn endpoint(body: EndpointBody, on_break: OnBreak) -> Self {
        Self {
            content: Content::Endpoint(body),
            exchange: None,
            on_break,
        }
    }

    /// Lets the body hold `exchange` to its end.
    pub fn hold(&mut self, exchange: Arc<Exchange>) {
        self.exchange = Some(exchange);
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
        let frame = match &mut self.content {
            Content::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Content::Endpoint(body) => body.poll(cx),
        };
        match &frame {
            Poll::Ready(Some(Ok(frame))) => {
                if let (Some(data), Some(exchange)) = (frame.data_ref(), &self.exchange) {
                    exchange.sent(data.len());
                }
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
        if let Content::Endpoint(body) = &self.content
            && body.outcome() == End::Broken
        {
            self.fail(body.failure.as_ref().unwrap_or(&ProxyError::ClientGone));
        }
    }
}

/// An endpoint's connection on loan to one exchange.
#[derive(Debug)]
pub struct Lease {
    /// The connection.
    pub connection: Carrier,
    /// The place of the request at its endpoint, and what is to be said about it.
    pub admission: Admission,
    /// Whose part of the pool it belongs to.
    pub worker: usize,
}

impl Lease {
    /// Gives the connection back to the pool, or closes it when it cannot serve another request.
    pub(super) fn give_back(mut self) {
        let now = Instant::now();
        self.admission.complete(now.into_std());
        let (endpoint, upstream) = (self.admission.endpoint(), self.admission.upstream());
        self.connection.rest(endpoint, upstream, (self.worker, now));
    }

    /// Listens to what the answer says about its endpoint.
    fn hear(&mut self, frame: &Frame<Bytes>) {
        match frame.trailers_ref() {
            Some(trailers) => {
                let now = Instant::now().into_std();
                self.admission.trailers(trailers, now);
            }
            None => self.admission.message(|| Instant::now().into_std()),
        }
    }
}

/// The time limits of a body.
#[derive(Debug, Clone, Copy)]
pub struct BodyLimits {
    /// When the whole request has to be over.
    pub deadline: Deadline,
    /// How long the endpoint may be silent.
    pub idle: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Complete,
    Broken,
}

/// The body of an endpoint's answer.
#[derive(Debug)]
pub struct EndpointBody {
    incoming: Incoming,
    lease: Option<Lease>,
    limits: BodyLimits,
    /// The request's body, if it had one: it may still be on its way.
    upload: Option<Arc<Upload>>,
    uploaded: u64,
    ended: Option<End>,
    waiting_since: Option<Instant>,
    /// To be told with the next poll.
    failure: Option<ProxyError>,
    /// Made when the endpoint first lets us wait, which most answers never do.
    timer: Option<Pin<Box<Sleep>>>,
}

impl EndpointBody {
    /// Streams `incoming` from the connection on loan.
    pub fn new(
        incoming: Incoming,
        lease: Lease,
        limits: BodyLimits,
        upload: Option<Arc<Upload>>,
    ) -> Self {
        let is_stream = matches!(lease.connection, Carrier::Stream(_));
        let mut body = Self {
            incoming,
            lease: Some(lease),
            limits,
            upload,
            uploaded: 0,
            ended: None,
            waiting_since: None,
            timer: None,
            failure: None,
        };
        if is_stream && body.incoming.is_end_stream() {
            body.see_end();
        }
        body
    }

    /// Where nothing follows the head of an answer on a stream: whether that is its end, or the stream was reset.
    fn see_end(&mut self) {
        let mut cx = Context::from_waker(Waker::noop());
        match self.poll_incoming(&mut cx) {
            Poll::Ready(Some(Err(error))) => {
                self.ended = Some(End::Broken);
                self.failure = Some(ProxyError::UpstreamBody(error));
                self.say(Verdict::Failure(Failure::Reset));
            }
            Poll::Ready(None) => self.ended = Some(End::Complete),
            Poll::Ready(Some(Ok(_))) | Poll::Pending => {}
        }
    }

    /// A stream that was reset counts as ended for hyper, too: only a length that is used up, or the end itself, is one.
    fn is_end_stream(&self) -> bool {
        match self.lease.as_ref().map(|lease| &lease.connection) {
            Some(Carrier::Stream(_)) => match self.ended {
                Some(end) => end == End::Complete,
                None => self.incoming.size_hint().exact() == Some(0),
            },
            Some(Carrier::Connection(_)) | None => self.incoming.is_end_stream(),
        }
    }

    fn outcome(&self) -> End {
        match self.ended {
            Some(end) => end,
            None if self.incoming.is_end_stream() => End::Complete,
            None => End::Broken,
        }
    }

    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ProxyError>>> {
        if let Some(error) = self.failure.take() {
            return Poll::Ready(Some(Err(error)));
        }
        let error = match self.poll_incoming(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(error) = self.is_late() {
                    // The endpoint has sent, the client did not take it.
                    self.say(Verdict::Ignored);
                    return self.end_with(error, cx);
                }
                self.waiting_since = None;
                if let Some(lease) = &mut self.lease {
                    lease.hear(&frame);
                }
                // Trailers are the last frame; HTTP/2 does not ask for what comes after them.
                if frame.is_trailers() {
                    self.ended = Some(End::Complete);
                }
                return Poll::Ready(Some(Ok(frame)));
            }
            Poll::Ready(Some(Err(error))) => ProxyError::UpstreamBody(error),
            Poll::Ready(None) => {
                self.ended = Some(End::Complete);
                return Poll::Ready(None);
            }
            Poll::Pending => ready!(self.poll_timer(cx)),
        };
        self.end_with(error, cx)
    }

    fn end_with<T>(&mut self, error: ProxyError, cx: &Context<'_>) -> Poll<T> {
        // An error ends the client's connection at once, with all that is not written yet, be it the head. One poll
        // later, what came before has been written.
        self.ended = Some(End::Broken);
        let upload = self.upload.as_ref().map(|upload| upload.state());
        self.say(verdict::of(&error, upload));
        self.failure = Some(error);
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn say(&mut self, verdict: Verdict) {
        if let Some(lease) = &mut self.lease {
            let now = Instant::now().into_std();
            lease.admission.broke_off(verdict, now);
        }
    }

    /// Whether the time is up with more to come: a client that reads slowly never lets the timer be asked.
    fn is_late(&self) -> Option<ProxyError> {
        let (end, clock) = self.limits.deadline.end()?;
        let late = !self.incoming.is_end_stream() && end <= Instant::now().into_std();
        late.then(|| past(clock))
    }

    fn poll_incoming(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.lease {
            Some(lease) => lease.connection.poll_frame(&mut self.incoming, cx),
            None => Poll::Ready(None),
        }
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<ProxyError> {
        let limits = self.limits;
        loop {
            let waiting_since = *self.waiting_since.get_or_insert_with(Instant::now);
            let silent_until = waiting_since + limits.idle;
            let upload = self.upload.as_deref();
            let end = limits.deadline.end();
            let end = end.map(|(end, clock)| (Instant::from_std(end), clock));
            let next = end.map_or(silent_until, |(end, _)| end.min(silent_until));
            let timer = self.timer.get_or_insert_with(|| {
                Box::pin(sleep_until(with_look(next, upload, waiting_since)))
            });
            // See `attempt`: the clock goes on when the task's share of time is used up.
            if pin!(unconstrained(timer.as_mut())).poll(cx).is_pending() {
                return Poll::Pending;
            }
            let now = Instant::now();
            if let Some((_, clock)) = end.filter(|(end, _)| *end <= now) {
                return Poll::Ready(past(clock));
            }
            if is_too_slow(upload, now) {
                return Poll::Ready(ProxyError::ClientTooSlow);
            }
            if silent_until > now {
                timer.as_mut().reset(with_look(next, upload, now));
                continue;
            }
            let uploaded = upload.map_or(0, |upload| upload.bytes());
            if uploaded == self.uploaded {
                return Poll::Ready(match upload.map(|upload| upload.state()) {
                    Some(UploadState::AwaitingClient) => ProxyError::ClientIdle,
                    _ => ProxyError::UpstreamIdle,
                });
            }
            // The endpoint is not silent: it takes the request's body.
            self.uploaded = uploaded;
            self.waiting_since = Some(now);
        }
    }
}

impl Drop for EndpointBody {
    fn drop(&mut self) {
        if self.outcome() == End::Complete
            && let Some(lease) = self.lease.take()
        {
            lease.give_back();
        }
    }
}
