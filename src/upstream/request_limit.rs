//! A limit of requests under way, with its name, its queue and its time.
//!
//! Path: `snapshot` makes one for each listener, route and upstream that has `limits.in_flight`; `proxy::admit` asks it
//! once a request and holds the permit to the end of the answer. Nobody waits longer than `pending_wait`.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::policy::concurrency::{Entry, Full, Gate, Permit, Queued};
use crate::telemetry::limits::{AdmissionMetrics, Scope};

/// One limit.
#[derive(Debug)]
pub struct RequestLimit {
    gate: Arc<Gate>,
    /// Whose requests it counts.
    pub scope: Scope,
    /// The name of that section.
    pub name: Arc<str>,
    /// How long one waits at most.
    pub patience: Duration,
    metrics: AdmissionMetrics,
}

impl Drop for RequestLimit {
    /// What is limited no more is not under way either; a limit in its place sets the gauges anew.
    fn drop(&mut self) {
        self.metrics.in_flight.set(0);
        self.metrics.pending.set(0);
    }
}

/// Why a request may not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// As many as may are under way, and as many as may are waiting.
    Full,
    /// It has waited as long as it may.
    TimedOut,
}

impl RequestLimit {
    /// Puts a name around `gate`.
    pub fn new(
        gate: Gate,
        patience: Duration,
        (scope, name): (Scope, Arc<str>),
        metrics: AdmissionMetrics,
    ) -> Self {
        Self {
            gate: Arc::new(gate),
            scope,
            name,
            patience,
            metrics,
        }
    }

    /// Asks for a permit, which may have to be waited for.
    ///
    /// # Errors
    ///
    /// [`Denied::Full`].
    pub fn enter(&self) -> Result<Entry, Denied> {
        self.gate.enter().map_err(|Full| {
            self.metrics.full.inc();
            Denied::Full
        })
    }

    /// Waits for the permit, until `deadline` at most. A future that is dropped gives up its place.
    ///
    /// # Errors
    ///
    /// [`Denied::TimedOut`].
    pub async fn wait(&self, queued: Queued, deadline: Option<Instant>) -> Result<Permit, Denied> {
        let until = Instant::now() + self.patience;
        let until = deadline.map_or(until, |deadline| deadline.min(until));
        timeout_at(until, queued).await.map_err(|_| {
            self.metrics.timeout.inc();
            Denied::TimedOut
        })
    }

    /// How many may be under way.
    pub fn limit(&self) -> u32 {
        self.gate.limit()
    }

    /// Sets the gauges.
    pub fn observe(&self) {
        self.metrics.in_flight.set(self.gate.in_flight().into());
        self.metrics.pending.set(self.gate.waiting().into());
    }
}
