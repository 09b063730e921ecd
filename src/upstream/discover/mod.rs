//! Finds out which endpoints an upstream has, where the file does not say it outright.
//!
//! Path: `app` spawns [`follow_names`] for each upstream with a [`Discovery`], and reads its endpoints file; both change
//! the [`Directory`] and put what it lists into the upstream's members. Nothing here is on a request's path. What was
//! found stays until something better is found: a failure takes no endpoint away.

pub mod directory;
pub mod dns;

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::Upstream;
use super::address::Address;
use super::endpoint::Endpoint;
use super::members::Listed;
use crate::telemetry::journal::Kind;
use crate::telemetry::metrics::Metrics;
use directory::{Answer, Directory, News};
use dns::Dns;

/// Names that are looked up at once for one upstream.
const AT_ONCE: usize = 16;

/// Endpoints that a line of the log names.
const NAMED: usize = 5;

/// Where an endpoint is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Place {
    /// At this address.
    Address(Address),
    /// At every address of this name.
    Name {
        /// As it was written, in lower case.
        host: Arc<str>,
        /// The port.
        port: u16,
    },
}

/// An endpoint as it is written: where it is, and its share relative to the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Where it is.
    pub place: Place,
    /// Its share; that of each address of a name.
    pub weight: NonZeroU32,
}

/// Where the endpoints of an upstream come from.
#[derive(Debug)]
pub struct Discovery {
    /// The file that lists them; `None`: the configuration does.
    pub file: Option<PathBuf>,
    directory: Mutex<Directory>,
    /// Whether the file was read or refused once.
    file_tried: AtomicBool,
    listed: Notify,
}

impl Discovery {
    /// For `targets`, or for what `file` will list. What `previous` had found is known at once.
    pub fn new(
        targets: Vec<Target>,
        file: Option<PathBuf>,
        previous: Option<&Self>,
        now: Instant,
    ) -> Self {
        let mut directory = Directory::default();
        let same_file = previous.filter(|previous| file.is_some() && previous.file == file);
        if let Some(previous) = previous {
            directory = previous.directory.lock().remembered(now.into_std());
        }
        if same_file.is_none() {
            directory.list(targets, now.into_std());
        }
        Self {
            file_tried: AtomicBool::new(file.is_none()),
            file,
            directory: Mutex::new(directory),
            listed: Notify::new(),
        }
    }

    /// What is known now.
    pub fn addresses(&self) -> Vec<Listed> {
        self.directory.lock().addresses()
    }

    /// The name whose address this is; `None`: the address itself is written.
    pub fn host_of(&self, address: &Address) -> Option<Arc<str>> {
        self.directory.lock().host_of(address)
    }

    /// Why endpoints are missing, one line; `None`: nothing is wrong.
    pub fn trouble(&self) -> Option<String> {
        self.directory.lock().trouble()
    }

    /// Whether each source has answered or failed once.
    pub fn is_settled(&self) -> bool {
        self.file_tried.load(Ordering::Acquire) && self.directory.lock().is_settled()
    }
}

/// Told the endpoints that are gone, and whose they were.
pub type Leave = Box<dyn Fn(&Upstream, Vec<Arc<Endpoint>>) + Send + Sync>;

/// Who tends an upstream's endpoints: what [`follow_names`] and the reader of its file need.
pub struct Follower {
    /// The upstream.
    pub upstream: Arc<Upstream>,
    /// Where lookups are counted.
    pub metrics: Arc<Metrics>,
    /// Takes leave of endpoints that are gone.
    pub leave: Leave,
}

impl Follower {
    /// Changes the directory and lets the upstream have what it lists then.
    fn change<T>(&self, change: impl FnOnce(&mut Directory, std::time::Instant) -> T) -> Option<T> {
        let discovery = self.upstream.discovery.as_ref()?;
        let now = Instant::now().into_std();
        let mut directory = discovery.directory.lock();
        let before = directory.addresses();
        let told = change(&mut directory, now);
        let after = directory.addresses();
        if before != after {
            // With the lock held: what is newer is put in last.
            let gone = self.upstream.members.replace(&after, now);
            self.tell(&before, &after);
            (self.leave)(&self.upstream, gone);
        }
        Some(told)
    }

    fn tell(&self, before: &[Listed], after: &[Listed]) {
        let missing = |from: &[Listed], than: &[Listed]| {
            let names = than.iter().filter(|it| !from.contains(it));
            let names: Vec<String> = names.map(|(address, _)| address.to_string()).collect();
            match names.len() {
                0 => String::new(),
                1..=NAMED => names.join(", "),
                more => format!("{more} endpoints"),
            }
        };
        let (added, removed) = (missing(before, after), missing(after, before));
        let upstream = &*self.upstream.name;
        let parts = [("added", added), ("removed", removed)];
        let parts = parts.iter().filter(|(_, names)| !names.is_empty());
        let parts: Vec<String> = parts
            .map(|(word, names)| format!("{word} {names}"))
            .collect();
        let detail = format!("{upstream}: {}", parts.join("; "));
        let turn = [before.len(), after.len()].map(|count| match count {
            1 => "1 endpoint".to_owned(),
            _ => format!("{count} endpoints"),
        });
        let turn = [&*turn[0], &*turn[1]];
        let cause = parts.join("; ");
        self.upstream
            .members
            .note(Kind::Discovery, None, turn, &cause);
        tracing::info!(
            detail,
            upstream,
            endpoints = after.len(),
            "endpoints changed"
        );
    }

    /// Takes the list of the endpoints file.
    pub fn file_read(&self, targets: Vec<Target>) {
        self.change(|directory, now| directory.list(targets, now));
        self.file_tried();
    }

    /// Keeps the list there is; `why` the file could not be taken.
    pub fn file_refused(&self, why: &str) {
        self.change(|directory, _| directory.file_refused(why));
        self.file_tried();
    }

    /// What a failure leaves, to be said behind it.
    pub fn stays(&self) -> &'static str {
        match self.upstream.endpoints().iter().len() {
            0 => "; it has no endpoint",
            _ => "; what was known before stays",
        }
    }

    fn file_tried(&self) {
        if let Some(discovery) = &self.upstream.discovery {
            discovery.file_tried.store(true, Ordering::Release);
            discovery.listed.notify_one();
        }
    }

    fn answered(&self, host: &str, answer: Answer) {
        let Some(Some((result, news))) =
            self.change(|directory, now| directory.answered(host, answer, now))
        else {
            return;
        };
        let upstream = &*self.upstream.name;
        self.metrics.dns_lookup(upstream, result);
        match news {
            Some(News::Fails(error)) => {
                let detail = format!("{upstream} `{host}`: {error}{}", self.stays());
                tracing::warn!(detail, upstream, host, "name not resolved");
            }
            Some(News::Recovers) => {
                let detail = format!("{upstream} `{host}`");
                tracing::info!(detail, upstream, host, "name resolved");
            }
            None => {}
        }
    }
}

/// Looks up the names of the upstream's directory whenever they are due. Never returns.
pub async fn follow_names(follower: Arc<Follower>, dns: Arc<Dns>) {
    let Some(discovery) = &follower.upstream.discovery else {
        return;
    };
    let mut lookups = JoinSet::new();
    let begun = Instant::now().into_std();
    discovery.directory.lock().start_over(begun);
    loop {
        let free = AT_ONCE.saturating_sub(lookups.len());
        let now = Instant::now();
        let (due, next) = discovery.directory.lock().take_due(free, now.into_std());
        for host in due {
            let dns = Arc::clone(&dns);
            lookups.spawn(async move {
                let answer = dns.lookup(&host).await;
                (host, answer)
            });
        }
        // With all slots taken, the next lookup that ends makes room.
        let next = next.filter(|_| lookups.len() < AT_ONCE).map(Instant::from);
        tokio::select! {
            Some(ended) = lookups.join_next() => {
                if let Ok((host, answer)) = ended {
                    follower.answered(&host, answer);
                }
            }
            () = sleep_until(next.unwrap_or(now)), if next.is_some() => {}
            () = discovery.listed.notified() => {}
        }
    }
}
