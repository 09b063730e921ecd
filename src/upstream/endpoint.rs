//! One address of an upstream, with the state that belongs to the address.
//!
//! Path: made by `snapshot`, which hands it on to the next snapshot when the address stays. Shared by all workers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use super::breaker::Breaker;
use super::pool::Pool;
use crate::telemetry::metrics::EndpointMetrics;

/// One address.
#[derive(Debug)]
pub struct Endpoint {
    /// Where to connect.
    pub address: SocketAddr,
    /// The address as text, for logs.
    pub label: Arc<str>,
    /// Idle connections.
    pub pool: Arc<Pool>,
    /// Handles of its metrics.
    pub metrics: EndpointMetrics,
    /// Its circuit breaker, if its upstream has any.
    pub breaker: Option<Arc<Breaker>>,
    in_flight: Arc<AtomicUsize>,
}

impl Endpoint {
    /// An endpoint with empty pools for `workers` workers.
    pub fn new(address: SocketAddr, workers: usize, metrics: EndpointMetrics) -> Self {
        Self {
            address,
            label: address.to_string().into(),
            pool: Arc::new(Pool::new(workers, metrics.idle.clone())),
            metrics,
            breaker: None,
            in_flight: Arc::default(),
        }
    }

    /// The same endpoint with the breaker of another configuration: what belongs to the address is shared.
    #[must_use]
    pub fn with_breaker(&self, breaker: Option<Arc<Breaker>>) -> Self {
        Self {
            address: self.address,
            label: Arc::clone(&self.label),
            pool: Arc::clone(&self.pool),
            metrics: self.metrics.clone(),
            breaker,
            in_flight: Arc::clone(&self.in_flight),
        }
    }

    /// Whether it may be sent a request at `now`: healthy, not ejected, its breaker not open, its limits not reached.
    pub fn admits(&self, now: Instant) -> bool {
        self.breaker
            .as_ref()
            .is_none_or(|breaker| breaker.would_admit(now))
    }

    /// Requests under way, from the pick of the endpoint to the end of the answer's body.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Counts one request in flight until the guard is dropped.
    pub fn enter(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight {
            endpoint: Arc::clone(self),
        }
    }
}

/// One request in flight at an endpoint.
#[derive(Debug)]
pub struct InFlight {
    /// Where.
    pub endpoint: Arc<Endpoint>,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.endpoint.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
