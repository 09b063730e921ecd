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
use std::time::Duration;

use balance::Balancer;
use endpoint::Endpoint;
use pool::PoolSettings;

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
}

impl Upstream {
    /// The endpoint for the next attempt.
    pub fn pick(&self) -> Option<&Arc<Endpoint>> {
        self.balancer.pick(&self.endpoints)
    }
}
