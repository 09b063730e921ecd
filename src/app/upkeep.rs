//! What upstreams need beside requests: lookups of names, their endpoints files, health checks.
//!
//! Path: [`super::start`] and [`super::reload`] call `Shared::keep_up` with each snapshot that is put in force. The
//! tasks run on the control runtime, and each belongs to one upstream: an upstream that stays keeps its tasks and all
//! they know, one that changed gets new ones, those of one that went are ended. A name or a file that is missing stops
//! nothing: the upstream has no endpoints until it is there.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::Shared;
use super::certificates::Certificates;
use crate::config::{self, LoadError, render, watch};
use crate::policy::retry::NotRetried;
use crate::snapshot::Snapshot;
use crate::snapshot::compile::{dns, targets};
use crate::telemetry::health::FileResult;
use crate::upstream::Upstream;
use crate::upstream::discover::directory::MAX_ENDPOINTS;
use crate::upstream::discover::dns::{Dns, DnsSettings};
use crate::upstream::discover::{Follower, Target, follow_names};
use crate::upstream::health;

/// Health checks under way at once; more wait for a moment.
const CHECKS: usize = 64;

/// Mistakes of an endpoints file that are told.
const TOLD: usize = 3;

type Task = AbortOnDropHandle<()>;

/// The tasks.
#[derive(Debug)]
pub struct Upkeep {
    tended: Mutex<Vec<Tended>>,
    dns: Mutex<Option<(DnsSettings, Arc<Dns>)>>,
    slots: Arc<Semaphore>,
    /// Follows the files of TLS.
    pub(super) certificates: Certificates,
}

#[derive(Debug)]
struct Tended {
    upstream: Arc<Upstream>,
    discovery: Vec<Task>,
    /// Held for its end.
    _checks: Option<Task>,
}

impl Default for Upkeep {
    fn default() -> Self {
        Self {
            tended: Mutex::default(),
            dns: Mutex::default(),
            slots: Arc::new(Semaphore::new(CHECKS)),
            certificates: Certificates::default(),
        }
    }
}

impl Shared {
    /// Ends what belongs to `previous` alone and starts what `next` needs. Called within the control runtime.
    pub(super) fn keep_up(&self, previous: Option<&Snapshot>, next: &Snapshot) {
        let mut tended = self.upkeep.tended.lock();
        let of = |snapshot: &Snapshot| -> HashSet<_> {
            snapshot.upstreams.iter().map(Arc::as_ptr).collect()
        };
        let (old, new) = (previous.map(of).unwrap_or_default(), of(next));
        tended.retain(|it| new.contains(&Arc::as_ptr(&it.upstream)));
        if let Some(previous) = previous {
            for upstream in &previous.upstreams {
                if !new.contains(&Arc::as_ptr(upstream)) {
                    upstream.members.close();
                }
            }
            self.leave(previous, next);
        }
        let dns = self.dns(next);
        for it in tended.iter_mut().filter(|_| dns.is_new) {
            it.discovery = self.discover(&it.upstream, &dns.resolver);
        }
        for upstream in &next.upstreams {
            if !old.contains(&Arc::as_ptr(upstream)) {
                self.adopt(upstream);
                tended.extend(self.tend(upstream, &dns.resolver));
            }
        }
    }

    /// Takes leave of the endpoints that `next` does not have.
    fn leave(&self, previous: &Snapshot, next: &Snapshot) {
        let gone = previous.endpoints_gone(next);
        self.workers.iter().for_each(|worker| worker.retire(&gone));
        let series = |snapshot: &Snapshot| -> HashSet<(Arc<str>, Arc<str>)> {
            let of = |upstream: &Arc<Upstream>| {
                let set = upstream.endpoints();
                let labels = set
                    .iter()
                    .map(|it| (Arc::clone(&upstream.name), Arc::clone(&it.label)));
                labels.collect::<Vec<_>>()
            };
            snapshot.upstreams.iter().flat_map(of).collect()
        };
        let metrics = &self.environment.metrics;
        for (upstream, endpoint) in series(previous).difference(&series(next)) {
            metrics.forget_endpoint(upstream, endpoint);
        }
        let names: HashSet<&str> = next.upstreams.iter().map(|it| &*it.name).collect();
        for upstream in &previous.upstreams {
            if !names.contains(&*upstream.name) {
                metrics.forget_upstream(&upstream.name);
                let reasons = NotRetried::ALL.map(NotRetried::as_str);
                metrics.forget_retries(&upstream.name, &reasons);
            }
        }
    }

    /// `None`: there is nothing to do for it.
    fn tend(&self, upstream: &Arc<Upstream>, resolver: &Option<Arc<Dns>>) -> Option<Tended> {
        if upstream.health_check.is_none() && upstream.discovery.is_none() {
            return None;
        }
        let metrics = &self.environment.metrics;
        let checks = upstream.health_check.is_some().then(|| {
            let slots = Arc::clone(&self.upkeep.slots);
            let metrics = Arc::clone(metrics);
            spawn(health::tend(Arc::clone(upstream), metrics, slots))
        });
        Some(Tended {
            upstream: Arc::clone(upstream),
            discovery: self.discover(upstream, resolver),
            _checks: checks,
        })
    }

    /// Endpoints may bring a state with them that nobody here would ever change again.
    fn adopt(&self, upstream: &Upstream) {
        for endpoint in upstream.endpoints().iter() {
            if upstream.health_check.is_none() && !endpoint.is_healthy() {
                endpoint.set_healthy(true);
                let metrics = &self.environment.metrics;
                metrics.endpoint_unchecked(&upstream.name, &endpoint.label);
            }
            if upstream.outlier.is_none() {
                endpoint.tally.readmit();
            }
        }
        upstream.members.refresh(Instant::now().into_std());
    }

    fn discover(&self, upstream: &Arc<Upstream>, resolver: &Option<Arc<Dns>>) -> Vec<Task> {
        let (Some(discovery), Some(resolver)) = (&upstream.discovery, resolver) else {
            return Vec::new();
        };
        let (workers, metrics) = (
            Arc::clone(&self.workers),
            Arc::clone(&self.environment.metrics),
        );
        let follower = Arc::new(Follower {
            upstream: Arc::clone(upstream),
            metrics: Arc::clone(&metrics),
            leave: Box::new(move |upstream, gone| {
                workers.iter().for_each(|worker| worker.retire(&gone));
                for endpoint in gone {
                    metrics.forget_endpoint(&upstream.name, &endpoint.label);
                }
            }),
        });
        let names = spawn(follow_names(Arc::clone(&follower), Arc::clone(resolver)));
        let file = discovery.file.as_ref().map(|file| {
            let directory = self.path.parent().unwrap_or(Path::new("."));
            spawn(follow_file(follower, directory.join(file)))
        });
        [names].into_iter().chain(file).collect()
    }

    /// The resolver, if anybody needs one.
    fn dns(&self, next: &Snapshot) -> Resolver {
        let settings = dns(&next.config.dns);
        let mut current = self.upkeep.dns.lock();
        let needed = next.upstreams.iter().any(|it| it.discovery.is_some());
        let same = current
            .as_ref()
            .is_some_and(|(known, _)| *known == settings);
        if needed && !same {
            let resolver = Arc::new(Dns::new(&settings));
            *current = Some((settings, resolver));
        }
        Resolver {
            resolver: current.as_ref().map(|(_, resolver)| Arc::clone(resolver)),
            is_new: needed && !same,
        }
    }
}

struct Resolver {
    resolver: Option<Arc<Dns>>,
    is_new: bool,
}

fn spawn(future: impl Future<Output = ()> + Send + 'static) -> Task {
    AbortOnDropHandle::new(tokio::spawn(future))
}

/// Reads the endpoints file at `path` at once and after each change. Never returns.
async fn follow_file(follower: Arc<Follower>, path: PathBuf) {
    // No content has this hash, so the first look is a change.
    let unread = 0;
    watch::watch(path.clone(), unread, move || read_file(&follower, &path)).await;
}

fn read_file(follower: &Follower, path: &Path) {
    let upstream = &*follower.upstream.name;
    let result = match read_list(path) {
        Ok(targets) => {
            follower.file_read(targets);
            FileResult::Ok
        }
        Err(mistakes) => {
            let stays = follower.stays();
            for mistake in mistakes.iter().take(TOLD) {
                let detail = format!("{upstream}: {mistake}{stays}");
                tracing::warn!(detail, upstream, "endpoints file refused");
            }
            follower.file_refused(mistakes.first().map_or("", String::as_str));
            FileResult::Refused
        }
    };
    follower.metrics.endpoints_file_read(upstream, result);
}

fn read_list(path: &Path) -> Result<Vec<Target>, Vec<String>> {
    let source = config::load(path).map_err(|error| match error {
        LoadError::Missing(path) => vec![format!("{}: this file does not exist", path.display())],
        other => vec![other.to_string()],
    })?;
    let list = config::read_endpoints(&source, &config::process_env).map_err(|mistakes| {
        let lines = mistakes.iter().map(|it| render::one_line(&source, it));
        lines.collect::<Vec<_>>()
    })?;
    if list.len() > MAX_ENDPOINTS {
        let count = list.len();
        let name = &source.name;
        return Err(vec![format!(
            "{name}: this list has {count} endpoints; at most {MAX_ENDPOINTS} are allowed"
        )]);
    }
    Ok(targets(&list))
}
