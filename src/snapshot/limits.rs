//! Every limit in force, by the section that it was made from.
//!
//! Path: [`super::compile`] makes one for each snapshot out of the one before. A limit whose section is equal is the same
//! object again: its counts, its permits and those who wait survive a reload, and all listeners share it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::config::model::{self, Config, InFlightLimit, LimitMode, WhenExceeded};
use crate::policy::concurrency::Gate;
use crate::policy::memory::Budget;
use crate::policy::rate_limit::{Limiter, Rate};
use crate::route::limits::{Exceeded, RateHeaders, RateRule, RouteLimits, Waiting};
use crate::route::rate_key::{Part, RateKey};
use crate::telemetry::limits::Scope;
use crate::telemetry::metrics::Metrics;
use crate::upstream::request_limit::RequestLimit;

/// All limits of a snapshot.
#[derive(Debug, Default)]
pub struct Limits {
    routes: HashMap<String, (RouteSection, Arc<RouteLimits>)>,
    listeners: HashMap<String, (InFlightLimit, Arc<RequestLimit>)>,
    upstreams: HashMap<String, (InFlightLimit, Arc<RequestLimit>)>,
    /// The process's memory; one for all snapshots.
    pub memory: Arc<Budget>,
}

/// What a route's limits were made from.
#[derive(Debug, PartialEq, Eq)]
struct RouteSection {
    rules: Vec<model::RateLimit>,
    limits: InFlightLimit,
}

impl Limits {
    /// Those of `config`, taking over what stays the same from `previous`.
    pub(super) fn compile(config: &Config, previous: Option<&Self>, metrics: &Metrics) -> Self {
        let nothing = Self::default();
        let previous = previous.unwrap_or(&nothing);
        let request_limit = |scope, name: &str, section: &InFlightLimit| {
            let kept = match scope {
                Scope::Listener => previous.listeners.get(name),
                _ => previous.upstreams.get(name),
            };
            let limit = match kept {
                Some((before, limit)) if before == section => Some(Arc::clone(limit)),
                _ => request_limit(section, scope, name, metrics),
            };
            limit.map(|limit| (name.to_owned(), (*section, limit)))
        };
        Self {
            routes: config
                .routes
                .iter()
                .filter(|route| !route.rate_limits.is_empty() || route.limits.in_flight.is_some())
                .map(|route| route_limits(route, previous, metrics))
                .collect(),
            listeners: config
                .listeners
                .iter()
                .filter_map(|it| {
                    request_limit(Scope::Listener, &it.name.value, &it.limits.in_flight)
                })
                .collect(),
            upstreams: config
                .upstreams
                .iter()
                .filter_map(|it| {
                    request_limit(Scope::Upstream, &it.name.value, &it.limits.in_flight)
                })
                .collect(),
            memory: Arc::clone(&previous.memory),
        }
    }

    /// Those of a route.
    pub fn route(&self, name: &str) -> Arc<RouteLimits> {
        let limits = self.routes.get(name).map(|(_, limits)| Arc::clone(limits));
        limits.unwrap_or_default()
    }

    /// That of a listener.
    pub fn listener(&self, name: &str) -> Option<Arc<RequestLimit>> {
        self.listeners.get(name).map(|(_, limit)| Arc::clone(limit))
    }

    /// That of an upstream.
    pub fn upstream(&self, name: &str) -> Option<Arc<RequestLimit>> {
        self.upstreams.get(name).map(|(_, limit)| Arc::clone(limit))
    }

    /// Sets the gauges.
    pub fn observe(&self) {
        self.routes.values().for_each(|(_, route)| route.observe());
        let others = self.listeners.values().chain(self.upstreams.values());
        others.for_each(|(_, limit)| limit.observe());
    }

    /// Forgets keys of rate limits that are as good as new.
    pub fn sweep(&self, now: std::time::Instant) {
        let rules = self.routes.values().flat_map(|(_, route)| &route.rules);
        rules.for_each(|rule| rule.limiter.sweep(now));
    }
}

fn route_limits(
    route: &model::Route,
    previous: &Limits,
    metrics: &Metrics,
) -> (String, (RouteSection, Arc<RouteLimits>)) {
    let name = &route.name.value;
    let section = RouteSection {
        rules: route.rate_limits.clone(),
        limits: route.limits,
    };
    let before = previous.routes.get(name);
    if let Some((old, limits)) = before
        && *old == section
    {
        return (name.clone(), (section, Arc::clone(limits)));
    }
    let kept_rule = |rule: &model::RateLimit| {
        let (old, limits) = before?;
        let index = old.rules.iter().position(|old| old == rule)?;
        limits.rules.get(index).map(Arc::clone)
    };
    let single = route.rate_limits.len() == 1;
    let rules = route.rate_limits.iter().enumerate().map(|(index, rule)| {
        let mut place = format!("routes.{name}.rate_limit");
        if !single {
            place.push_str(&format!("[{index}]"));
        }
        kept_rule(rule).unwrap_or_else(|| Arc::new(rate_rule(rule, place, name, metrics)))
    });
    let kept = before.filter(|(old, _)| old.limits == route.limits);
    let limits = RouteLimits {
        rules: rules.collect(),
        requests: match kept {
            Some((_, limits)) => limits.requests.clone(),
            None => request_limit(&route.limits, Scope::Route, name, metrics),
        },
    };
    (name.clone(), (section, Arc::new(limits)))
}

fn rate_rule(rule: &model::RateLimit, place: String, route: &str, metrics: &Metrics) -> RateRule {
    let rate = Rate {
        requests: rule.requests,
        per: rule.per,
        burst: rule.burst,
    };
    let waits = rule.when_exceeded == WhenExceeded::Wait && rule.mode == LimitMode::Enforce;
    let patience = if waits {
        rule.max_wait.value
    } else {
        Duration::ZERO
    };
    let key = RateKey {
        parts: rule.key.iter().filter_map(part).collect(),
    };
    let now = tokio::time::Instant::now().into_std();
    let max_keys = usize::try_from(rule.max_keys.get()).unwrap_or(usize::MAX);
    RateRule {
        name: rule.name.value.as_str().into(),
        place: place.into(),
        rate,
        limiter: if key.parts.is_empty() {
            Limiter::single(rate, patience, now)
        } else {
            Limiter::keyed(rate, patience, max_keys, now)
        },
        key,
        exceeded: match (rule.mode, waits) {
            (LimitMode::Observe, _) => Exceeded::Observe,
            (LimitMode::Enforce, true) => {
                Exceeded::Wait(Waiting::new(patience, rule.max_waiting.get()))
            }
            (LimitMode::Enforce, false) => Exceeded::Reject,
        },
        headers: headers(rule.headers),
        metrics: metrics.rate_limit(route, &rule.name.value),
    }
}

/// The route is no part: each has a table of its own.
fn part(part: &model::RateKey) -> Option<Part> {
    Some(match part {
        model::RateKey::Route => return None,
        model::RateKey::ClientIp => Part::ClientIp,
        model::RateKey::ClientIdentity => Part::ClientIdentity,
        model::RateKey::Method => Part::Method,
        // The reader has refused what is no name.
        model::RateKey::Header(name) => Part::Header(name.parse().ok()?),
        model::RateKey::Cookie(name) => Part::Cookie(name.as_str().into()),
        model::RateKey::Query(name) => Part::Query(name.as_str().into()),
    })
}

fn headers(headers: model::RateHeaders) -> RateHeaders {
    use model::RateHeaders as H;
    RateHeaders {
        standard: matches!(headers, H::Standard | H::Both),
        legacy: matches!(headers, H::Legacy | H::Both),
    }
}

fn request_limit(
    section: &InFlightLimit,
    scope: Scope,
    name: &str,
    metrics: &Metrics,
) -> Option<Arc<RequestLimit>> {
    let limit = section.in_flight?;
    Some(Arc::new(RequestLimit::new(
        Gate::new(limit.get(), section.pending),
        section.pending_wait,
        (scope, name.into()),
        metrics.admission(scope, name),
    )))
}
