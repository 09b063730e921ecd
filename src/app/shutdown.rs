//! Draining: stop without losing an answer.
//!
//! Path: `cli` calls [`App::drain`] after a signal. Not ready → connections are told to end with their next answer →
//! after `drain.delay` no more are accepted → what is under way may finish within `drain.timeout` → the rest is cut.

use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::App;
use super::start::end_runtime;
use crate::config::model::Drain;
use crate::telemetry::journal::{Change, Kind};

/// Pace at which the end of the last request is looked for.
const LOOK: Duration = Duration::from_millis(10);

/// How long a handshake that has begun may take to end, where another process takes over the port.
const HANDSHAKES: Duration = Duration::from_millis(200);

/// How long what was cut may take to tell its records.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// How a drain went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Connections that had to be cut.
    pub cut: usize,
}

impl App {
    /// Drains and ends everything. Blocks for `drain.delay` and `drain.timeout` at most, and a moment more.
    pub fn drain(self) -> Drained {
        let limits = self.shared.store.load().config.drain;
        let open = self.open();
        let detail = format!("{open} connections; {} s at most", limits.timeout.as_secs());
        tracing::info!(detail = &*detail, connections = open, "draining");
        self.shared.status.set_ready(false);
        self.note_drain("serving", "draining", detail);
        let drained = self.control.block_on(self.run_drain(limits));
        self.stop();
        tracing::info!(
            detail = format!("{} connections cut", drained.cut),
            cut = drained.cut,
            "stopped"
        );
        drained
    }

    /// Ends everything at once; what is under way is cut.
    pub fn stop(self) {
        self.shared.listeners.lock().stop();
        self.shared.workers.iter().for_each(|worker| worker.stop());
        for thread in self.threads {
            // A worker that panicked has ended, too.
            let _ = thread.join();
        }
        self.shared.log.flush();
        self.control.block_on(self.shared.exporters.end());
        end_runtime(self.control);
    }

    fn note_drain(&self, from: &str, to: &str, cause: String) {
        self.shared.status.journal.append(Change {
            kind: Kind::Drain,
            subject: "process".into(),
            from: from.into(),
            to: to.into(),
            cause,
        });
    }

    fn open(&self) -> usize {
        self.connections().iter().sum()
    }

    async fn run_drain(&self, limits: Drain) -> Drained {
        self.shared
            .workers
            .iter()
            .for_each(|worker| worker.registry.drain());
        sleep(limits.delay).await;
        let deadline = Instant::now() + limits.timeout;
        if self.shared.listeners.lock().turn_away() {
            sleep_until(deadline.min(Instant::now() + HANDSHAKES)).await;
        }
        let acceptors = self.shared.listeners.lock().stop();
        let ended = async {
            // Only what has been handed over is counted.
            for acceptor in acceptors {
                acceptor.wait().await;
            }
            self.emptied().await;
        };
        if timeout_at(deadline, ended).await.is_ok() {
            return Drained { cut: 0 };
        }
        let cut = self.open();
        tracing::warn!(
            detail = format!("{cut} connections were not done in time"),
            cut,
            "drain timed out"
        );
        self.shared.cut.cancel();
        self.shared
            .workers
            .iter()
            .for_each(|worker| worker.registry.cut());
        let _ = timeout_at(Instant::now() + LAST_WORDS, self.emptied()).await;
        Drained { cut }
    }

    async fn emptied(&self) {
        while self.open() > 0 {
            sleep(LOOK).await;
        }
    }
}
