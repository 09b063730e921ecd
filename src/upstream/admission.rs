//! The right to make one attempt at one endpoint, and the one word that it says about the endpoint in the end.
//!
//! Path: `proxy::attempt` gets an [`Admission`] with [`Upstream::enter`]; the answer's body holds it to its end. It keeps
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
use super::members::Member;
use super::queue::Queue;
use crate::policy::circuit_breaker::Permit;
use crate::policy::failure::{self, Content, Failure, GRPC_UNKNOWN, Verdict};

/// An attempt that was let through.
#[derive(Debug)]
pub struct Admission {
    upstream: Arc<Upstream>,
    in_flight: InFlight,
    /// Behind it: fields are dropped in their order.
    _left: Left,
    /// Of the upstream's breaker.
    whole: Option<Permit>,
    /// Of the endpoint's breaker.
    one: Option<Probe>,
    heard: Heard,
    reported: bool,
}

/// Tells the queue that a place has become free.
#[derive(Debug)]
struct Left(Option<Arc<Queue>>);

impl Drop for Left {
    fn drop(&mut self) {
        if let Some(queue) = &self.0 {
            queue.left();
        }
    }
}

/// A breaker, and what was taken from it.
type Probe = (Arc<Breaker>, Permit);

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

/// Why no endpoint takes a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoRoom {
    /// There is none, or none in service.
    NoEndpoint,
    /// Each has as many requests under way as it may.
    Full,
    /// Circuit breakers let nothing through.
    Open(OpenCircuit),
}

/// Turns that an entry takes before it gives up: each one lost a place to somebody else in a moment.
const ENTRIES: usize = 4;

impl Upstream {
    /// As [`Self::enter_in_turn`], but not past those who wait.
    ///
    /// # Errors
    ///
    /// See [`NoRoom`].
    pub fn enter(
        self: &Arc<Self>,
        tried: &[Arc<Endpoint>],
        now: Instant,
    ) -> Result<Admission, NoRoom> {
        match &self.limits.queue {
            Some(queue) if queue.waiting() > 0 => Err(NoRoom::Full),
            _ => self.enter_in_turn(tried, now),
        }
    }

    /// Picks an endpoint and takes a place there: one in service at `now` (any, in a panic) that has room and whose breaker
    /// is not open, and if there is a choice none that the request has `tried`.
    ///
    /// # Errors
    ///
    /// See [`NoRoom`].
    pub fn enter_in_turn(
        self: &Arc<Self>,
        tried: &[Arc<Endpoint>],
        now: Instant,
    ) -> Result<Admission, NoRoom> {
        let own = self.breakers.as_deref().map(|breakers| &breakers.whole);
        let Ok(whole) = own.map(|breaker| breaker.acquire(now)).transpose() else {
            return Err(self.no_room(now));
        };
        let whole = whole.flatten();
        for _ in 0..ENTRIES {
            let picked = self
                .members
                .pick(tried, now, |member| self.permits(member, now));
            let Some(member) = picked else {
                break;
            };
            if let Some((in_flight, one)) = self.place(&member, now) {
                return Ok(Admission {
                    in_flight,
                    _left: Left(self.limits.queue.clone()),
                    upstream: Arc::clone(self),
                    whole,
                    one,
                    heard: Heard::Nothing,
                    reported: false,
                });
            }
        }
        if let (Some(own), Some(permit)) = (own, whole) {
            own.release(permit);
        }
        Err(self.no_room(now))
    }

    fn permits(&self, member: &Member, now: Instant) -> bool {
        let most = self.limits.per_endpoint;
        let room = most.is_none_or(|most| {
            member.endpoint.in_flight() < usize::try_from(most.get()).unwrap_or(usize::MAX)
        });
        room && member
            .breaker
            .as_ref()
            .is_none_or(|breaker| breaker.would_admit(now))
    }

    /// Others may take the last place between pick and entry.
    fn place(&self, member: &Member, now: Instant) -> Option<(InFlight, Option<Probe>)> {
        let one = match &member.breaker {
            None => None,
            Some(breaker) => {
                let permit = breaker.acquire(now).ok()?;
                permit.map(|permit| (Arc::clone(breaker), permit))
            }
        };
        let in_flight = member.endpoint.try_enter(self.limits.per_endpoint);
        if in_flight.is_none()
            && let Some((breaker, permit)) = one
        {
            breaker.release(permit);
            return None;
        }
        Some((in_flight?, one))
    }

    fn no_room(&self, now: Instant) -> NoRoom {
        if let Some(open) = self.open_circuit(now) {
            return NoRoom::Open(open);
        }
        let somebody = self.members.pick(&[], now, |_| true);
        somebody.map_or(NoRoom::NoEndpoint, |_| NoRoom::Full)
    }

    /// Why breakers let no attempt through at `now`: the upstream's own, or those of all endpoints. Of these the one that
    /// will be asked again first.
    pub fn open_circuit(&self, now: Instant) -> Option<OpenCircuit> {
        let breakers = self.breakers.as_deref()?;
        if let Some(open) = breakers.whole.refusal(now) {
            return Some(open);
        }
        let set = self.endpoints();
        let refusals = set.usable().iter();
        let refusals = refusals.map(|member| member.breaker.as_deref()?.refusal(now));
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
        if let Some((breaker, permit)) = self.one.take() {
            breaker.record(permit, verdict, elapsed, now);
        }
        self.upstream.report(endpoint, verdict, elapsed, now);
    }

    fn ended_with(&mut self, code: u16, elapsed: Duration, now: Instant) {
        self.report(self.upstream.failure.grpc(code, elapsed), elapsed, now);
    }

    fn is_probe(&self) -> bool {
        let one = self.one.as_ref().map(|(_, permit)| permit);
        [self.whole.as_ref(), one]
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
