//! The endpoints of an upstream: who they are now, and which of them is asked next.
//!
//! Path: `proxy::attempt` picks through [`super::Upstream`]; discovery replaces the list, health checks and ejections
//! change who is in service. All that a pick needs is worked out when something changes and swapped in as one
//! [`EndpointSet`]: a pick is one load and one turn, and asks only what may change from request to request. Endpoints
//! whose address stays are the same object before and after. Changes are made one at a time, under a lock that no pick
//! takes, but the one that finds an ejection to be over.

mod settings;

use std::collections::HashSet;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::address::Address;
use super::balance::{Balance, Balancer};
use super::breaker::{Breaker, Breakers};
use super::endpoint::Endpoint;
use crate::policy::outlier::{Cause, Crowd, Rules, may_eject};
use crate::telemetry::health::{EjectionLabel, UpstreamGauges};
use crate::telemetry::journal::{Change, Kind};
use crate::units::Pretty;
pub use settings::Settings;

/// An address and its share relative to the others.
pub type Listed = (Address, NonZeroU32);

/// One endpoint and its share.
#[derive(Debug, Clone)]
pub struct Member {
    /// The endpoint.
    pub endpoint: Arc<Endpoint>,
    /// Its share relative to the others.
    pub weight: NonZeroU32,
    /// Its circuit breaker, if the upstream has any.
    pub breaker: Option<Arc<Breaker>>,
}

/// The endpoints at one moment.
#[derive(Debug)]
pub struct EndpointSet {
    members: Box<[Member]>,
    /// Those that get requests: the ones in service, or all of them in a panic.
    usable: Box<[Member]>,
    balancer: Balancer,
    /// Whose breakers the members have.
    breakers: Option<Arc<Breakers>>,
    crowd: Crowd,
    panicking: bool,
    /// When the first of the ejections in force is over.
    returns_at: Option<Instant>,
}

/// The endpoints of one upstream.
#[derive(Debug)]
pub struct Members {
    settings: Settings,
    gauges: UpstreamGauges,
    current: ArcSwap<EndpointSet>,
    /// Held while the set is replaced; whether the upstream is no longer in force.
    closed: Mutex<bool>,
    changed: Notify,
}

impl EndpointSet {
    fn new(settings: &Settings, members: Box<[Member]>, cursor: usize, now: Instant) -> Self {
        let of_service = members
            .iter()
            .filter(|it| it.endpoint.is_in_service(now))
            .count();
        let crowd = Crowd {
            all: members.len(),
            ejected: members
                .iter()
                .filter(|it| it.endpoint.tally.is_ejected())
                .count(),
            in_service: of_service,
        };
        let panicking = settings.panic_threshold.is_some_and(|threshold| {
            crowd.in_service * 100 < crowd.all * usize::from(threshold.get())
        });
        let usable = members
            .iter()
            .filter(|it| panicking || it.endpoint.is_in_service(now));
        let weights: Vec<NonZeroU32> = usable.clone().map(|it| it.weight).collect();
        let returns = members
            .iter()
            .filter_map(|it| it.endpoint.tally.ejected_for(now));
        Self {
            usable: usable.cloned().collect(),
            balancer: Balancer::new(settings.balance, &weights, cursor),
            breakers: settings.breakers.clone(),
            crowd,
            panicking,
            returns_at: returns.min().map(|left| now + left),
            members,
        }
    }

    /// Every endpoint, in service or not.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<Endpoint>> {
        self.members.iter().map(|member| &member.endpoint)
    }

    /// Every endpoint with its weight.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Those that get requests: the ones in service, or all of them in a panic.
    pub fn usable(&self) -> &[Member] {
        &self.usable
    }

    /// How many there are, and in service.
    pub fn crowd(&self) -> Crowd {
        self.crowd
    }

    /// Whether so few are in service that all are used.
    pub fn is_panicking(&self) -> bool {
        self.panicking
    }

    fn pick(&self, tried: &[Arc<Endpoint>], permits: impl Fn(&Member) -> bool) -> Option<Member> {
        let untried = |member: &Member| !tried.iter().any(|it| Arc::ptr_eq(it, &member.endpoint));
        let picked = self
            .balancer
            .pick(&self.usable, |member| untried(member) && permits(member));
        let picked = picked.or_else(|| {
            let again = !tried.is_empty();
            again.then(|| self.balancer.pick(&self.usable, &permits))?
        });
        picked.cloned()
    }

    fn holds(&self, endpoint: &Arc<Endpoint>) -> bool {
        self.iter().any(|held| Arc::ptr_eq(held, endpoint))
    }
}

impl Members {
    /// The endpoints of `list`; those whose address `previous` has are taken from there, and their breakers from `before`,
    /// if it has those of the same section.
    pub fn new(
        settings: Settings,
        list: &[Listed],
        previous: Option<&EndpointSet>,
        before: Option<&EndpointSet>,
        now: Instant,
    ) -> Self {
        let none = EndpointSet::new(&settings, Box::default(), 0, now);
        let kept = (previous.unwrap_or(&none), before.unwrap_or(&none));
        let members = settings.members(list, kept, now);
        let set = EndpointSet::new(&settings, members, 0, now);
        Self {
            gauges: settings.metrics.upstream(&settings.upstream),
            settings,
            current: ArcSwap::from_pointee(set),
            closed: Mutex::new(false),
            changed: Notify::new(),
        }
    }

    /// How the next one is chosen.
    pub fn balance(&self) -> Balance {
        self.settings.balance
    }

    /// The endpoints now.
    pub fn load(&self) -> Arc<EndpointSet> {
        self.current.load_full()
    }

    /// The next one that `permits` says yes to, among those in service at `now` (among all, in a panic); none of those
    /// `tried` before, if there is a choice.
    pub fn pick(
        &self,
        tried: &[Arc<Endpoint>],
        now: Instant,
        permits: impl Fn(&Member) -> bool,
    ) -> Option<Member> {
        let set = self.current.load();
        if set.returns_at.is_some_and(|at| at <= now) {
            drop(set);
            self.refresh(now);
            return self.current.load().pick(tried, permits);
        }
        set.pick(tried, permits)
    }

    /// Looks again who is in service at `now`.
    pub fn refresh(&self, now: Instant) {
        let closed = self.closed.lock();
        if !*closed {
            let members = self.current.load().members.clone();
            self.put(members, now);
        }
    }

    /// Looks again if an ejection has ended by `now`: for whoever shows what is, without a request that would notice.
    pub fn refresh_if_due(&self, now: Instant) {
        if (self.current.load().returns_at).is_some_and(|at| at <= now) {
            self.refresh(now);
        }
    }

    /// Puts the endpoints of `list` into place of those there are. Gives back the ones that are gone.
    pub fn replace(&self, list: &[Listed], now: Instant) -> Vec<Arc<Endpoint>> {
        let closed = self.closed.lock();
        if *closed {
            return Vec::new();
        }
        let before = self.current.load_full();
        let members = self.settings.members(list, (&before, &before), now);
        self.put(members, now);
        self.changed.notify_one();
        let after = self.current.load();
        let stay: HashSet<_> = after.iter().map(Arc::as_ptr).collect();
        let gone = before.iter();
        let gone = gone.filter(|endpoint| !stay.contains(&Arc::as_ptr(endpoint)));
        gone.map(Arc::clone).collect()
    }

    /// Takes `endpoint` out of service for `cause`, if enough others stay.
    pub(super) fn eject(
        &self,
        endpoint: &Arc<Endpoint>,
        rules: &Rules,
        cause: Cause,
        now: Instant,
    ) {
        // Asked once without the lock: in an outage every failure comes here.
        let allowed = |set: &EndpointSet| may_eject(set.crowd, rules.max_ejected);
        if endpoint.tally.is_ejected() || !allowed(&self.current.load()) {
            return;
        }
        let closed = self.closed.lock();
        let set = self.current.load_full();
        let may = !*closed && allowed(&set) && set.holds(endpoint);
        if !may || endpoint.tally.is_ejected() || !endpoint.is_healthy() {
            return;
        }
        let why = why(endpoint, rules, cause);
        let length = endpoint.tally.eject(rules, now);
        self.put(set.members.clone(), now);
        let (upstream, label) = (&*self.settings.upstream, &*endpoint.label);
        tracing::warn!(
            detail = format!("{upstream} {label} for {}: {why}", Pretty::Time(length)),
            upstream,
            endpoint = label,
            "endpoint ejected"
        );
        self.note(Kind::Ejection, Some(label), ["in_service", "ejected"], &why);
        endpoint.set_ejection(Some(why.into()));
        let label = match cause {
            Cause::ConsecutiveFailures => EjectionLabel::ConsecutiveFailures,
            Cause::SuccessRate => EjectionLabel::SuccessRate,
        };
        self.settings
            .metrics
            .ejection(upstream, &endpoint.label, label);
    }

    /// Writes a change into the journal: of the upstream, or of its endpoint `label`.
    pub(super) fn note(&self, kind: Kind, label: Option<&str>, turn: [&str; 2], cause: &str) {
        let upstream = &*self.settings.upstream;
        let [from, to] = turn.map(str::to_owned);
        self.settings.journal.append(Change {
            kind,
            subject: match label {
                Some(label) => format!("upstreams.{upstream}.endpoints.{label}"),
                None => format!("upstreams.{upstream}"),
            },
            from,
            to,
            cause: cause.to_owned(),
        });
    }

    /// The upstream is no longer in force: nothing changes anymore, whoever still holds it.
    pub fn close(&self) {
        *self.closed.lock() = true;
    }

    /// Completes when the list of endpoints is another.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// With the lock held.
    fn put(&self, members: Box<[Member]>, now: Instant) {
        self.readmit(&members, now);
        let before = self.current.load_full();
        let next = EndpointSet::new(&self.settings, members, before.balancer.cursor(), now);
        self.tell(&before, &next);
        self.current.store(Arc::new(next));
    }

    /// Ends the ejections whose time is over.
    fn readmit(&self, members: &[Member], now: Instant) {
        for endpoint in members.iter().map(|member| &member.endpoint) {
            if endpoint.tally.is_ejected() && endpoint.tally.ejected_for(now).is_none() {
                endpoint.tally.readmit();
                endpoint.set_ejection(None);
                let (upstream, label) = (&*self.settings.upstream, &*endpoint.label);
                let detail = format!("{upstream} {label}");
                tracing::info!(detail, upstream, endpoint = label, "endpoint back");
                let turn = ["ejected", "in_service"];
                self.note(Kind::Ejection, Some(label), turn, "its time is over");
            }
        }
    }

    fn tell(&self, before: &EndpointSet, next: &EndpointSet) {
        let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        self.gauges.endpoints.set(count(next.crowd.all));
        self.gauges.ejected.set(count(next.crowd.ejected));
        self.gauges.panic.set(i64::from(next.panicking));
        let upstream = &*self.settings.upstream;
        let Crowd {
            all, in_service, ..
        } = next.crowd;
        if next.panicking && !before.panicking {
            let detail =
                format!("{upstream}: {in_service} of {all} endpoints in service, all used");
            tracing::warn!(detail, upstream, "too few endpoints");
        } else if before.panicking && !next.panicking {
            let detail = format!("{upstream}: {in_service} of {all} endpoints in service");
            tracing::info!(detail, upstream, "enough endpoints");
        }
    }
}

/// `5 failures in a row, the last: connect: connection refused`
fn why(endpoint: &Endpoint, rules: &Rules, cause: Cause) -> String {
    let what = match cause {
        Cause::ConsecutiveFailures => match endpoint.tally.in_a_row() {
            1 => "1 failure".to_owned(),
            many => format!("{many} failures in a row"),
        },
        Cause::SuccessRate => {
            let below = rules.success_rate.map_or(0, |rate| rate.below.get());
            format!("less than {below} % of its requests succeeded")
        }
    };
    match endpoint.last_error() {
        Some(last) => format!("{what}, the last: {}", last.text),
        None => what,
    }
}
