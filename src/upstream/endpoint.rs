//! One address of an upstream, with the state that belongs to the address.
//!
//! Path: made by [`super::members`] for an address of the file, a name or a list; handed on when the upstream's section
//! changes and the address stays. Shared by all workers.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::address::Address;
use super::pool::Pool;
use crate::policy::outlier::Tally;
use crate::telemetry::metrics::EndpointMetrics;

/// Longest text that is kept of an error, in bytes: an endpoint may have chosen it.
const MAX_TEXT: usize = 200;

/// One address.
#[derive(Debug)]
pub struct Endpoint {
    /// Where to connect.
    pub address: Address,
    /// The address as text, for logs.
    pub label: Arc<str>,
    /// Idle connections.
    pub pool: Pool,
    /// Handles of its metrics.
    pub metrics: EndpointMetrics,
    /// How its requests went, and whether it is ejected for it.
    pub tally: Tally,
    in_flight: AtomicUsize,
    connections: AtomicUsize,
    unhealthy: AtomicBool,
    proven: AtomicBool,
    /// Why it is ejected.
    ejection: Mutex<Option<Arc<str>>>,
    last_error: Mutex<Option<LastError>>,
}

/// The last thing that went wrong at an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastError {
    /// What: `connect: connection refused`. At most 200 bytes.
    pub text: Arc<str>,
    /// When.
    pub at: Instant,
}

/// Whether an endpoint is in service, and why not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Service {
    /// It is.
    In,
    /// Its health checks fail.
    Unhealthy,
    /// It is ejected because of its requests.
    Ejected {
        /// For so long.
        left: Duration,
        /// `5 failures in a row`.
        why: Arc<str>,
    },
}

impl Endpoint {
    /// An endpoint with empty pools for `workers` workers, known since `now`.
    pub fn new(address: Address, workers: usize, metrics: EndpointMetrics, now: Instant) -> Self {
        Self {
            label: address.to_string().into(),
            address,
            pool: Pool::new(workers, metrics.idle.clone()),
            metrics,
            tally: Tally::new(now),
            in_flight: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            unhealthy: AtomicBool::new(false),
            proven: AtomicBool::new(false),
            ejection: Mutex::default(),
            last_error: Mutex::default(),
        }
    }

    /// Whether its health and its ejection allow it a request at `now`. `upstream::members` keeps the endpoints in
    /// service apart, so a pick does not ask; in a panic it does not even want to know.
    pub fn is_in_service(&self, now: Instant) -> bool {
        self.is_healthy() && self.tally.ejected_for(now).is_none()
    }

    /// Whether its health checks pass; also if it has none.
    pub fn is_healthy(&self) -> bool {
        !self.unhealthy.load(Ordering::Relaxed)
    }

    /// Notes what its health checks say. Whoever calls this lets the upstream look again.
    pub fn set_healthy(&self, healthy: bool) {
        self.unhealthy.store(!healthy, Ordering::Relaxed);
    }

    /// Whether it has ever passed a health check: until the first one it counts as healthy without a proof.
    pub fn is_proven(&self) -> bool {
        self.proven.load(Ordering::Relaxed)
    }

    /// Notes that it has passed a health check.
    pub(super) fn set_proven(&self) {
        self.proven.store(true, Ordering::Relaxed);
    }

    /// Notes why it is ejected; nothing when it is not anymore.
    pub(super) fn set_ejection(&self, why: Option<Arc<str>>) {
        *self.ejection.lock() = why;
    }

    /// Whether it is in service at `now`, and why not.
    pub fn service(&self, now: Instant) -> Service {
        if !self.is_healthy() {
            return Service::Unhealthy;
        }
        match self.tally.ejected_for(now) {
            None => Service::In,
            Some(left) => Service::Ejected {
                left,
                why: self.ejection.lock().clone().unwrap_or_default(),
            },
        }
    }

    /// [`Self::service`] in words: `healthy`, `unhealthy (connect: connection refused)`, `ejected 22 s more (…)`.
    pub fn describe(&self, now: Instant) -> String {
        match self.service(now) {
            Service::In => "healthy".into(),
            Service::Unhealthy => match self.last_error() {
                Some(last) => format!("unhealthy ({})", last.text),
                None => "unhealthy".into(),
            },
            Service::Ejected { left, why } => {
                let seconds = left.as_millis().div_ceil(1000);
                format!("ejected {seconds} s more ({why})")
            }
        }
    }

    /// Keeps what went wrong at `now`, shortened.
    pub fn note_error(&self, text: &str, now: Instant) {
        let text = &text[..text.floor_char_boundary(MAX_TEXT)];
        let mut last = self.last_error.lock();
        match &mut *last {
            // The same again: an outage allocates nothing.
            Some(last) if *last.text == *text => last.at = now,
            last => {
                *last = Some(LastError {
                    text: text.into(),
                    at: now,
                });
            }
        }
    }

    /// What went wrong last.
    pub fn last_error(&self) -> Option<LastError> {
        self.last_error.lock().clone()
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

    /// Sets the gauges of its HTTP/2 connections.
    pub fn observe_streams(&self) {
        let (connections, streams) = self.pool.count_streams();
        let size = |count| i64::try_from(count).unwrap_or(i64::MAX);
        self.metrics.http2_connections.set(size(connections));
        self.metrics.http2_streams.set(size(streams));
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
