//! From an attempt to the wire: upstreams, their endpoints, who is next, and the pooled connections.
//!
//! Path: `proxy::attempt` picks an endpoint with [`balance`], takes a connection from the endpoint's [`pool`] or opens
//! one with [`connect`], and sends. State that belongs to an address (pool, requests in flight) lives in the
//! [`endpoint::Endpoint`], so it survives a reload of everything around it.

pub mod admission;
pub mod balance;
pub mod connect;
pub mod connection;
pub mod endpoint;
pub mod pool;
pub mod replay_room;
pub mod request_body;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use balance::Balancer;
use endpoint::{Endpoint, InFlight};
use pool::PoolSettings;

use crate::policy::budget::RetryBudget;
use crate::policy::failure::Verdict;
use crate::telemetry::metrics::UpstreamMetrics;

/// A named set of equal endpoints, and how to talk to them.
#[derive(Debug)]
pub struct Upstream {
    /// The name in the configuration.
    pub name: Arc<str>,
    /// Where requests can go; never empty.
    pub endpoints: Vec<Arc<Endpoint>>,
    /// Who is next.
    pub balancer: Balancer,
    /// What limits the requests under way.
    pub limits: UpstreamLimits,
    /// Limit of a TCP connect.
    pub connect_timeout: Duration,
    /// How long an endpoint may neither send nor take anything while its answer is awaited.
    pub idle_timeout: Duration,
    /// What the pools keep.
    pub pool: PoolSettings,
    /// What share of its requests may be retries; `None`: any.
    pub retry_budget: Option<Arc<RetryBudget>>,
    /// Handles of its metrics.
    pub metrics: UpstreamMetrics,
}

/// What limits the requests under way at an upstream.
#[derive(Debug, Default)]
pub struct UpstreamLimits {
    /// Of all endpoints together.
    pub admission: Option<Arc<admission::Admission>>,
    /// Of one endpoint.
    pub per_endpoint: Option<NonZeroU32>,
    /// The key that says so.
    pub per_endpoint_key: &'static str,
}

/// Why no endpoint takes a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoRoom {
    /// There is none.
    NoEndpoint,
    /// Each has as many requests under way as it may.
    Full,
}

impl Upstream {
    /// Picks an endpoint as [`Self::pick`] does, and counts the request there.
    ///
    /// # Errors
    ///
    /// See [`NoRoom`].
    pub fn enter(&self, tried: &[Arc<Endpoint>], now: Instant) -> Result<InFlight, NoRoom> {
        // Others may take the last place between pick and entry; a few more turns find another one.
        for _ in 0..=self.endpoints.len() {
            let picked = self.pick(tried, now).ok_or(NoRoom::NoEndpoint)?;
            if let Some(in_flight) = picked.try_enter(self.limits.per_endpoint) {
                return Ok(in_flight);
            }
        }
        Err(NoRoom::Full)
    }

    fn has_room(&self, endpoint: &Endpoint) -> bool {
        (self.limits.per_endpoint).is_none_or(|most| {
            endpoint.in_flight() < usize::try_from(most.get()).unwrap_or(usize::MAX)
        })
    }

    /// The endpoint for the next attempt of a request: one that admits requests at `now`, and if there is a choice none
    /// that it has `tried`.
    pub fn pick(&self, tried: &[Arc<Endpoint>], now: Instant) -> Option<Arc<Endpoint>> {
        // Every endpoint is eligible for now; the turns are few, so one that was tried is passed over by asking again.
        let mut picked = self.balancer.pick(&self.endpoints)?;
        for _ in 1..self.endpoints.len() {
            let again = tried.iter().any(|tried| Arc::ptr_eq(tried, picked));
            if !again && picked.admits(now) && self.has_room(picked) {
                break;
            }
            picked = self.balancer.pick(&self.endpoints)?;
        }
        Some(Arc::clone(picked))
    }

    /// Takes note of how an attempt at `endpoint` that took `elapsed` spoke for it. Called once for each attempt: with its
    /// failure, or at the end of its answer's body.
    pub fn report(
        &self,
        _endpoint: &Arc<Endpoint>,
        _verdict: Verdict,
        _elapsed: Duration,
        _now: Instant,
    ) {
    }
}
