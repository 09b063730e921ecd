//! The body of an endpoint's answer, and the connection that it comes on.
//!
//! Path: [`super::ProxyBody`] polls it; complete, it gives the connection back and says so; dropped before, it closes the
//! connection.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame};
use hyper::body::Incoming;
use tokio::task::unconstrained;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::policy::deadline::Deadline;
use crate::policy::failure::{Failure, Verdict};
use crate::proxy::error::ProxyError;
use crate::proxy::verdict;
use crate::proxy::wait::{is_too_slow, past, with_look};
use crate::upstream::admission::Admission;
use crate::upstream::carrier::Carrier;
use crate::upstream::endpoint::Endpoint;
use crate::upstream::request_body::{Upload, UploadState};

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
    pub fn give_back(mut self) {
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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Complete,
    Broken,
}

/// The body of an endpoint's answer.
#[derive(Debug)]
pub struct EndpointBody {
    pub(super) incoming: Incoming,
    lease: Option<Lease>,
    /// When the whole request has to be over.
    deadline: Deadline,
    /// How long the endpoint may be silent.
    idle: Duration,
    /// The request's body, if it had one: it may still be on its way.
    upload: Option<Arc<Upload>>,
    uploaded: u64,
    ended: Option<End>,
    waiting_since: Option<Instant>,
    /// To be told with the next poll.
    pub(super) failure: Option<ProxyError>,
    /// Made when the endpoint first lets us wait, which most answers never do.
    timer: Option<Pin<Box<Sleep>>>,
}

impl EndpointBody {
    /// `incoming`, from the connection on loan. It [begins](Self::begin) once it is known what becomes of it.
    pub fn new(incoming: Incoming, lease: Lease) -> Self {
        Self {
            incoming,
            idle: lease.admission.upstream().idle_timeout,
            lease: Some(lease),
            deadline: Deadline::default(),
            upload: None,
            uploaded: 0,
            ended: None,
            waiting_since: None,
            timer: None,
            failure: None,
        }
    }

    /// From now on it is streamed, until `deadline` at most; the request's body may still be on its way.
    pub fn begin(&mut self, deadline: Deadline, upload: Option<Arc<Upload>>) {
        self.deadline = deadline;
        self.upload = upload;
        if self.incoming.is_end_stream() && self.is_on_stream() {
            self.see_end();
        }
    }

    /// Where it comes from, until it has come to its end.
    pub fn endpoint(&self) -> Option<&Arc<Endpoint>> {
        (self.lease.as_ref()).map(|lease| lease.admission.endpoint())
    }

    /// Lets the connection drive itself; see [`Carrier::detach`].
    pub fn detach(&mut self) {
        if let Some(lease) = &mut self.lease {
            lease.connection.detach();
        }
    }

    /// Whether its length was told.
    pub fn has_length(&self) -> bool {
        self.incoming.size_hint().exact().is_some()
    }

    /// The connection, if something else than a body is to come on it.
    pub fn into_lease(mut self) -> Option<Lease> {
        self.lease.take()
    }

    fn is_on_stream(&self) -> bool {
        let connection = self.lease.as_ref().map(|lease| &lease.connection);
        matches!(connection, Some(Carrier::Stream(_)))
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
    pub(super) fn is_end_stream(&self) -> bool {
        match self.lease.as_ref().map(|lease| &lease.connection) {
            Some(Carrier::Stream(_)) => match self.ended {
                Some(end) => end == End::Complete,
                None => self.incoming.size_hint().exact() == Some(0),
            },
            Some(Carrier::Connection(_)) | None => self.incoming.is_end_stream(),
        }
    }

    pub(super) fn outcome(&self) -> End {
        match self.ended {
            Some(end) => end,
            None if self.incoming.is_end_stream() => End::Complete,
            None => End::Broken,
        }
    }

    /// The next part of the answer; an error is the last.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ProxyError>>> {
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
            Poll::Ready(Some(Err(error))) => match &self.upload {
                Some(upload) if upload.is_too_large() => ProxyError::BodyTooLarge,
                _ => ProxyError::UpstreamBody(error),
            },
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

    /// Says how the answer speaks for its endpoint, unless that has been said.
    pub(in crate::proxy) fn say(&mut self, verdict: Verdict) {
        if let Some(lease) = &mut self.lease {
            let now = Instant::now().into_std();
            lease.admission.broke_off(verdict, now);
        }
    }

    /// Whether the time is up with more to come: a client that reads slowly never lets the timer be asked.
    fn is_late(&self) -> Option<ProxyError> {
        let (end, clock) = self.deadline.end()?;
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
        loop {
            let waiting_since = *self.waiting_since.get_or_insert_with(Instant::now);
            let silent_until = waiting_since + self.idle;
            let upload = self.upload.as_deref();
            let end = self.deadline.end();
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
