//! A bounded queue in front of endpoints that are all full.
//!
//! Path: `proxy::admit` joins it when `Upstream::enter` finds no room; every place that becomes free wakes the one who has
//! waited longest. Nobody overtakes: while somebody waits, whoever comes new finds the endpoints full.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::telemetry::limits::AdmissionMetrics;

/// Those who wait for a place at any endpoint of one upstream.
#[derive(Debug)]
pub struct Queue {
    places: u32,
    waiting: AtomicU32,
    freed: Notify,
    /// How long one waits at most.
    pub patience: Duration,
    metrics: AdmissionMetrics,
}

/// A place in the queue; dropping it gives it up.
#[derive(Debug)]
pub struct Place {
    queue: Arc<Queue>,
}

impl Queue {
    /// For so many at once.
    pub fn new(places: u32, patience: Duration, metrics: AdmissionMetrics) -> Self {
        Self {
            places,
            waiting: AtomicU32::new(0),
            freed: Notify::new(),
            patience,
            metrics,
        }
    }

    /// How many wait.
    pub fn waiting(&self) -> u32 {
        self.waiting.load(Ordering::Acquire)
    }

    /// Joins at the end; `None` when it is full.
    pub fn join(self: &Arc<Self>) -> Option<Place> {
        let more = |waiting: u32| (waiting < self.places).then_some(waiting + 1);
        let joined = self
            .waiting
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, more);
        if joined.is_err() {
            self.metrics.full.inc();
            return None;
        }
        self.metrics.pending.inc();
        Some(Place {
            queue: Arc::clone(self),
        })
    }

    /// Somebody has left an endpoint.
    pub fn left(&self) {
        if self.waiting() > 0 {
            self.freed.notify_one();
        }
    }
}

impl Place {
    /// Completes when it is this one's turn to look again. Takes its turn when it is first polled or enabled; dropped
    /// after its turn has come, it passes it on.
    pub fn turn(&self) -> Notified<'_> {
        self.queue.freed.notified()
    }

    /// Counts a wait that was too long.
    pub fn timed_out(&self) {
        self.queue.metrics.timeout.inc();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.queue.metrics.pending.dec();
        self.queue.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}
