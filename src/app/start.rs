//! From a file to a running proxy.
//!
//! Path: `cli` → here. Whatever fails is told before the first request is taken.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::Mutex;
use thiserror::Error;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::cpus::{self, Workers};
use super::listeners::Listeners;
use super::reload::{self, Cause, Loaded, Refusal, Trigger};
use super::spans::Exporters;
use super::upkeep::Upkeep;
use super::{App, Shared, memory};
use crate::admin::status::{ReloadRequest, Status};
use crate::config::diagnostics::counted;
use crate::config::{content_hash, render, watch};
use crate::downstream::worker::Worker;
use crate::proxy::Engine;
use crate::snapshot::Store;
use crate::snapshot::compile::{Environment, compile};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::writer::{LineBuffer, LineWriter, Output};
use crate::units::place::Place;
use crate::upstream::replay_room::{self, ReplayRoom};

/// Triggers that may wait: each says the same, so more than a few add nothing.
const TRIGGERS: usize = 8;

/// Why the proxy does not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The file is not taken; the text is for people.
    #[error("{0}")]
    Config(String),
    /// The system has no thread or no descriptor to give.
    #[error("the system refuses to start a thread or a reactor: {0}")]
    System(#[from] io::Error),
    /// Two metrics collide: a defect.
    #[error("the metrics cannot be registered: {0}")]
    Metrics(#[from] prometheus::Error),
}

impl App {
    /// Starts serving what the file at `path` says.
    ///
    /// # Errors
    ///
    /// See [`StartError`]; nothing is left running then.
    pub fn start(path: &Path) -> Result<Self, StartError> {
        let begun = tokio::time::Instant::now();
        let loaded = reload::load(path).map_err(|refusal| StartError::Config(explain(&refusal)))?;
        let configured = loaded.config.workers.map(|workers| workers.get() as usize);
        let workers = cpus::workers(configured, Path::new("/"));
        let (shared, threads) = build(path.to_path_buf(), &loaded, workers)?;
        let control = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("control")
            .enable_all()
            .build()?;
        let (triggers, queue) = mpsc::channel(TRIGGERS);
        {
            let _context = control.enter();
            let snapshot = shared.store.load();
            match shared.bind(&snapshot, None) {
                Ok(bound) => {
                    shared.settle(&snapshot, bound);
                    shared.keep_up(None, &snapshot);
                    shared.follow_certificates(&snapshot);
                    shared.send_spans(None, &snapshot);
                }
                Err(mistakes) => {
                    shared.workers.iter().for_each(|worker| worker.stop());
                    return Err(StartError::Config(explain(&Refusal::of(
                        loaded.source,
                        mistakes,
                    ))));
                }
            }
        }
        let app = Self {
            shared,
            threads,
            control,
            triggers,
        };
        app.watch(queue, content_hash(&loaded.source.text));
        app.announce(&loaded, workers, begun.elapsed().as_millis());
        Ok(app)
    }

    /// Starts what may ask for reloads, and what does them.
    fn watch(&self, queue: mpsc::Receiver<Trigger>, known: u64) {
        self.control
            .spawn(reload::serve(Arc::clone(&self.shared), queue));
        let triggers = self.triggers.clone();
        self.control
            .spawn(watch::watch(self.shared.path.clone(), known, move || {
                // When the queue is full, a reload is coming anyway.
                let _ = triggers.try_send(Trigger {
                    cause: Cause::File,
                    reply: None,
                });
            }));
        let metrics = Arc::clone(&self.shared.environment.metrics);
        let store = Arc::clone(&self.shared.store);
        self.control.spawn(memory::watch(store, metrics));
        let triggers = self.triggers.clone();
        let requests = self.shared.status.take_requests();
        self.control.spawn(pass_on(requests, triggers));
        self.shared.status.set_ready(true);
    }

    fn announce(&self, loaded: &Loaded, workers: Workers, millis: u128) {
        let snapshot = self.shared.store.load();
        let config = &snapshot.config;
        let detail = format!(
            "version {} ({}) {}: {}, {}, {}",
            snapshot.version,
            snapshot.hash,
            loaded.source.name,
            counted(config.listeners.len(), "listener"),
            counted(config.routes.len(), "route"),
            counted(config.upstreams.len(), "upstream"),
        );
        tracing::info!(
            detail,
            version = snapshot.version,
            hash = &*snapshot.hash,
            "config applied"
        );
        for warning in loaded.diagnostics.iter() {
            tracing::warn!(
                detail = render::one_line(&loaded.source, warning),
                "config warning"
            );
        }
        tracing::info!(detail = %workers, "workers");
        let listeners = self.shared.listeners.lock();
        for (name, address) in listeners.addresses() {
            tracing::info!(
                detail = format!("{name} {address} (http1, http2)"),
                listener = name,
                "listening"
            );
        }
        let shown =
            |address: Option<&Place>| address.map_or("off".into(), |address| address.to_string());
        let detail = format!(
            "in {millis} ms; probes and metrics {}, control {}",
            shown(listeners.probes_address()),
            shown(listeners.control_address())
        );
        tracing::info!(detail, "ready");
    }
}

/// Everything but sockets.
fn build(
    path: PathBuf,
    loaded: &Loaded,
    workers: Workers,
) -> Result<(Arc<Shared>, Vec<JoinHandle<()>>), StartError> {
    let metrics = Arc::new(Metrics::new()?);
    let environment = Environment {
        metrics: Arc::clone(&metrics),
        journal: Arc::default(),
        workers: workers.count.get(),
    };
    let hash = reload::short_hash(&loaded.source.text);
    let store = Arc::new(Store::new(compile(
        loaded.config.clone(),
        hash,
        None,
        &environment,
    )));
    let log = LineWriter::start(Output::Stdout, metrics.access_log_dropped())?;
    let (upgrades, cut) = (TaskTracker::new(), CancellationToken::new());
    let replay_room = Arc::new(ReplayRoom::new(replay_room::CAPACITY));
    let mut started: Vec<(Arc<Worker>, JoinHandle<()>)> = Vec::new();
    for worker in 0..workers.count.get() {
        let engine = Engine {
            worker,
            snapshots: Arc::clone(&store),
            log: LineBuffer::new(log.clone()),
            upgrades: upgrades.clone(),
            cut: cut.clone(),
            replay_room: Arc::clone(&replay_room),
        };
        started.push(Worker::start(engine)?);
    }
    let (workers, threads): (Vec<_>, Vec<_>) = started.into_iter().unzip();
    let workers: Arc<[Arc<Worker>]> = workers.into();
    metrics.watch_workers({
        let workers = Arc::clone(&workers);
        Box::new(move || workers.iter().map(|worker| worker.busy()).collect())
    });
    let beats = {
        let workers = Arc::clone(&workers);
        move || workers.iter().map(|worker| worker.beats()).collect()
    };
    let journal = Arc::clone(&environment.journal);
    let status = Status::new(Arc::clone(&store), metrics, journal, Box::new(beats));
    let status = Arc::new(status);
    let shared = Shared {
        path,
        store,
        environment,
        workers,
        listeners: Mutex::new(Listeners::default()),
        status,
        log,
        cut,
        upkeep: Upkeep::default(),
        exporters: Exporters::default(),
    };
    Ok((Arc::new(shared), threads))
}

/// `POST /reload` → reload → answer.
async fn pass_on(mut requests: mpsc::Receiver<ReloadRequest>, triggers: mpsc::Sender<Trigger>) {
    while let Some(request) = requests.recv().await {
        let (reply, outcome) = tokio::sync::oneshot::channel();
        if triggers
            .send(Trigger {
                cause: Cause::Api,
                reply: Some(reply),
            })
            .await
            .is_err()
        {
            return;
        }
        if let Ok(outcome) = outcome.await {
            // Whoever asked may have gone.
            let _ = request.reply.send(outcome);
        }
    }
}

/// The mistakes as a person at a terminal reads them.
fn explain(refusal: &Refusal) -> String {
    match refusal {
        Refusal::Unreadable(message) => format!("error: {message}"),
        Refusal::Mistaken(mistaken) => {
            let (source, diagnostics) = &**mistaken;
            let terminal = std::io::stderr().is_terminal();
            let colour = if terminal {
                render::Colour::Always
            } else {
                render::Colour::Never
            };
            let text = render::human(source, diagnostics, colour);
            format!(
                "{}\n\n{}; nothing was started",
                text.trim_end(),
                diagnostics.summary()
            )
        }
    }
}

/// Keeps a runtime from being dropped inside another one.
pub(super) fn end_runtime(runtime: Runtime) {
    runtime.shutdown_timeout(std::time::Duration::from_millis(200));
}
