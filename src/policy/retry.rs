//! Whether, and after what wait, a request that failed is tried again.
//!
//! Path: `proxy::attempts` describes what happened after each attempt and acts on the [`Decision`]. The order of the
//! questions is the order of what an operator can do about the answer: is it configured, is it safe, is there time, is
//! there budget. The budget is asked last, so that a retry that could not happen costs nothing of it.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use super::backoff::Backoff;

/// Which ends of an attempt may be followed by another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conditions {
    /// No connection was to be had; nothing was sent.
    pub connect_failure: bool,
    /// The endpoint said that it did not process the request (HTTP/2 REFUSED_STREAM, GOAWAY), or nothing of it was sent.
    pub refused_stream: bool,
    /// The connection broke, or carried something else than HTTP, before an answer's head.
    pub reset: bool,
    /// The attempt's own time limit ended it.
    pub attempt_timeout: bool,
    /// An answer of 429 that says when to come again.
    pub throttled: bool,
    /// Answers with these statuses.
    pub statuses: Vec<StatusCode>,
    /// Answers that consist of nothing but one of these `grpc-status`.
    pub grpc: Vec<u16>,
}

/// What a route says about retries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts in all, the first one included; 1: no retry.
    pub attempts: u32,
    /// After what.
    pub on: Conditions,
    /// Waits between attempts.
    pub backoff: Backoff,
    /// The longest wait that an answer may ask for; one that asks for more is passed on.
    pub max_retry_after: Duration,
    /// Whether requests that are not idempotent may be sent again even if they may have arrived.
    pub unsafe_methods: bool,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// No connection.
    ConnectFailure,
    /// Not a byte was sent, or none processed.
    Refused,
    /// The connection broke.
    Reset,
    /// The attempt's time limit.
    AttemptTimeout,
    /// An answer's head.
    Answer {
        /// Its status.
        status: StatusCode,
        /// Its `grpc-status`, if its head has one.
        grpc: Option<u16>,
        /// When it asks to come again.
        hint: Hint,
    },
    /// Whatever another attempt would not help with: the client left, or time is up.
    Final,
}

/// What an answer says about the next attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hint {
    /// Nothing.
    None,
    /// Not before this time has passed.
    After(Duration),
    /// Not at all (`grpc-retry-pushback-ms` that is negative or no number).
    Never,
}

/// What became of the request's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replayable {
    /// There is none, or all that was read is kept.
    Yes,
    /// More was read than may be kept.
    TooLarge,
    /// There is no memory left to keep any.
    NoMemory,
    /// The client broke it off.
    Lost,
}

/// Why there is no further attempt. A closed list: the word appears in logs, metrics and answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotRetried {
    /// As many attempts as the route allows were made.
    Attempts,
    /// Retries are off for the route.
    Off,
    /// The request may have arrived and is not idempotent.
    UnsafeMethod,
    /// Its body was too large to be kept.
    BodyTooLarge,
    /// There was no memory to keep its body.
    NoMemory,
    /// The deadline would have passed.
    Deadline,
    /// The endpoint asks for a longer wait than the route allows, or for none at all.
    RetryAfter,
    /// The upstream's budget is used up.
    Budget,
    /// The upstream does not take requests.
    CircuitOpen,
    /// The answer had begun.
    ResponseStarted,
}

impl NotRetried {
    /// Every value.
    pub const ALL: [Self; 10] = [
        Self::Attempts,
        Self::Off,
        Self::UnsafeMethod,
        Self::BodyTooLarge,
        Self::NoMemory,
        Self::Deadline,
        Self::RetryAfter,
        Self::Budget,
        Self::CircuitOpen,
        Self::ResponseStarted,
    ];

    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Attempts => "attempts",
            Self::Off => "off",
            Self::UnsafeMethod => "unsafe_method",
            Self::BodyTooLarge => "body_too_large",
            Self::NoMemory => "no_memory",
            Self::Deadline => "deadline",
            Self::RetryAfter => "retry_after",
            Self::Budget => "budget",
            Self::CircuitOpen => "circuit_open",
            Self::ResponseStarted => "response_started",
        }
    }
}

/// What to do after an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Try again after a wait.
    Retry(Duration),
    /// The attempt's outcome stands; why, if it was a failure that could have been retried.
    Stands(Option<NotRetried>),
}

/// What is known after an attempt.
#[derive(Debug, Clone, Copy)]
pub struct Situation {
    /// How the attempt ended.
    pub ended: Ended,
    /// Attempts made, this one included.
    pub made: u32,
    /// Whether the request may be sent again even if it arrived.
    pub idempotent: bool,
    /// What became of its body.
    pub body: Replayable,
    /// Whether circuit breakers let no request through: they may have opened with this very attempt.
    pub open: bool,
    /// Time left until the deadline.
    pub left: Option<Duration>,
    /// The wait before this attempt.
    pub previous: Duration,
    /// Uniform over all `u64`.
    pub random: u64,
}

impl RetryPolicy {
    /// Decides; `budget` takes a retry from the budget and says whether there was one.
    pub fn decide(&self, situation: &Situation, budget: impl FnOnce() -> bool) -> Decision {
        if !self.on.covers(situation.ended) {
            return Decision::Stands(None);
        }
        match self.wait(situation) {
            Ok(_) if !budget() => Decision::Stands(Some(NotRetried::Budget)),
            Ok(wait) => Decision::Retry(wait),
            Err(why) => Decision::Stands(Some(why)),
        }
    }

    fn wait(&self, situation: &Situation) -> Result<Duration, NotRetried> {
        if self.attempts <= 1 {
            return Err(NotRetried::Off);
        }
        if situation.made >= self.attempts {
            return Err(NotRetried::Attempts);
        }
        if situation.ended.may_have_arrived() && !situation.idempotent && !self.unsafe_methods {
            return Err(NotRetried::UnsafeMethod);
        }
        match situation.body {
            Replayable::Yes => {}
            Replayable::TooLarge => return Err(NotRetried::BodyTooLarge),
            Replayable::NoMemory => return Err(NotRetried::NoMemory),
            Replayable::Lost => return Err(NotRetried::ResponseStarted),
        }
        if situation.open {
            return Err(NotRetried::CircuitOpen);
        }
        let backoff = self
            .backoff
            .wait(situation.made, situation.previous, situation.random);
        let wait = match situation.ended.hint() {
            Hint::None => backoff,
            Hint::After(asked) if asked <= self.max_retry_after => backoff.max(asked),
            Hint::After(_) | Hint::Never => return Err(NotRetried::RetryAfter),
        };
        match situation.left {
            Some(left) if left <= wait => Err(NotRetried::Deadline),
            _ => Ok(wait),
        }
    }
}

impl Conditions {
    fn covers(&self, ended: Ended) -> bool {
        match ended {
            Ended::ConnectFailure => self.connect_failure,
            Ended::Refused => self.refused_stream,
            Ended::Reset => self.reset,
            Ended::AttemptTimeout => self.attempt_timeout,
            Ended::Answer { status, grpc, hint } => {
                self.statuses.contains(&status)
                    || grpc.is_some_and(|code| self.grpc.contains(&code))
                    || (self.throttled
                        && status == StatusCode::TOO_MANY_REQUESTS
                        && hint != Hint::None)
            }
            Ended::Final => false,
        }
    }
}

impl Ended {
    fn may_have_arrived(self) -> bool {
        !matches!(self, Self::ConnectFailure | Self::Refused)
    }

    fn hint(self) -> Hint {
        match self {
            Self::Answer { hint, .. } => hint,
            _ => Hint::None,
        }
    }
}

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Whether a request may be sent again even if it arrived: its method says so (RFC 9110 §9.2.2), or its sender has given
/// it a key by which the app recognises it.
pub fn is_idempotent(method: &Method, headers: &HeaderMap) -> bool {
    method.is_idempotent() || headers.contains_key(IDEMPOTENCY_KEY)
}

/// What an answer's head says about the next attempt: `retry-after` in seconds (RFC 9110 §10.2.3; a date is not
/// followed, for it presumes equal clocks) or `grpc-retry-pushback-ms` (gRFC A6).
pub fn hint(headers: &HeaderMap) -> Hint {
    let number = |value: &HeaderValue| value.to_str().ok()?.trim().parse::<u64>().ok();
    if let Some(pushback) = headers.get("grpc-retry-pushback-ms") {
        return number(pushback).map_or(Hint::Never, |ms| Hint::After(Duration::from_millis(ms)));
    }
    match headers.get(http::header::RETRY_AFTER).map(number) {
        Some(Some(seconds)) => Hint::After(Duration::from_secs(seconds)),
        // A date is a wait of unknown length.
        Some(None) => Hint::After(Duration::MAX),
        None => Hint::None,
    }
}

/// `grpc-status` of a head.
pub fn grpc_status(headers: &HeaderMap) -> Option<u16> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests;
