//! A configuration takes the place of another, as a whole or not at all.
//!
//! Path: `config::watch`, SIGHUP and `POST /reload` send a [`Trigger`]; `serve` handles one after the other on the
//! control runtime: read → check → compile → bind → publish → drain what was removed. Up to `publish` every step can
//! fail and leaves nothing behind; from there on none can.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{mpsc, oneshot};

use super::Shared;
use super::listeners::Plan;
use crate::admin::server::{AdminServer, AdminSocket, Role};
use crate::admin::status::Outcome;
use crate::config::diagnostics::{Diagnostic, Diagnostics};
use crate::config::model::{Config, LogOutput};
use crate::config::source::Source;
use crate::config::{self, render};
use crate::snapshot::compile::{compile, read_again};
use crate::snapshot::{Snapshot, check, diff};
use crate::telemetry::metrics::ReloadResult;
use crate::telemetry::writer::Output;

/// A request to read the file again.
#[derive(Debug)]
pub struct Trigger {
    /// Who asks.
    pub cause: Cause,
    /// Where the outcome is awaited.
    pub reply: Option<oneshot::Sender<Outcome>>,
}

/// Who asks for a reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The file changed.
    File,
    /// SIGHUP.
    Signal,
    /// `POST /reload`.
    Api,
}

/// Upstreams that the log names when they are kept; more names tell nobody more.
const NAMED: usize = 10;

/// A file that was read and found sound.
#[derive(Debug)]
pub struct Loaded {
    /// Its text.
    pub source: Source,
    /// Its meaning.
    pub config: Config,
    /// Warnings.
    pub diagnostics: Diagnostics,
}

/// Why a file was not taken.
#[derive(Debug)]
pub enum Refusal {
    /// It could not be read at all.
    Unreadable(String),
    /// It has mistakes.
    Mistaken(Box<(Source, Diagnostics)>),
}

impl Refusal {
    /// `diagnostics` are about `source`.
    pub fn mistaken(source: Source, diagnostics: Diagnostics) -> Self {
        Self::Mistaken(Box::new((source, diagnostics)))
    }

    /// `mistakes` were found about `source` after it had been read.
    pub fn of(source: Source, mistakes: Vec<Diagnostic>) -> Self {
        let mut diagnostics = Diagnostics::default();
        mistakes
            .into_iter()
            .for_each(|mistake| diagnostics.push(mistake));
        Self::mistaken(source, diagnostics)
    }

    /// A line for each mistake, without the file's text.
    pub fn lines(&self) -> Vec<String> {
        match self {
            Self::Unreadable(message) => vec![message.clone()],
            Self::Mistaken(mistaken) => {
                let (source, diagnostics) = &**mistaken;
                let lines = diagnostics.iter();
                lines
                    .map(|diagnostic| render::one_line(source, diagnostic))
                    .collect()
            }
        }
    }
}

/// Reads and checks the file at `path`.
///
/// # Errors
///
/// See [`Refusal`].
pub fn load(path: &Path) -> Result<Loaded, Refusal> {
    let source = config::load(path).map_err(|error| Refusal::Unreadable(error.to_string()))?;
    let (config, mut diagnostics) = config::read(&source, &config::process_env);
    check::check(&config, &mut diagnostics);
    diagnostics.sort();
    if diagnostics.has_errors() {
        return Err(Refusal::mistaken(source, diagnostics));
    }
    Ok(Loaded {
        source,
        config,
        diagnostics,
    })
}

/// The short form of a text's hash that logs and metrics show.
pub fn short_hash(text: &str) -> Arc<str> {
    let hash = format!("{:016x}", config::content_hash(text));
    hash.get(..6).unwrap_or(&hash).into()
}

/// Handles triggers until the app ends.
pub(super) async fn serve(shared: Arc<Shared>, mut triggers: mpsc::Receiver<Trigger>) {
    while let Some(trigger) = triggers.recv().await {
        let (blocking, cause) = (Arc::clone(&shared), trigger.cause);
        // Reading and compiling a large file takes a while; probes are answered meanwhile.
        let outcome = tokio::task::spawn_blocking(move || blocking.reload(cause)).await;
        let outcome = outcome.unwrap_or_else(|_| Outcome::Refused {
            mistakes: vec!["the proxy has a defect: it could not finish reading the file".into()],
        });
        if let Some(reply) = trigger.reply {
            // Whoever asked may have gone.
            let _ = reply.send(outcome);
        }
    }
}

impl Shared {
    fn reload(&self, cause: Cause) -> Outcome {
        let begun = now();
        let outcome = load(&self.path).map_or_else(
            |refusal| Outcome::Refused {
                mistakes: refusal.lines(),
            },
            |loaded| self.replace(loaded),
        );
        self.tell(cause, &outcome, begun.elapsed());
        outcome
    }

    fn replace(&self, loaded: Loaded) -> Outcome {
        let previous = self.store.load();
        if loaded.config == previous.config {
            // The text is the same, but the certificates that it names may have been renewed.
            read_again(&previous, &self.environment);
            return Outcome::Unchanged;
        }
        let changes = diff::changes(&previous.config, &loaded.config);
        let hash = short_hash(&loaded.source.text);
        let next = Arc::new(compile(
            loaded.config,
            hash,
            Some(&previous),
            &self.environment,
        ));
        match self.bind(&next, Some(&previous)) {
            Ok(bound) => self.publish(&previous, &next, bound, changes),
            Err(mistakes) => Outcome::Refused {
                mistakes: Refusal::of(loaded.source, mistakes).lines(),
            },
        }
    }

    /// Opens and binds what `next` needs.
    pub(super) fn bind(
        &self,
        next: &Snapshot,
        previous: Option<&Snapshot>,
    ) -> Result<Bound, Vec<Diagnostic>> {
        let plan = self.listeners.lock().plan(next, self)?;
        let output = match previous {
            Some(previous) if previous.config.access_log == next.config.access_log => None,
            _ => open_log(&next.config)?,
        };
        Ok(Bound { plan, output })
    }

    fn publish(
        &self,
        previous: &Snapshot,
        next: &Arc<Snapshot>,
        bound: Bound,
        changes: Vec<String>,
    ) -> Outcome {
        self.store.publish(Arc::clone(next));
        self.settle(next, bound);
        self.keep_up(Some(previous), next);
        self.follow_certificates(next);
        self.send_spans(Some(previous), next);
        let gone = previous.routes_gone(next);
        self.environment.metrics.forget_routes(&gone);
        for (upstream, endpoint) in previous.breakers_gone(next) {
            self.environment
                .metrics
                .forget_breaker(&upstream, &endpoint);
        }
        Outcome::Applied {
            version: next.version,
            hash: Arc::clone(&next.hash),
            changes,
            kept: previous.upstreams_kept(next),
        }
    }

    /// What follows once `next` is in force. Cannot fail.
    pub(super) fn settle(&self, next: &Snapshot, bound: Bound) {
        if let Some(output) = bound.output {
            self.log.redirect(output);
        }
        let serve = |socket: AdminSocket, role: Role| {
            AdminServer::start(socket, role, Arc::clone(&self.status))
        };
        let gone = self.listeners.lock().apply(bound.plan, serve);
        for worker in self.workers.iter() {
            gone.iter()
                .for_each(|id| worker.registry.drain_listener(*id));
        }
        let since_epoch = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let seconds = i64::try_from(since_epoch.as_secs()).unwrap_or(i64::MAX);
        self.environment
            .metrics
            .config_in_force(next.version, &next.hash, seconds);
        self.status.applied(next.version, &next.hash);
    }

    fn tell(&self, cause: Cause, outcome: &Outcome, took: Duration) {
        let millis = took.as_millis();
        match outcome {
            Outcome::Applied {
                version,
                hash,
                changes,
                kept,
            } => {
                self.environment.metrics.reload(ReloadResult::Applied);
                let count = changes.len();
                let plural = if count == 1 { "" } else { "s" };
                let detail =
                    format!("version {version} ({hash}) in {millis} ms, {count} change{plural}");
                tracing::info!(detail, version, hash = &**hash, cause = ?cause, "config applied");
                changes
                    .iter()
                    .for_each(|change| tracing::info!(detail = change, "  changed"));
                if !kept.is_empty() {
                    let shown = kept.len().min(NAMED);
                    let more = match kept.len() - shown {
                        0 => String::new(),
                        more => format!(" and {more} more"),
                    };
                    let names = kept.get(..shown).unwrap_or_default().join(", ");
                    let detail = format!("pools, turns and breakers of {names}{more}");
                    tracing::info!(detail, "  kept");
                }
            }
            Outcome::Unchanged => {
                self.environment.metrics.reload(ReloadResult::Unchanged);
                self.status.unchanged();
                if cause != Cause::File {
                    tracing::info!(
                        detail = "the file says what is in force already",
                        "config unchanged"
                    );
                }
            }
            Outcome::Refused { mistakes } => {
                self.environment.metrics.reload(ReloadResult::Refused);
                self.status.refused(mistakes);
                let current = self.store.load();
                let detail = format!(
                    "{} in {}; version {} ({}) stays in force",
                    config::diagnostics::counted(mistakes.len(), "mistake"),
                    self.path.display(),
                    current.version,
                    current.hash
                );
                tracing::warn!(detail, version = current.version, "config refused");
                mistakes
                    .iter()
                    .for_each(|mistake| tracing::warn!(detail = mistake, "  mistake"));
            }
        }
    }
}

/// What was bound and opened for a snapshot that is not in force yet.
#[derive(Debug)]
pub(super) struct Bound {
    plan: Plan,
    output: Option<Output>,
}

fn open_log(config: &Config) -> Result<Option<Output>, Vec<Diagnostic>> {
    match &config.access_log.output {
        LogOutput::Off => Ok(None),
        LogOutput::Stdout => Ok(Some(Output::Stdout)),
        LogOutput::File(path) => Output::file(Path::new(&path.value))
            .map(Some)
            .map_err(|error| {
                let message = format!("the access log `{}` cannot be written: {error}", path.value);
                let remedy = "name a file in a directory that exists and may be written";
                vec![Diagnostic::error(message).at(path.at).label(remedy)]
            }),
    }
}

/// Durations for people only; the paused clock of tests does not matter here.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

impl super::App {
    /// Opens the access log's file anew, because somebody moved it away; what cannot be opened stays as it is.
    pub(super) fn reopen_log(&self) {
        match open_log(&self.shared.store.load().config) {
            Ok(None) => {}
            Ok(Some(output)) => {
                self.shared.log.redirect(output);
                tracing::info!("access log reopened");
            }
            Err(mistakes) => {
                for mistake in mistakes {
                    let detail = mistake.message;
                    tracing::warn!(detail, "access log not reopened");
                }
            }
        }
    }
}
