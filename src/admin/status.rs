//! What the admin addresses know about the process.
//!
//! Path: `app` keeps it up to date, [`super::handlers`] show it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::Instant;

use super::events::FOLLOWERS;
use crate::snapshot::{Snapshot, Store};
use crate::telemetry::journal::{Change, Journal, Kind};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::time::write_rfc3339;
use crate::upstream::Upstream;

/// A worker whose loop has not turned for this long is stuck: it turns once a second when idle.
const STUCK: Duration = Duration::from_secs(10);

/// Reloads that may be asked for at once.
const REQUESTS: usize = 4;

/// What became of a reload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// In force.
    Applied {
        /// Its number.
        version: u64,
        /// Its short hash.
        hash: Arc<str>,
        /// What is different now, a line each.
        changes: Vec<String>,
        /// Upstreams that did not change, and kept all they had.
        kept: Vec<String>,
    },
    /// The file says what is in force already.
    Unchanged,
    /// Refused; what was in force stays so.
    Refused {
        /// What is wrong, a line each, without the file's text.
        mistakes: Vec<String>,
    },
}

/// A reload that somebody asked for over HTTP.
#[derive(Debug)]
pub struct ReloadRequest {
    /// Where the outcome is awaited.
    pub reply: oneshot::Sender<Outcome>,
}

/// Tells each worker's beats.
pub type Beats = Box<dyn Fn() -> Vec<u64> + Send + Sync>;

/// What the admin addresses show.
pub struct Status {
    /// The snapshot in force.
    pub store: Arc<Store>,
    /// Every metric.
    pub metrics: Arc<Metrics>,
    /// What changed.
    pub journal: Arc<Journal>,
    /// How many more may follow it.
    pub followers: Arc<Semaphore>,
    beats: Beats,
    seen: Mutex<Vec<(u64, Instant)>>,
    ready: AtomicBool,
    reload: Mutex<ReloadStatus>,
    requests: mpsc::Sender<ReloadRequest>,
    receiver: Mutex<Option<mpsc::Receiver<ReloadRequest>>>,
}

impl std::fmt::Debug for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Status")
            .field("ready", &self.ready)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct ReloadStatus {
    version: u64,
    hash: Arc<str>,
    applied_at: String,
    last: Option<LastReload>,
}

#[derive(Debug)]
struct LastReload {
    at: String,
    result: &'static str,
    mistakes: Vec<String>,
}

impl Status {
    /// For the process whose workers' loops `beats` counts.
    pub fn new(
        store: Arc<Store>,
        metrics: Arc<Metrics>,
        journal: Arc<Journal>,
        beats: Beats,
    ) -> Self {
        let (requests, receiver) = mpsc::channel(REQUESTS);
        Self {
            store,
            metrics,
            journal,
            followers: Arc::new(Semaphore::new(FOLLOWERS)),
            beats,
            seen: Mutex::default(),
            ready: AtomicBool::new(false),
            reload: Mutex::default(),
            requests,
            receiver: Mutex::new(Some(receiver)),
        }
    }

    /// Whether requests are welcome.
    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Release);
    }

    /// The reloads asked for over HTTP. A second call gets a queue that never fills.
    pub fn take_requests(&self) -> mpsc::Receiver<ReloadRequest> {
        self.receiver
            .lock()
            .take()
            .unwrap_or_else(|| mpsc::channel(1).1)
    }

    /// Asks for a reload and waits for its outcome; `None` when the process is ending.
    pub async fn request_reload(&self) -> Option<Outcome> {
        let (reply, outcome) = oneshot::channel();
        self.requests.send(ReloadRequest { reply }).await.ok()?;
        outcome.await.ok()
    }

    /// Notes that a configuration is in force.
    pub fn applied(&self, version: u64, hash: &Arc<str>) {
        let at = now();
        let last = Some(LastReload {
            at: at.clone(),
            result: "applied",
            mistakes: Vec::new(),
        });
        let mut reload = self.reload.lock();
        self.journal.append(Change {
            kind: Kind::ConfigApplied,
            subject: "config".into(),
            from: reload.hash.to_string(),
            to: hash.to_string(),
            cause: format!("version {version}"),
        });
        *reload = ReloadStatus {
            version,
            hash: Arc::clone(hash),
            applied_at: at,
            last,
        };
    }

    /// Notes that the file was read and says what is in force.
    pub fn unchanged(&self) {
        self.reload.lock().last = Some(LastReload {
            at: now(),
            result: "unchanged",
            mistakes: Vec::new(),
        });
    }

    /// Notes that a configuration was refused.
    pub fn refused(&self, mistakes: &[String]) {
        let mut reload = self.reload.lock();
        self.journal.append(Change {
            kind: Kind::ConfigRefused,
            subject: "config".into(),
            from: reload.hash.to_string(),
            to: reload.hash.to_string(),
            cause: mistakes.first().cloned().unwrap_or_default(),
        });
        reload.last = Some(LastReload {
            at: now(),
            result: "refused",
            mistakes: mistakes.to_vec(),
        });
    }

    /// Whether every worker's loop makes progress.
    pub fn is_live(&self) -> bool {
        let now = Instant::now();
        let beats = (self.beats)();
        let mut seen = self.seen.lock();
        seen.resize(beats.len(), (u64::MAX, now));
        for (seen, beat) in seen.iter_mut().zip(beats) {
            if seen.0 != beat {
                *seen = (beat, now);
            }
        }
        seen.iter()
            .all(|(_, since)| now.saturating_duration_since(*since) < STUCK)
    }

    /// The checks behind `/ready`, by name.
    pub fn readiness(&self) -> (bool, Value) {
        let serving = self.ready.load(Ordering::Acquire);
        let listeners = !self.store.load().listeners.is_empty();
        let workers = self.is_live();
        let snapshot = self.store.load();
        // What was asked for endpoints has answered or failed once: a name that is missing holds up nobody else.
        let mut sources = snapshot
            .upstreams
            .iter()
            .filter_map(|it| it.discovery.as_ref());
        let discovery = sources.all(|source| source.is_settled());
        let mut checks = json!({
            "serving": serving, "listeners": listeners, "workers": workers, "discovery": discovery,
        });
        let ready = serving && listeners && workers && discovery;
        let app = app_readiness(&snapshot);
        if let Some(app) = &app {
            checks["app"] = app.is_ok().into();
        }
        match app {
            Some(Err(why)) => (
                false,
                json!({ "ready": false, "checks": checks, "reason": why }),
            ),
            _ => (ready, json!({ "ready": ready, "checks": checks })),
        }
    }

    /// The answer of `/config/status`.
    pub fn config(&self) -> Value {
        let status = self.reload.lock();
        let last = status
            .last
            .as_ref()
            .map(|last| json!({ "at": last.at, "result": last.result, "mistakes": last.mistakes }));
        json!({
            "version": status.version,
            "hash": *status.hash,
            "applied_at": status.applied_at,
            "last_reload": last,
        })
    }
}

/// Whether the upstreams that are to decide it are ready; `None`: none is.
fn app_readiness(snapshot: &Snapshot) -> Option<Result<(), String>> {
    let decides =
        |it: &&Arc<Upstream>| (it.health_check.as_ref()).is_some_and(|check| check.readiness);
    let now = Instant::now().into_std();
    let mut deciding = snapshot.upstreams.iter().filter(decides).peekable();
    deciding.peek()?;
    Some(deciding.find_map(|it| it.unready(now)).map_or(Ok(()), Err))
}

fn now() -> String {
    let mut text = Vec::new();
    write_rfc3339(&mut text, SystemTime::now());
    String::from_utf8_lossy(&text).into_owned()
}
