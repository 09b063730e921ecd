//! The rules of a route's rate limit, one after the other.
//!
//! Path: [`super::route`]. All rules must hold: when a later one refuses, the tokens that the earlier ones gave go back.
//! Whoever has to wait waits once, for the rule that takes longest, and never past the request's deadline. A client that
//! leaves while it waits frees its place; its token goes back if nobody came after it.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::Instant;

use super::super::error::{Limit, ProxyError, Refusal};
use super::super::exchange::Exchange;
use crate::policy::rate_limit::{Admitted, Refused};
use crate::route::limits::{Exceeded, Place, RateRule};
use crate::telemetry::limits::RateResult;
use crate::units::Pretty;

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LEGACY_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const LEGACY_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const LEGACY_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// What is noted of a request that would have been refused.
const OBSERVED: &str = "rate_limited";

/// A token taken from a rule.
#[derive(Debug)]
struct Token<'r> {
    rule: &'r RateRule,
    key: u64,
    admitted: Admitted,
}

impl Token<'_> {
    fn put_back(&self) {
        self.rule.limiter.put_back(self.key);
    }
}

/// What a request has to wait for.
#[derive(Debug)]
pub(super) struct Waits<'r> {
    until: Instant,
    /// The tokens go back when this is dropped before its time.
    places: Vec<(Token<'r>, Place<'r>)>,
}

/// Takes a token of each of `rules`.
///
/// # Errors
///
/// [`ProxyError::RateLimited`].
pub(super) fn check<'r>(
    exchange: &Exchange,
    rules: &'r [Arc<RateRule>],
    head: &Parts,
    deadline: Option<Instant>,
) -> Result<Option<Waits<'r>>, ProxyError> {
    let now = exchange.started;
    // Nothing is allocated where there is one rule, as there mostly is.
    let mut taken: Vec<Token<'r>> = Vec::new();
    let mut told = Told::default();
    let mut waits: Option<Waits<'r>> = None;
    let identity = exchange.connection.identity();
    let identity = identity.map(HeaderValue::as_bytes);
    for rule in rules {
        let key = rule.key.hash(head, identity, || exchange.client());
        let outcome = rule.limiter.check(key, now.into_std());
        let observed = matches!(rule.exceeded, Exceeded::Observe);
        if !observed {
            told.add(rule, &outcome);
        }
        let refused = match outcome {
            Ok(_) if observed => {
                rule.metrics.count(RateResult::Allowed);
                continue;
            }
            Ok(admitted) => {
                let token = Token {
                    rule,
                    key,
                    admitted,
                };
                match queue(token, now, deadline, &mut waits) {
                    Ok(Some(token)) if rules.len() > 1 => {
                        taken.push(token);
                        continue;
                    }
                    Ok(_) => continue,
                    Err(refused) => refused,
                }
            }
            Err(_) if observed => {
                rule.metrics.count(RateResult::WouldLimit);
                exchange.note(|record| record.observed = Some(OBSERVED));
                continue;
            }
            Err(refused) => refused,
        };
        taken.iter().for_each(Token::put_back);
        rule.metrics.count(RateResult::Limited);
        told.keep(exchange);
        return Err(limited(rule, refused));
    }
    told.keep(exchange);
    let passed = |rule: &&Arc<RateRule>| {
        let waits = waits.as_ref().is_some_and(|waits| waits.is_for(rule));
        !waits && !matches!(rule.exceeded, Exceeded::Observe)
    };
    (rules.iter().filter(passed)).for_each(|rule| rule.metrics.count(RateResult::Allowed));
    Ok(waits)
}

/// Takes a place for `token` if it has to wait; gives it back if it need not.
fn queue<'r>(
    token: Token<'r>,
    now: Instant,
    deadline: Option<Instant>,
    waits: &mut Option<Waits<'r>>,
) -> Result<Option<Token<'r>>, Refused> {
    let wait = token.admitted.wait;
    let Exceeded::Wait(waiting) = &token.rule.exceeded else {
        return Ok(Some(token));
    };
    if wait.is_zero() {
        return Ok(Some(token));
    }
    let until = now + wait;
    let in_time = deadline.is_none_or(|deadline| until < deadline);
    let Some(place) = waiting.enter().filter(|_| in_time) else {
        token.put_back();
        return Err(Refused {
            retry_after: wait,
            full_in: token.admitted.full_in,
        });
    };
    let waits = waits.get_or_insert(Waits {
        until,
        places: Vec::new(),
    });
    waits.until = waits.until.max(until);
    waits.places.push((token, place));
    Ok(None)
}

impl Waits<'_> {
    fn is_for(&self, rule: &RateRule) -> bool {
        let mut rules = self.places.iter().map(|(token, _)| token.rule);
        rules.any(|waited| std::ptr::eq(waited, rule))
    }

    /// Waits until all tokens are there.
    pub(super) async fn pass(mut self) {
        tokio::time::sleep_until(self.until).await;
        for (token, place) in self.places.drain(..) {
            token.rule.metrics.count(RateResult::Waited);
            drop(place);
        }
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        for (token, _) in &self.places {
            token.rule.limiter.leave(token.key, &token.admitted);
        }
    }
}

fn limited(rule: &RateRule, refused: Refused) -> ProxyError {
    let rate = &rule.rate;
    let value = format!("{} per {}", rate.requests, Pretty::Time(rate.per));
    ProxyError::RateLimited(Box::new(Refusal {
        message: format!(
            "more requests than `{}` allows: {value}; the next one is allowed in {}",
            rule.place,
            Pretty::Time(rounded_up(refused.retry_after))
        ),
        retry_after: Some(refused.retry_after),
        limit: Some(Limit {
            key: rule.place.to_string(),
            value,
        }),
        ..Refusal::default()
    }))
}

/// To the millisecond, never to none.
fn rounded_up(time: Duration) -> Duration {
    let millis = time.as_nanos().div_ceil(1_000_000).max(1);
    Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
}

fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

/// What the answer will say.
#[derive(Debug, Default)]
struct Told {
    limits: String,
    policies: String,
    /// The rule that leaves least: limit, remaining, reset.
    legacy: Option<(u32, u32, u64)>,
}

impl Told {
    fn add(&mut self, rule: &RateRule, outcome: &Result<Admitted, Refused>) {
        let (remaining, full_in) = match outcome {
            Ok(admitted) => (admitted.remaining, admitted.full_in),
            Err(refused) => (0, refused.full_in),
        };
        let reset = whole_seconds(full_in);
        if rule.headers.standard {
            self.add_standard(rule, remaining, reset);
        }
        if rule.headers.legacy && self.legacy.is_none_or(|(_, least, _)| remaining < least) {
            self.legacy = Some((rule.rate.burst.get(), remaining, reset));
        }
    }

    /// IETF draft `ratelimit-headers`: quota and window in whole seconds, what remains, when it is whole again.
    fn add_standard(&mut self, rule: &RateRule, remaining: u32, reset: u64) {
        let rate = &rule.rate;
        let window = whole_seconds(rate.per).max(1);
        let quota = u128::from(rate.requests.get()) * u128::from(window) * 1_000_000_000
            / rate.per.as_nanos().max(1);
        let comma = if self.limits.is_empty() { "" } else { ", " };
        // Writing to a `String` cannot fail.
        let _ = write!(
            self.limits,
            "{comma}\"{}\";r={remaining};t={reset}",
            rule.name
        );
        let _ = write!(
            self.policies,
            "{comma}\"{}\";q={quota};w={window}",
            rule.name
        );
    }

    fn keep(self, exchange: &Exchange) {
        if self.limits.is_empty() && self.legacy.is_none() {
            return;
        }
        let mut headers = HeaderMap::with_capacity(5);
        let texts = [
            (RATE_LIMIT, self.limits),
            (RATE_LIMIT_POLICY, self.policies),
        ];
        for (name, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
            if let Ok(value) = HeaderValue::try_from(text) {
                headers.insert(name, value);
            }
        }
        if let Some((limit, remaining, reset)) = self.legacy {
            headers.insert(LEGACY_LIMIT, limit.into());
            headers.insert(LEGACY_REMAINING, remaining.into());
            headers.insert(LEGACY_RESET, reset.into());
        }
        // Rates are checked once a request.
        drop(exchange.held.headers.set(Box::new(headers)));
    }
}
