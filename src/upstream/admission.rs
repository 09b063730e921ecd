//! The right to make one attempt at one endpoint, and the one word that it says about the endpoint in the end.
//!
//! Path: `proxy::attempt` gets an [`Admission`] with [`Upstream::admit`]; the answer's body holds it to its end. It keeps
//! the places of the attempt (in flight, probes of half-open breakers) and reports exactly once: an error as soon as it is
//! known, a success when the answer is complete. Dropped without a word it says [`Verdict::Ignored`]: the client had left.
//!
//! What a success waits for: a plain answer for its end, which may still break off; a gRPC call for its trailers. An event
//! stream is good with its head, for most of them end by being broken off. While a breaker is half-open everybody waits for
//! its probe, so the first good sign is enough: a head, or a message of a gRPC call.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::StatusCode;
use http::header::HeaderMap;

use super::Upstream;
use super::breaker::{Breaker, OpenCircuit};
use super::endpoint::{Endpoint, InFlight};
use crate::policy::circuit_breaker::{Permit, Refused};
use crate::policy::failure::{self, Content, Failure, GRPC_UNKNOWN, Verdict};

/// An attempt that was let through.
#[derive(Debug)]
pub struct Admission {
    upstream: Arc<Upstream>,
    in_flight: InFlight,
    /// Of the upstream's breaker.
    whole: Option<Permit>,
    /// Of the endpoint's breaker.
    one: Option<Permit>,
    heard: Heard,
    reported: bool,
}

/// What has come of an answer.
#[derive(Debug, Clone, Copy)]
enum Heard {
    Nothing,
    /// A head that is good if the rest arrives.
    GoodHead(Duration),
    /// The head of a gRPC call; its end decides.
    GrpcHead(Duration),
    /// And a message of it.
    GrpcMessage(Duration),
}

impl Upstream {
    /// Lets an attempt at `endpoint` through if both breakers do.
    ///
    /// # Errors
    ///
    /// When one of them is open.
    pub fn admit(
        self: &Arc<Self>,
        endpoint: &Arc<Endpoint>,
        now: Instant,
    ) -> Result<Admission, Refused> {
        let acquire = |breaker: &Breaker| breaker.acquire(now);
        let own = self.breakers.as_deref().map(|breakers| &breakers.whole);
        let whole = own.map(acquire).transpose()?.flatten();
        let one = match endpoint.breaker.as_deref().map(acquire).transpose() {
            Ok(one) => one.flatten(),
            Err(refused) => {
                if let (Some(own), Some(permit)) = (own, whole) {
                    own.release(permit);
                }
                return Err(refused);
            }
        };
        Ok(Admission {
            upstream: Arc::clone(self),
            in_flight: endpoint.enter(),
            whole,
            one,
            heard: Heard::Nothing,
            reported: false,
        })
    }

    /// Why breakers let no attempt through at `now`: the upstream's own, or those of all endpoints. Of these the one that
    /// will be asked again first.
    pub fn open_circuit(&self, now: Instant) -> Option<OpenCircuit> {
        let breakers = self.breakers.as_deref()?;
        if let Some(open) = breakers.whole.refusal(now) {
            return Some(open);
        }
        let refusals = self.endpoints.iter();
        let refusals = refusals.map(|endpoint| endpoint.breaker.as_deref()?.refusal(now));
        let refusals = refusals.collect::<Option<Vec<_>>>()?;
        refusals
            .into_iter()
            .min_by_key(|open| (open.key.is_none(), open.remaining))
    }
}

impl Admission {
    /// The endpoint.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.in_flight.endpoint
    }

    /// Its upstream.
    pub fn upstream(&self) -> &Arc<Upstream> {
        &self.upstream
    }

    /// Takes note of an answer's head, which came after `elapsed`.
    pub fn answered(&mut self, head: (StatusCode, &HeaderMap), elapsed: Duration, now: Instant) {
        let (status, headers) = head;
        let content = failure::content(headers);
        if content == Content::Grpc && status == StatusCode::OK {
            self.heard = Heard::GrpcHead(elapsed);
            if let Some(code) = failure::grpc_status(headers) {
                self.ended_with(code, elapsed, now);
            }
            return;
        }
        let verdict = self.upstream.failure.head(status, elapsed);
        let waits = content != Content::Events && !self.is_probe();
        if status == StatusCode::SWITCHING_PROTOCOLS || (verdict == Verdict::Success && waits) {
            self.heard = Heard::GoodHead(elapsed);
        } else {
            self.report(verdict, elapsed, now);
        }
    }

    /// Takes note of a part of the answer's body.
    pub fn message(&mut self, now: impl FnOnce() -> Instant) {
        if let Heard::GrpcHead(elapsed) = self.heard {
            self.heard = Heard::GrpcMessage(elapsed);
            if self.is_probe() {
                self.report(Verdict::Success, elapsed, now());
            }
        }
    }

    /// Takes note of the answer's trailers.
    pub fn trailers(&mut self, trailers: &HeaderMap, now: Instant) {
        if let Heard::GrpcHead(elapsed) | Heard::GrpcMessage(elapsed) = self.heard
            && let Some(code) = failure::grpc_status(trailers)
        {
            self.ended_with(code, elapsed, now);
        }
    }

    /// The answer is complete.
    pub fn complete(&mut self, now: Instant) {
        match self.heard {
            Heard::Nothing => {}
            Heard::GoodHead(elapsed) => self.report(Verdict::Success, elapsed, now),
            Heard::GrpcHead(elapsed) | Heard::GrpcMessage(elapsed) => {
                self.ended_with(GRPC_UNKNOWN, elapsed, now);
            }
        }
    }

    /// The answer ended before its end.
    pub fn broke_off(&mut self, verdict: Verdict, now: Instant) {
        let elapsed = match self.heard {
            Heard::Nothing => Duration::ZERO,
            Heard::GoodHead(elapsed) | Heard::GrpcHead(elapsed) | Heard::GrpcMessage(elapsed) => {
                elapsed
            }
        };
        self.report(verdict, elapsed, now);
    }

    /// Says how the attempt speaks for its endpoint. Only the first word counts.
    pub fn report(&mut self, verdict: Verdict, elapsed: Duration, now: Instant) {
        if std::mem::replace(&mut self.reported, true) {
            return;
        }
        let breakers = self.upstream.breakers.as_deref();
        if let (Some(breakers), Some(permit)) = (breakers, self.whole.take()) {
            breakers.whole.record(permit, verdict, elapsed, now);
        }
        let endpoint = &self.in_flight.endpoint;
        if let Verdict::Failure(failure) = verdict {
            endpoint.metrics.failure(reason(failure));
        }
        if let (Some(breaker), Some(permit)) = (&endpoint.breaker, self.one.take()) {
            breaker.record(permit, verdict, elapsed, now);
        }
        self.upstream.report(endpoint, verdict, elapsed, now);
    }

    fn ended_with(&mut self, code: u16, elapsed: Duration, now: Instant) {
        self.report(self.upstream.failure.grpc(code, elapsed), elapsed, now);
    }

    fn is_probe(&self) -> bool {
        [&self.whole, &self.one]
            .into_iter()
            .flatten()
            .any(Permit::is_probe)
    }
}

/// The place of a failure in [`crate::telemetry::metrics::FAILURES`].
fn reason(failure: Failure) -> usize {
    match failure {
        Failure::Connect => 0,
        Failure::Timeout => 1,
        Failure::Reset => 2,
        Failure::Protocol => 3,
        Failure::Status(_) => 4,
        Failure::Grpc(_) => 5,
        Failure::Slow => 6,
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        if self.reported {
            return;
        }
        let now = tokio::time::Instant::now().into_std();
        match self.heard {
            // Such streams end when their client has had enough: what came is the sign that there will be.
            Heard::GrpcMessage(elapsed) => self.report(Verdict::Success, elapsed, now),
            Heard::Nothing | Heard::GoodHead(_) | Heard::GrpcHead(_) => {
                self.report(Verdict::Ignored, Duration::ZERO, now);
            }
        }
    }
}
