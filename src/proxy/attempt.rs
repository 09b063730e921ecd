//! One try at one endpoint: connection, request, head of the answer.
//!
//! Path: [`super::attempts`] calls [`attempt`] with a prepared request. A connection that turns out to be stale is
//! replaced by a fresh one here, without counting as a failure: see [`crate::policy::replay`].

use std::sync::Arc;
use std::time::Duration;

use http::{Response, StatusCode, response};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::attempts::Request;
use super::body::{EndpointBody, Lease};
use super::error::ProxyError;
use super::exchange::Exchange;
use super::seen::{Field, Seen};
use super::wait::{AttemptEnd, Reached, Wait, WaitFailure};
use super::{trace, verdict};
use crate::policy::deadline::Deadline;
use crate::policy::replay::{self, Replay, RequestContent};
use crate::policy::retry::{Ended, Replayable};
use crate::telemetry::metrics::AttemptResult;
use crate::telemetry::record::{AttemptRecord, Outcome};
use crate::telemetry::trace::ids::SpanId;
use crate::upstream::Upstream;
use crate::upstream::admission::Admission;
use crate::upstream::carrier::{Carrier, Speaks};
use crate::upstream::endpoint::Endpoint;

/// An answer that has begun.
pub struct Answer {
    /// Its head.
    pub head: response::Parts,
    /// Which fields it has.
    pub seen: Seen,
    /// Its body, with the connection on which it will come. Boxed, for an answer is handed on a dozen times.
    pub body: Box<EndpointBody>,
}

/// An attempt without an answer.
#[derive(Debug)]
pub struct Failed {
    /// What the client is told if there is no further attempt.
    pub error: ProxyError,
    /// What a further attempt depends on.
    pub ended: Ended,
    /// Who was asked.
    pub endpoint: Arc<Endpoint>,
    /// For how long.
    pub elapsed: Duration,
}

/// Where and by when.
pub struct Target<'a> {
    /// The request it belongs to.
    pub exchange: &'a Exchange,
    /// The place at the endpoint that was picked.
    pub admission: Admission,
    /// By when the request has to be answered.
    pub deadline: &'a Deadline,
    /// Limit of this attempt alone.
    pub per_try: Option<Duration>,
    /// What is spoken.
    pub speaks: Speaks,
}

/// The name of an attempt that met a stale connection, in the access line.
const STALE: &str = "stale_connection";

/// Sends `request` to an endpoint.
///
/// # Errors
///
/// Every way in which no answer's head arrives; see [`ProxyError`].
pub async fn attempt(target: Target<'_>, request: &mut Request<'_>) -> Result<Answer, Failed> {
    let exchange = target.exchange;
    let (upstream, endpoint) = (target.admission.upstream(), target.admission.endpoint());
    let carried = (exchange.engine.worker, target.speaks);
    let mut trace = AttemptTrace::start(exchange, endpoint, request);
    let end = AttemptEnd::new(target.deadline, trace.started, target.per_try);
    let mut pooled = Carrier::pooled(endpoint, upstream, carried, trace.started).await;
    let mut replayed = false;
    loop {
        let opened = match pooled.take() {
            Some(connection) => Ok(connection),
            None => trace.connect(upstream, carried, end).await,
        };
        let mut connection = match opened {
            Ok(connection) => connection,
            Err(failed) => {
                drop(trace);
                return Err(target.failed(failed));
            }
        };
        let wait = Wait {
            exchange,
            since: trace.started,
            idle: upstream.idle_timeout,
            end,
        };
        let failure = match wait.for_answer(&mut connection, || request.copy()).await {
            Ok(response) => {
                let elapsed = trace.answered(response.status());
                let at = trace.started + elapsed;
                drop(trace);
                return Ok(target.answered(response, connection, (elapsed, at)));
            }
            Err(failure) => failure,
        };
        // Once: others may have served on the next connection of HTTP/2, too. What follows is for the retry policy.
        let again = !replayed;
        let stale = again && connection.may_be_stale();
        // With it goes what it held of the request's body.
        drop(connection);
        match failure {
            WaitFailure::Unsent(_) if stale => {}
            WaitFailure::Refused(_) if again && content(exchange) != RequestContent::Gone => {
                pooled = Carrier::pooled(endpoint, upstream, carried, Instant::now()).await;
            }
            failure => {
                let (error, sent) = failure.into_error(exchange);
                let broken = matches!(error, ProxyError::UpstreamReset(_));
                if !(stale && broken && may_replay(exchange, request)) {
                    let failed = trace.fail(error, sent);
                    drop(trace);
                    return Err(target.failed(failed));
                }
            }
        }
        replayed = true;
        trace.stale();
        trace = AttemptTrace::start(exchange, endpoint, request);
    }
}

impl Target<'_> {
    /// The answer that took so long and came at that time.
    fn answered(
        self,
        response: Response<Incoming>,
        mut connection: Carrier,
        (elapsed, at): (Duration, Instant),
    ) -> Answer {
        let (head, incoming) = response.into_parts();
        let seen = Seen::of(&head.headers);
        if seen.has(Field::KeepAlive) {
            connection.learn_keep_alive(&head.headers);
        }
        let mut admission = self.admission;
        admission.answered((head.status, &head.headers), elapsed, at.into_std());
        let lease = Lease {
            connection,
            admission,
            worker: self.exchange.engine.worker,
        };
        let body = Box::new(EndpointBody::new(incoming, lease));
        Answer { head, seen, body }
    }

    fn failed(mut self, failed: Failed) -> Failed {
        let now = Instant::now().into_std();
        let upload = self.exchange.upload().map(|upload| upload.state());
        let verdict = verdict::of(&failed.error, upload);
        self.admission.report(verdict, failed.elapsed, now);
        failed
    }
}

/// Whether a request that may have arrived on a stale connection can be sent once more.
fn may_replay(exchange: &Exchange, request: &Request<'_>) -> bool {
    replay::classify(&request.head.method, content(exchange)) == Replay::Safe
}

fn content(exchange: &Exchange) -> RequestContent {
    match exchange.upload().map(|upload| upload.replayable()) {
        None => RequestContent::Empty,
        Some(Replayable::Yes) => RequestContent::Kept,
        Some(_) => RequestContent::Gone,
    }
}

/// What is told about an attempt; when nothing was said by the time it is dropped, the client had gone.
struct AttemptTrace<'a> {
    exchange: &'a Exchange,
    endpoint: &'a Arc<Endpoint>,
    started: Instant,
    connect: Option<Duration>,
    tls: Option<Duration>,
    span: Option<SpanId>,
    told: bool,
}

impl<'a> AttemptTrace<'a> {
    fn start(
        exchange: &'a Exchange,
        endpoint: &'a Arc<Endpoint>,
        request: &mut Request<'_>,
    ) -> Self {
        // The first attempt begins with the request, as near as matters, unless it had to wait before.
        let first =
            exchange.note(|record| record.attempts.last().is_none() && record.queued.is_zero());
        let started = if first {
            exchange.started
        } else {
            Instant::now()
        };
        Self {
            exchange,
            endpoint,
            started,
            connect: None,
            tls: None,
            span: trace::tell_attempt(exchange, &mut request.head.headers),
            told: false,
        }
    }

    async fn connect(
        &mut self,
        upstream: &Upstream,
        carried: (usize, Speaks),
        end: AttemptEnd,
    ) -> Result<Carrier, Failed> {
        let begun = Instant::now();
        let left = end.left(begun);
        let connected = Carrier::open(self.endpoint, upstream, carried, left).await;
        self.tls = (connected.as_ref().ok()).and_then(Carrier::handshake_time);
        self.connect = Some(begun.elapsed().saturating_sub(self.tls.unwrap_or_default()));
        connected.map_err(|error| {
            let passed = error
                .is_timeout()
                .then(|| end.passed(Instant::now()))
                .flatten();
            self.fail(
                passed.unwrap_or(ProxyError::not_connected(upstream, error)),
                Reached::No,
            )
        })
    }

    fn stale(&mut self) {
        self.endpoint.metrics.stale_replays.inc();
        self.end(AttemptResult::Reset, Outcome::Failed(STALE));
    }

    fn fail(&mut self, error: ProxyError, sent: Reached) -> Failed {
        let result = match error {
            ProxyError::Connect(_) => AttemptResult::ConnectFailed,
            ProxyError::UpstreamIdle
            | ProxyError::RequestTimeout
            | ProxyError::AttemptTimeout
            | ProxyError::DeadlineExceeded => AttemptResult::Timeout,
            ProxyError::ClientIdle
            | ProxyError::ClientTooSlow
            | ProxyError::ClientBody
            | ProxyError::BodyTooLarge
            | ProxyError::ClientGone => AttemptResult::Cancelled,
            _ => AttemptResult::Reset,
        };
        self.end(result, Outcome::Failed(error.reason().as_str()));
        let ended = match error {
            ProxyError::Connect(_) => Ended::ConnectFailure,
            ProxyError::AttemptTimeout | ProxyError::UpstreamIdle => Ended::AttemptTimeout,
            ProxyError::UpstreamReset(_)
            | ProxyError::UpstreamProtocol(_)
            | ProxyError::UpstreamHeadTooLarge => match sent {
                Reached::No => Ended::Refused,
                Reached::Perhaps => Ended::Reset,
            },
            _ => Ended::Final,
        };
        Failed {
            error,
            ended,
            endpoint: Arc::clone(self.endpoint),
            elapsed: self.started.elapsed(),
        }
    }

    /// The time that it took.
    fn answered(&mut self, status: StatusCode) -> Duration {
        self.end(AttemptResult::Response, Outcome::Status(status))
    }

    fn end(&mut self, result: AttemptResult, outcome: Outcome) -> Duration {
        self.told = true;
        let elapsed = self.started.elapsed();
        let answer = match outcome {
            Outcome::Status(status) => Some(status),
            Outcome::Failed(_) => None,
        };
        self.endpoint.metrics.attempt(result);
        self.endpoint.metrics.took(answer, elapsed);
        let started = self
            .started
            .saturating_duration_since(self.exchange.started);
        let attempt = AttemptRecord {
            endpoint: Arc::clone(&self.endpoint.label),
            outcome,
            elapsed,
            connect: self.connect,
            tls: self.tls,
            started,
            span: self.span,
        };
        self.exchange.note(|record| {
            record.attempts.push(attempt);
            if matches!(outcome, Outcome::Status(_)) {
                record.first_byte = Some(started + elapsed);
            }
        });
        elapsed
    }
}

impl Drop for AttemptTrace<'_> {
    fn drop(&mut self) {
        if !self.told {
            self.end(
                AttemptResult::Cancelled,
                Outcome::Failed(ProxyError::ClientGone.reason().as_str()),
            );
        }
    }
}
