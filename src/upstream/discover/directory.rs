//! What is known about an upstream's endpoints: the list, and the addresses of the names in it.
//!
//! Path: [`super::Follower`] tells it what was read and answered, and takes the addresses. No I/O, `now` is an argument.
//!
//! An answer is used for its TTL, between [`MIN_TTL`] and [`MAX_TTL`]. A failure, a name that is gone included, takes
//! nothing away: a server that has lost its zone is more frequent than a service that has lost all its instances, and
//! dead addresses are for health checks and retries to find. It is asked again after 1 s, 2 s, 4 s … up to 30 s.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Place, Target};
use crate::telemetry::health::LookupResult;
use crate::upstream::address::Address;
use crate::upstream::members::Listed;

/// Endpoints of one upstream, at most: what lists more lies, or should be split.
pub const MAX_ENDPOINTS: usize = 1_000;

/// A shorter TTL, 0 included, is taken for this.
pub const MIN_TTL: Duration = Duration::from_secs(1);

/// A longer TTL is taken for this.
pub const MAX_TTL: Duration = Duration::from_secs(3600);

const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(30);

/// What a lookup of one name brought, by family: IPv4, IPv6.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer(pub [FamilyAnswer; 2]);

/// What it brought for one family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FamilyAnswer {
    /// The configuration does not want it.
    NotAsked,
    /// The addresses, in order and none twice, and for how long.
    Addresses(Vec<IpAddr>, Duration),
    /// The name has none of this family.
    Empty,
    /// Nothing is known.
    Failed(LookupResult, String),
}

/// What is worth a line in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// It fails now, or otherwise than before.
    Fails(String),
    /// It fails no longer.
    Recovers,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Directory {
    targets: Vec<Target>,
    names: HashMap<Arc<str>, Name>,
    file_error: Option<String>,
}

#[derive(Debug, Clone)]
struct Name {
    families: [Vec<IpAddr>; 2],
    error: Option<String>,
    failures: u32,
    /// When to ask again; `None` while it is being asked.
    due: Option<Instant>,
    answered: bool,
}

impl Name {
    fn new(now: Instant) -> Self {
        Self {
            families: Default::default(),
            error: None,
            failures: 0,
            due: Some(now),
            answered: false,
        }
    }

    fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.families.iter().flatten().copied()
    }

    /// Keeps what is good in `answer`; how it went, why not, and how long the rest is good.
    fn take(&mut self, answer: Answer) -> (LookupResult, Option<String>, Duration) {
        let found = (answer.0.iter()).any(|it| matches!(it, FamilyAnswer::Addresses(..)));
        let (mut failed, mut ttl) = (None, MAX_TTL);
        for (known, answer) in self.families.iter_mut().zip(answer.0) {
            match answer {
                FamilyAnswer::NotAsked => known.clear(),
                FamilyAnswer::Empty if found => known.clear(),
                FamilyAnswer::Empty => {}
                FamilyAnswer::Addresses(addresses, good_for) => {
                    *known = addresses;
                    ttl = ttl.min(good_for.max(MIN_TTL));
                }
                FamilyAnswer::Failed(result, error) => failed = failed.or(Some((result, error))),
            }
        }
        match failed {
            Some((result, error)) => (result, Some(error), ttl),
            None if found => (LookupResult::Ok, None, ttl),
            None => {
                let error = "the name has no addresses".to_owned();
                (LookupResult::NoAddress, Some(error), ttl)
            }
        }
    }
}

impl Directory {
    /// The same knowledge, for an upstream whose section changed: all names are asked again at once.
    pub fn remembered(&self, now: Instant) -> Self {
        let names = self.names.iter().map(|(host, name)| {
            let fresh = Name {
                due: Some(now),
                ..name.clone()
            };
            (Arc::clone(host), fresh)
        });
        Self {
            targets: self.targets.clone(),
            names: names.collect(),
            file_error: None,
        }
    }

    /// The first name of the list that has this address.
    pub fn host_of(&self, address: &Address) -> Option<Arc<str>> {
        let Address::Socket(address) = address else {
            return None;
        };
        self.targets.iter().find_map(|target| match &target.place {
            Place::Name { host, port } if *port == address.port() => {
                let name = self.names.get(host)?;
                let found = name.addresses().any(|ip| ip == address.ip());
                found.then(|| Arc::clone(host))
            }
            Place::Name { .. } | Place::Address(_) => None,
        })
    }

    /// Takes another list. Names that are not in it are forgotten, new ones are due at once.
    pub fn list(&mut self, targets: Vec<Target>, now: Instant) {
        let mut known = std::mem::take(&mut self.names);
        for target in &targets {
            if let Place::Name { host, .. } = &target.place
                && !self.names.contains_key(host)
            {
                let name = known.remove(host).unwrap_or_else(|| Name::new(now));
                self.names.insert(Arc::clone(host), name);
            }
        }
        self.targets = targets;
        self.file_error = None;
    }

    /// Keeps the list; `why` there is no newer one.
    pub fn file_refused(&mut self, why: &str) {
        self.file_error = Some(why.to_owned());
    }

    /// Every name is due at `now`: somebody else asks from here on, and what was being asked will not be heard.
    pub fn start_over(&mut self, now: Instant) {
        for name in self.names.values_mut() {
            name.due = Some(now);
        }
    }

    /// Up to `room` names that are due at `now`, which count as being asked from here on; and when the next one is due.
    pub fn take_due(&mut self, room: usize, now: Instant) -> (Vec<Arc<str>>, Option<Instant>) {
        let mut due = Vec::new();
        let mut next: Option<Instant> = None;
        for (host, name) in &mut self.names {
            match name.due {
                Some(at) if at <= now && due.len() < room => {
                    name.due = None;
                    due.push(Arc::clone(host));
                }
                Some(at) => next = Some(next.map_or(at, |next| next.min(at))),
                None => {}
            }
        }
        (due, next)
    }

    /// Takes the answer to a lookup of `host` that ended at `now`; how it went. `None`: nobody wants to know anymore.
    pub fn answered(
        &mut self,
        host: &str,
        answer: Answer,
        now: Instant,
    ) -> Option<(LookupResult, Option<News>)> {
        let name = self.names.get_mut(host)?;
        name.answered = true;
        let (result, error, ttl) = name.take(answer);
        let wait = if error.is_some() {
            let doubled = FIRST_RETRY.saturating_mul(1 << name.failures.min(6));
            name.failures = name.failures.saturating_add(1);
            doubled.min(LAST_RETRY).min(ttl)
        } else {
            name.failures = 0;
            ttl
        };
        name.due = Some(now + wait);
        let before = std::mem::replace(&mut name.error, error);
        let news = match (&before, &name.error) {
            (before, Some(error)) if before.as_ref() != Some(error) => {
                Some(News::Fails(error.clone()))
            }
            (Some(_), None) => Some(News::Recovers),
            _ => None,
        };
        Some((result, news))
    }

    /// Every address with its weight: in the list's order, those of a name from the lowest to the highest, none twice,
    /// at most [`MAX_ENDPOINTS`].
    pub fn addresses(&self) -> Vec<Listed> {
        let mut seen = HashSet::new();
        let each = self.targets.iter().flat_map(|target| {
            let sockets = self.sockets(&target.place);
            sockets.into_iter().map(|socket| (socket, target.weight))
        });
        each.filter(|(socket, _)| seen.insert(socket.clone()))
            .take(MAX_ENDPOINTS)
            .collect()
    }

    fn sockets(&self, place: &Place) -> Vec<Address> {
        match place {
            Place::Address(address) => vec![address.clone()],
            Place::Name { host, port } => {
                let name = self.names.get(host);
                let addresses = name.into_iter().flat_map(Name::addresses);
                addresses
                    .map(|ip| SocketAddr::new(ip, *port).into())
                    .collect()
            }
        }
    }

    /// Whether every name was answered or failed once.
    pub fn is_settled(&self) -> bool {
        self.names.values().all(|name| name.answered)
    }

    /// What is wrong, one line.
    pub fn trouble(&self) -> Option<String> {
        let mut names: Vec<String> = self
            .names
            .iter()
            .filter_map(|(host, name)| {
                let error = name.error.as_deref();
                let error = error.or_else(|| (!name.answered).then_some("not answered yet"))?;
                Some(format!("`{host}`: {error}"))
            })
            .collect();
        names.sort();
        let trouble: Vec<String> = self.file_error.clone().into_iter().chain(names).collect();
        (!trouble.is_empty()).then(|| trouble.join("; "))
    }
}

#[cfg(test)]
mod tests;
