//! What a route's requests have to pass: its rate limits, and its limit of requests under way.
//!
//! Path: `snapshot` makes one for each route, for all listeners; `proxy::admit` asks it. A route without limits has
//! empty ones, and asking them costs nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::policy::rate_limit::{Limiter, Rate};
use crate::route::rate_key::RateKey;
use crate::telemetry::limits::RateMetrics;
use crate::upstream::request_limit::RequestLimit;

/// The limits of one route.
#[derive(Debug, Default)]
pub struct RouteLimits {
    /// The rules of its rate limit, in the file's order; all must hold.
    pub rules: Box<[Arc<RateRule>]>,
    /// Its requests under way.
    pub requests: Option<Arc<RequestLimit>>,
}

/// One rule of a rate limit.
#[derive(Debug)]
pub struct RateRule {
    /// Its name within the route.
    pub name: Box<str>,
    /// Where it stands: `routes.pay.rate_limit`.
    pub place: Box<str>,
    /// How many, how fast.
    pub rate: Rate,
    /// What has its own count.
    pub key: RateKey,
    /// The counts.
    pub limiter: Limiter,
    /// What becomes of those beyond the rate.
    pub exceeded: Exceeded,
    /// What answers say about it.
    pub headers: RateHeaders,
    /// Handles of its metrics.
    pub metrics: RateMetrics,
}

/// What becomes of requests beyond the rate.
#[derive(Debug)]
pub enum Exceeded {
    /// They are refused.
    Reject,
    /// They wait, within bounds.
    Wait(Waiting),
    /// They are counted and go on.
    Observe,
}

/// Those who wait for their turn.
#[derive(Debug)]
pub struct Waiting {
    /// How long at most.
    pub max_wait: Duration,
    /// So many at most.
    pub places: u32,
    taken: AtomicU32,
}

/// What answers say about a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RateHeaders {
    /// `RateLimit` and `RateLimit-Policy`.
    pub standard: bool,
    /// `X-RateLimit-…`.
    pub legacy: bool,
}

/// A place among those who wait; free again when dropped.
#[derive(Debug)]
pub struct Place<'a>(&'a Waiting);

impl Waiting {
    /// Places for so many.
    pub fn new(max_wait: Duration, places: u32) -> Self {
        Self {
            max_wait,
            places,
            taken: AtomicU32::new(0),
        }
    }

    /// Takes a place, if one is free.
    pub fn enter(&self) -> Option<Place<'_>> {
        let free = |taken: u32| (taken < self.places).then_some(taken + 1);
        let entered = (self.taken).fetch_update(Ordering::AcqRel, Ordering::Acquire, free);
        entered.ok().map(|_| Place(self))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::AcqRel);
    }
}

impl RouteLimits {
    /// Whether there is nothing to ask.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty() && self.requests.is_none()
    }

    /// Sets the gauges.
    pub fn observe(&self) {
        for rule in &self.rules {
            (rule.metrics).observe(rule.limiter.keys(), rule.limiter.evictions());
        }
        self.requests.iter().for_each(|limit| limit.observe());
    }
}
