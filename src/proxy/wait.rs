//! The wait for an answer's head, and what may end it.
//!
//! Path: [`super::attempt`]. Every end by time says which clock it was.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use tokio::task::unconstrained;
use tokio::time::{Instant, Sleep, sleep_until};

use super::LOOK_AGAIN;
use super::error::ProxyError;
use super::exchange::Exchange;
use crate::policy::deadline::{Clock, Deadline};
use crate::upstream::carrier::Carrier;
use crate::upstream::connect::ConnectError;
use crate::upstream::connection::SendFailure;
use crate::upstream::http2;
use crate::upstream::request_body::{RequestBody, Upload, UploadState};

/// By when an attempt must have its answer's head.
#[derive(Debug, Clone, Copy)]
pub struct AttemptEnd {
    at: Option<(Instant, Ends)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ends {
    Request(Clock),
    Attempt,
}

impl AttemptEnd {
    /// The earlier one of the request's deadline and the attempt's own limit, counted from `started`.
    pub fn new(deadline: &Deadline, started: Instant, per_try: Option<Duration>) -> Self {
        let request = deadline
            .end()
            .map(|(end, clock)| (Instant::from_std(end), Ends::Request(clock)));
        let own = per_try.map(|limit| (started + limit, Ends::Attempt));
        let at = match (request, own) {
            (Some(request), Some(own)) => Some(if own.0 < request.0 { own } else { request }),
            (request, own) => request.or(own),
        };
        Self { at }
    }

    /// Time left at `now`.
    pub fn left(&self, now: Instant) -> Option<Duration> {
        self.at.map(|(at, _)| at.saturating_duration_since(now))
    }

    /// The error of whoever's time is up at `now`.
    pub fn passed(&self, now: Instant) -> Option<ProxyError> {
        let (_, ends) = self.at.filter(|(at, _)| *at <= now)?;
        Some(match ends {
            Ends::Request(clock) => past(clock),
            Ends::Attempt => ProxyError::AttemptTimeout,
        })
    }
}

/// The error of a request whose time is up.
pub fn past(clock: Clock) -> ProxyError {
    match clock {
        Clock::Total => ProxyError::RequestTimeout,
        Clock::Client => ProxyError::DeadlineExceeded,
    }
}

/// `next`, or sooner if by then somebody has to look how fast the client sends its body.
pub fn with_look(next: Instant, upload: Option<&Upload>, now: Instant) -> Instant {
    let left = upload.and_then(|upload| upload.patience(now.into_std()));
    let look = left.and_then(|left| now.checked_add(left));
    look.map_or(next, |look| look.min(next))
}

/// Whether the client sends its body more slowly than it may.
pub fn is_too_slow(upload: Option<&Upload>, now: Instant) -> bool {
    upload.and_then(|upload| upload.patience(now.into_std())) == Some(Duration::ZERO)
}

/// The limits of a wait for an answer's head.
pub struct Wait<'a> {
    /// The request.
    pub exchange: &'a Exchange,
    /// Since when the endpoint owes something.
    pub since: Instant,
    /// How long it may be silent.
    pub idle: Duration,
    /// By when it must have answered.
    pub end: AttemptEnd,
}

/// Why there is no head.
pub enum WaitFailure {
    /// Not a byte was sent.
    Unsent(hyper::Error),
    /// The endpoint promises that it has done nothing about it.
    Refused(hyper::Error),
    /// The connection broke.
    Broken(hyper::Error),
    /// A clock.
    Timer(ProxyError),
}

impl Wait<'_> {
    /// Sends what `request` makes on `connection` and waits for the head of its answer.
    pub async fn for_answer(
        &self,
        connection: &mut Carrier,
        request: impl FnOnce() -> Request<RequestBody>,
    ) -> Result<Response<Incoming>, WaitFailure> {
        let mut silent_since = self.since;
        let mut taken = self.uploaded();
        let mut sending = pin!(connection.send(request));
        let mut timer: Option<Pin<Box<Sleep>>> = None;
        let mut looked_after = false;
        poll_fn(|cx| {
            if let Poll::Ready(answer) = sending.as_mut().poll(cx) {
                return Poll::Ready(answer.map_err(WaitFailure::from));
            }
            loop {
                let timer = match &mut timer {
                    Some(timer) => timer,
                    timer => {
                        let next = self.next(silent_since, self.since);
                        if !looked_after && self.is_looked_after_until(next) {
                            looked_after = true;
                            return Poll::Pending;
                        }
                        timer.insert(Box::pin(sleep_until(next)))
                    }
                };
                // An endpoint that never lets us wait uses up the task's share of time, which must not stop the clock.
                ready!(pin!(unconstrained(timer.as_mut())).poll(cx));
                let now = Instant::now();
                if self.uploaded() > taken {
                    taken = self.uploaded();
                    silent_since = now;
                }
                if let Some(error) = self.overdue(silent_since, now) {
                    return Poll::Ready(Err(WaitFailure::Timer(error)));
                }
                timer.as_mut().reset(self.next(silent_since, now));
            }
        })
        .await
    }

    /// Whether somebody polls again, unasked, in time to set a timer for `next`. So most answers come without one.
    fn is_looked_after_until(&self, next: Instant) -> bool {
        next.saturating_duration_since(self.since) > LOOK_AGAIN * 2
            && self.exchange.connection.observer.looks_again()
    }

    fn uploaded(&self) -> u64 {
        self.exchange.upload().map_or(0, |upload| upload.bytes())
    }

    fn next(&self, silent_since: Instant, now: Instant) -> Instant {
        let silent_until = silent_since + self.idle;
        let next = self
            .end
            .at
            .map_or(silent_until, |(end, _)| end.min(silent_until));
        with_look(next, self.exchange.upload().map(Arc::as_ref), now)
    }

    fn overdue(&self, silent_since: Instant, now: Instant) -> Option<ProxyError> {
        if let Some(error) = self.end.passed(now) {
            return Some(error);
        }
        if is_too_slow(self.exchange.upload().map(Arc::as_ref), now) {
            return Some(ProxyError::ClientTooSlow);
        }
        if silent_since + self.idle > now {
            return None;
        }
        match self.exchange.upload().map(|upload| upload.state()) {
            Some(UploadState::AwaitingClient) => Some(ProxyError::ClientIdle),
            _ => Some(ProxyError::UpstreamIdle),
        }
    }
}

impl From<SendFailure> for WaitFailure {
    fn from(failure: SendFailure) -> Self {
        match failure {
            SendFailure::Unsent(error) => Self::Unsent(error),
            SendFailure::Refused(error) => Self::Refused(error),
            SendFailure::Broken(error) => Self::Broken(error),
        }
    }
}

impl WaitFailure {
    /// As an error of the exchange, and whether certainly nothing was sent.
    pub fn into_error(self, exchange: &Exchange) -> (ProxyError, Reached) {
        let (error, sent) = match self {
            Self::Timer(error) => return (error, Reached::Perhaps),
            Self::Unsent(error) | Self::Refused(error) => (error, Reached::No),
            Self::Broken(error) => (error, Reached::Perhaps),
        };
        let upload = exchange.upload();
        let error = if upload.is_some_and(|upload| upload.is_too_large()) {
            ProxyError::BodyTooLarge
        } else if upload.is_some_and(|upload| upload.state() == UploadState::Failed) {
            ProxyError::ClientBody
        } else if let Some(refused) = ConnectError::refused(&error) {
            return (ProxyError::Connect(refused), Reached::No);
        } else if error.is_parse_too_large() {
            ProxyError::UpstreamHeadTooLarge
        } else if error.is_parse() || http2::is_protocol_error(&error) {
            ProxyError::UpstreamProtocol(error)
        } else {
            ProxyError::UpstreamReset(error)
        };
        (error, sent)
    }
}

/// Whether something of a request may have reached the app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reached {
    /// Not a byte, or nothing was done about it.
    No,
    /// Nobody knows.
    Perhaps,
}
