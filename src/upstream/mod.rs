//! From an attempt to the wire: upstreams, their endpoints, who is next, and the pooled connections.
//!
//! Path: `proxy::attempt` picks an endpoint with [`balance`], takes a connection from the endpoint's [`pool`] or opens
//! one with [`connect`], and sends. State that belongs to an address (pool, requests in flight) lives in the
//! [`endpoint::Endpoint`], so it survives a reload of everything around it.

pub mod balance;
pub mod connect;
pub mod connection;
pub mod endpoint;
pub mod pool;
pub mod request_body;

use std::sync::Arc;
use std::time::{Duration, Instant};

use balance::Balancer;
use endpoint::Endpoint;
use pool::PoolSettings;
use tokio::sync::Semaphore;

use crate::policy::failure::Verdict;

/// A named set of equal endpoints, and how to talk to them.
#[derive(Debug)]
pub struct Upstream {
    /// The name in the configuration.
    pub name: Arc<str>,
    /// Where requests can go; never empty.
    pub endpoints: Vec<Arc<Endpoint>>,
    /// Who is next.
    pub balancer: Balancer,
    /// Limit of a TCP connect.
    pub connect_timeout: Duration,
    /// How long an endpoint may neither send nor take anything while its answer is awaited.
    pub idle_timeout: Duration,
    /// What the pools keep.
    pub pool: PoolSettings,
    /// Rights to one more copy of a request: mirrors are bounded apart from requests.
    pub copies: Arc<Semaphore>,
}

impl Upstream {
    /// The endpoint for the next attempt of a request: one that admits requests at `now`, and if there is a choice none
    /// that it has `tried`.
    pub fn pick(&self, tried: &[Arc<Endpoint>], now: Instant) -> Option<Arc<Endpoint>> {
        // Every endpoint is eligible for now; the turns are few, so one that was tried is passed over by asking again.
        let mut picked = self.balancer.pick(&self.endpoints)?;
        for _ in 1..self.endpoints.len() {
            let again = tried.iter().any(|tried| Arc::ptr_eq(tried, picked));
            if !again && picked.admits(now) {
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
