//! The attempts of a request, one after the other, until an outcome stands.
//!
//! Path: [`super::forward`] hands a prepared request over → pick an endpoint → [`super::attempt`] →
//! [`crate::policy::retry`] decides → wait → again, at another endpoint. What must see each other (endpoints tried, what
//! is left of the time, the body, the budget) stands here together.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::request::Parts;
use tokio::time::{Instant, sleep};

use super::admit::endpoints::place;
use super::attempt::{Answer, Failed, Target, attempt};
use super::body::EndpointBody;
use super::deadline;
use super::error::ProxyError;
use super::exchange::Exchange;
use super::seen::Field;
use super::wait::past;
use crate::policy::deadline::Deadline;
use crate::policy::retry::{self, Decision, Ended, Replayable, RetryPolicy, Situation};
use crate::upstream::Upstream;
use crate::upstream::carrier::Speaks;
use crate::upstream::endpoint::Endpoint;
use crate::upstream::request_body::RequestBody;

/// The request to send, as often as it has to be sent.
#[derive(Debug)]
pub struct Request<'a> {
    /// As the app is to see it; every try sends a copy.
    pub head: &'a mut Parts,
    exchange: &'a Exchange,
}

impl<'a> Request<'a> {
    /// For `exchange`, whose upload is the body, if it has one.
    pub fn new(exchange: &'a Exchange, head: &'a mut Parts) -> Self {
        Self { head, exchange }
    }

    /// A copy for the next try.
    pub fn copy(&self) -> http::Request<RequestBody> {
        let upload = self.exchange.upload();
        let body = upload.map_or_else(RequestBody::empty, |upload| upload.body());
        http::Request::from_parts(self.head.clone(), body)
    }

    fn is_idempotent(&self) -> bool {
        retry::is_idempotent(&self.head.method, &self.head.headers)
    }
}

/// What the route says about attempts.
#[derive(Debug)]
pub struct Plan<'a> {
    /// Where to.
    pub upstream: &'a Arc<Upstream>,
    /// Whether to try again.
    pub retry: &'a RetryPolicy,
    /// Limit of one attempt.
    pub per_try: Option<Duration>,
    /// Limit of all.
    pub deadline: Deadline,
    /// What is spoken with the endpoint.
    pub speaks: Speaks,
}

/// Makes attempts until one has an answer that stands, or none may follow.
///
/// # Errors
///
/// The last attempt's; see [`ProxyError`].
pub async fn send(plan: &Plan<'_>, mut request: Request<'_>) -> Result<Answer, ProxyError> {
    let exchange = request.exchange;
    let mut attempts = Attempts {
        exchange,
        plan,
        tried: Vec::new(),
        made: 0,
        previous: Duration::ZERO,
    };
    attempts.begin();
    loop {
        let outcome = attempts.next(&mut request).await?;
        let wait = match attempts.decide(&outcome, &request) {
            Decision::Retry(wait) => wait,
            Decision::Stands(why) => return attempts.settle(outcome, why),
        };
        match outcome {
            Ok(answer) => {
                attempts.tried.extend(answer.body.endpoint().cloned());
                discard(answer.body).await;
            }
            Err(failed) => attempts.tried.push(failed.endpoint),
        }
        attempts.wait(wait).await;
    }
}

struct Attempts<'a> {
    exchange: &'a Exchange,
    plan: &'a Plan<'a>,
    /// Endpoints that were asked before. Nearly always none, which takes no memory.
    tried: Vec<Arc<Endpoint>>,
    made: u32,
    previous: Duration,
}

impl Attempts<'_> {
    fn begin(&self) {
        if let Some(budget) = &self.plan.upstream.retry_budget {
            budget.deposit(self.exchange.started.into_std());
        }
    }

    /// The next attempt. An error is one that no attempt was made for.
    async fn next(
        &mut self,
        request: &mut Request<'_>,
    ) -> Result<Result<Answer, Failed>, ProxyError> {
        let Plan {
            upstream, deadline, ..
        } = self.plan;
        let now = if self.made == 0 {
            self.exchange.started
        } else {
            Instant::now()
        };
        if let Some((end, clock)) = deadline.end()
            && end <= now.into_std()
        {
            return Err(past(clock));
        }
        let end = deadline.end().map(|(end, _)| Instant::from_std(end));
        let admission = place(self.exchange, upstream, &self.tried, now, end).await?;
        deadline::tell(self.exchange, deadline, &mut request.head.headers, now);
        self.made += 1;
        let target = Target {
            exchange: self.exchange,
            admission,
            deadline,
            per_try: self.plan.per_try,
            speaks: self.plan.speaks,
        };
        Ok(attempt(target, request).await)
    }

    fn decide(&self, outcome: &Result<Answer, Failed>, request: &Request<'_>) -> Decision {
        let ended = match outcome {
            Ok(answer) if answer.head.status.is_success() && !is_grpc_failure(answer) => {
                return Decision::Stands(None);
            }
            Ok(answer) => Ended::Answer {
                status: answer.head.status,
                grpc: retry::grpc_status(&answer.head.headers),
                hint: retry::hint(&answer.head.headers),
            },
            Err(failed) => failed.ended,
        };
        let now = Instant::now().into_std();
        let situation = Situation {
            ended,
            made: self.made,
            idempotent: request.is_idempotent(),
            body: self
                .exchange
                .upload()
                .map_or(Replayable::Yes, |upload| upload.replayable()),
            open: self.plan.upstream.open_circuit(now).is_some(),
            left: self.plan.deadline.left(now),
            previous: self.previous,
            random: fastrand::u64(..),
        };
        let budget = self.plan.upstream.retry_budget.as_ref();
        self.plan.retry.decide(&situation, || {
            budget.is_none_or(|budget| budget.withdraw(now))
        })
    }

    /// The outcome that stands; `why` nothing followed is noted.
    fn settle(
        &self,
        outcome: Result<Answer, Failed>,
        why: Option<retry::NotRetried>,
    ) -> Result<Answer, ProxyError> {
        if let Some(why) = why {
            self.plan.upstream.metrics.not_retried(why as usize);
            self.exchange
                .note(|record| record.not_retried = Some(why.as_str()));
        }
        if let Some(upload) = self.exchange.upload() {
            upload.forget(Replayable::Lost);
        }
        outcome.map_err(|failed| failed.error)
    }

    async fn wait(&mut self, wait: Duration) {
        self.plan.upstream.metrics.retries.inc();
        self.previous = wait;
        if !wait.is_zero() {
            // A retry is rare: its timer need not have a place in every request.
            Box::pin(sleep(wait)).await;
        }
    }
}

fn is_grpc_failure(answer: &Answer) -> bool {
    answer.seen.has(Field::GrpcStatus)
        && retry::grpc_status(&answer.head.headers).is_some_and(|code| code != 0)
}

/// The most that is read of an answer which nobody will see, in order to keep its connection.
const DISCARDED: usize = 64 * 1024;

/// Reads what is there of an answer's body; if that is all of it, the connection goes back to its pool.
async fn discard(mut body: Box<EndpointBody>) {
    body.begin(Deadline::default(), None);
    let mut read = 0;
    poll_fn(|cx| {
        while let Poll::Ready(Some(Ok(frame))) = body.poll(cx) {
            read += frame.data_ref().map_or(0, |data| data.len());
            if read > DISCARDED {
                break;
            }
        }
        Poll::Ready(())
    })
    .await;
}
