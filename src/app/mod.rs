//! The life of the process: start, reload, drain.
//!
//! Path: `cli` starts an [`App`] and waits for a signal. The app owns the workers (data plane) and one runtime apart
//! from them (control plane: admin, reloads, watching the file), so that probes and metrics answer however busy the
//! workers are.

mod certificates;
pub mod cpus;
pub mod demo;
pub mod listeners;
pub mod logging;
mod memory;
pub mod reload;
pub mod shutdown;
pub mod signals;
mod spans;
pub mod start;
pub mod upkeep;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::Mutex;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::admin::status::{Outcome, Status};
use crate::downstream::worker::Worker;
use crate::snapshot::Store;
use crate::snapshot::compile::Environment;
use crate::telemetry::writer::LineWriter;
use listeners::Listeners;
use reload::Trigger;
use spans::Exporters;
use upkeep::Upkeep;

/// A running proxy.
#[derive(Debug)]
pub struct App {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    control: Runtime,
    triggers: mpsc::Sender<Trigger>,
}

/// What the parts of the control plane have in common.
#[derive(Debug)]
pub struct Shared {
    path: PathBuf,
    store: Arc<Store>,
    environment: Environment,
    workers: Arc<[Arc<Worker>]>,
    listeners: Mutex<Listeners>,
    status: Arc<Status>,
    log: LineWriter,
    cut: CancellationToken,
    upkeep: Upkeep,
    exporters: Exporters,
}

impl App {
    /// Where the listener of this name is bound, if it is an IP address.
    pub fn listener_address(&self, name: &str) -> Option<SocketAddr> {
        self.shared.listeners.lock().address(name)
    }

    /// Where probes and metrics are served, if it is an IP address.
    pub fn probes_address(&self) -> Option<SocketAddr> {
        self.shared.listeners.lock().probes_address()?.socket()
    }

    /// Where views and changes are served, if it is an IP address.
    pub fn control_address(&self) -> Option<SocketAddr> {
        self.shared.listeners.lock().control_address()?.socket()
    }

    /// Open client connections, by worker.
    pub fn connections(&self) -> Vec<usize> {
        self.shared
            .workers
            .iter()
            .map(|worker| worker.load())
            .collect()
    }

    /// Reads the file again and waits for the outcome; `None` when the app is ending.
    pub fn reload(&self) -> Option<Outcome> {
        let (reply, outcome) = oneshot::channel();
        self.triggers
            .blocking_send(Trigger {
                cause: reload::Cause::Api,
                reply: Some(reply),
            })
            .ok()?;
        outcome.blocking_recv().ok()
    }
}
