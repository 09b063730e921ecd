//! The exporters of spans: one for each section `tracing` that is in force or has requests left.
//!
//! Path: [`super::start`] and [`super::reload`] call `Shared::send_spans` with each snapshot that is put in force;
//! [`super::shutdown`] ends them when the last request is over. An exporter whose section went ends by itself with the
//! last request of its configuration.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Shared;
use crate::snapshot::Snapshot;
use crate::telemetry::trace::export;

/// How long the end may wait for the collector.
const FLUSH: Duration = Duration::from_secs(2);

/// The running exporters.
#[derive(Debug, Default)]
pub(super) struct Exporters {
    tasks: TaskTracker,
    ending: CancellationToken,
}

impl Exporters {
    /// Lets all of them send what waits, and waits for that for a moment.
    pub(super) async fn end(&self) {
        self.ending.cancel();
        self.tasks.close();
        if timeout(FLUSH, self.tasks.wait()).await.is_err() {
            let detail = format!("not within {} s; they are lost", FLUSH.as_secs());
            tracing::warn!(detail, "spans not delivered");
        }
    }
}

impl Shared {
    /// Starts what sends the spans of `next`, unless it runs already. Called within the control runtime.
    pub(super) fn send_spans(&self, previous: Option<&Snapshot>, next: &Snapshot) {
        let Some(tracing) = &next.tracing else {
            return;
        };
        let runs = previous.and_then(|previous| previous.tracing.as_ref());
        if runs.is_some_and(|runs| Arc::ptr_eq(runs, tracing)) {
            return;
        }
        if let Some((queue, target)) = tracing.export() {
            let ending = self.exporters.ending.clone();
            self.exporters
                .tasks
                .spawn(export::run(queue, target, ending));
        }
    }
}
