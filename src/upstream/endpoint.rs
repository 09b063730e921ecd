//! One address of an upstream, with the state that belongs to the address.
//!
//! Path: made by `snapshot`, which hands it on to the next snapshot when the address stays. Shared by all workers.

use std::net::SocketAddr;
use std::num::NonZeroU32;
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
    connections: AtomicUsize,
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
            connections: AtomicUsize::new(0),
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

    /// [`Self::enter`], unless `most` are in flight already.
    pub fn try_enter(self: &Arc<Self>, most: Option<NonZeroU32>) -> Option<InFlight> {
        let Some(most) = most else {
            return Some(self.enter());
        };
        count_up_to(&self.in_flight, most).then(|| InFlight {
            endpoint: Arc::clone(self),
        })
    }

    /// Connections open, of all workers.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Counts one connection until the guard is dropped, unless `most` are open. One that idles at another worker makes
    /// room.
    pub fn open_connection(self: &Arc<Self>, most: Option<NonZeroU32>) -> Option<OpenConnection> {
        let counted = || match most {
            Some(most) => count_up_to(&self.connections, most),
            None => {
                self.connections.fetch_add(1, Ordering::Relaxed);
                true
            }
        };
        (counted() || (self.pool.close_one() && counted())).then(|| OpenConnection {
            endpoint: Arc::clone(self),
        })
    }

    /// Counts one request in flight until the guard is dropped.
    pub fn enter(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight {
            endpoint: Arc::clone(self),
        }
    }
}

fn count_up_to(counter: &AtomicUsize, most: NonZeroU32) -> bool {
    let most = usize::try_from(most.get()).unwrap_or(usize::MAX);
    let more = |count: usize| (count < most).then_some(count + 1);
    counter
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
        .is_ok()
}

/// One open connection to an endpoint.
#[derive(Debug)]
pub struct OpenConnection {
    endpoint: Arc<Endpoint>,
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.endpoint.connections.fetch_sub(1, Ordering::Relaxed);
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
