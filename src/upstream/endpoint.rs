//! One address of an upstream, with the state that belongs to the address.
//!
//! Path: made by `snapshot`, which hands it on to the next snapshot when the address stays. Shared by all workers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

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
    pub pool: Pool,
    /// Handles of its metrics.
    pub metrics: EndpointMetrics,
    in_flight: AtomicUsize,
}

impl Endpoint {
    /// An endpoint with empty pools for `workers` workers.
    pub fn new(address: SocketAddr, workers: usize, metrics: EndpointMetrics) -> Self {
        Self {
            address,
            label: address.to_string().into(),
            pool: Pool::new(workers, metrics.idle.clone()),
            metrics,
            in_flight: AtomicUsize::new(0),
        }
    }

    /// Whether it may be sent a request at `now`: healthy, not ejected, its breaker not open, its limits not reached.
    pub fn admits(&self, _now: Instant) -> bool {
        true
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
