//! Config → snapshot.
//!
//! Path: `app` calls [`compile`] with a configuration that [`super::check`] found sound. Binds nothing, starts nothing.
//! State is carried over by one rule: what is equal to what it was is the same object again. An upstream whose section
//! did not change keeps its cursor; an endpoint whose address stays keeps its pool and its count of requests in flight.

use std::num::NonZeroU32;
use std::sync::Arc;

use http::Method;

use super::forwarding::Forwarding;
use super::{Listener, ListenerId, Snapshot};
use crate::config::model::{
    self, Balance, Config, HeaderCase, HostMatch, LogOutput, PathMatch, RouteMatch,
};
use crate::route::Route;
use crate::route::table::{Host, Matcher, Path, Table};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::route::{NO_ROUTE, RouteTelemetry};
use crate::upstream::Upstream;
use crate::upstream::balance::{Balancer, LeastConnections, RoundRobin};
use crate::upstream::endpoint::Endpoint;
use crate::upstream::pool::PoolSettings;

/// What the process, not the file, decides.
#[derive(Debug, Clone)]
pub struct Environment {
    /// Where handles come from.
    pub metrics: Arc<Metrics>,
    /// Workers running.
    pub workers: usize,
}

/// Compiles `config`, taking over what stays the same from `previous`.
///
/// References to upstreams and listeners that do not exist are left out; [`super::check`] has refused them before.
pub fn compile(
    config: Config,
    hash: Arc<str>,
    previous: Option<&Snapshot>,
    environment: &Environment,
) -> Snapshot {
    let upstreams = compile_upstreams(&config, previous, environment);
    let (listeners, next_listener) = compile_listeners(&config, &upstreams, previous, environment);
    Snapshot {
        version: previous.map_or(1, |previous| previous.version + 1),
        hash,
        listeners,
        upstreams,
        forwarding: Forwarding::new(&config.trusted_proxies, config.forwarded_headers),
        access_log: config.access_log.output != LogOutput::Off,
        next_listener,
        config,
    }
}

fn compile_upstreams(
    config: &Config,
    previous: Option<&Snapshot>,
    environment: &Environment,
) -> Vec<Arc<Upstream>> {
    let same_headers =
        previous.is_some_and(|previous| previous.config.header_case == config.header_case);
    let reuse = |section: &model::Upstream| {
        let previous = previous.filter(|_| same_headers)?;
        let index = previous
            .config
            .upstreams
            .iter()
            .position(|other| other == section)?;
        previous.upstreams.get(index).map(Arc::clone)
    };
    let old = |section: &model::Upstream| {
        previous?
            .upstreams
            .iter()
            .find(|upstream| *upstream.name == section.name.value)
    };
    let sections = config.upstreams.iter();
    sections
        .map(|section| {
            reuse(section).unwrap_or_else(|| {
                Arc::new(compile_upstream(
                    section,
                    config.header_case,
                    old(section),
                    environment,
                ))
            })
        })
        .collect()
}

fn compile_upstream(
    section: &model::Upstream,
    header_case: HeaderCase,
    previous: Option<&Arc<Upstream>>,
    environment: &Environment,
) -> Upstream {
    let weights: Vec<NonZeroU32> = section
        .endpoints
        .iter()
        .map(|endpoint| endpoint.value.weight)
        .collect();
    let preserve_header_case = header_case == HeaderCase::Preserve;
    // A pooled connection was set up for one way to write header names and cannot learn the other.
    let previous =
        previous.filter(|upstream| upstream.pool.preserve_header_case == preserve_header_case);
    let endpoint = |section: &model::Located<model::Endpoint>, name: &str| {
        let address = section.value.address;
        let kept = previous.and_then(|upstream| {
            upstream
                .endpoints
                .iter()
                .find(|kept| kept.address == address)
        });
        kept.map_or_else(
            || {
                let metrics = environment.metrics.endpoint(name, &address.to_string());
                Arc::new(Endpoint::new(address, environment.workers, metrics))
            },
            Arc::clone,
        )
    };
    Upstream {
        endpoints: section
            .endpoints
            .iter()
            .map(|item| endpoint(item, &section.name.value))
            .collect(),
        name: section.name.value.as_str().into(),
        balancer: match section.balance {
            Balance::RoundRobin => Balancer::RoundRobin(RoundRobin::new(&weights)),
            Balance::LeastConnections => {
                Balancer::LeastConnections(LeastConnections::new(&weights))
            }
        },
        connect_timeout: section.timeouts.connect,
        idle_timeout: section.timeouts.idle,
        pool: PoolSettings {
            max_idle: usize::try_from(section.pool.max_idle).unwrap_or(usize::MAX),
            idle_timeout: section.pool.idle_timeout,
            max_age: section.pool.max_age,
            preserve_header_case,
        },
    }
}

fn compile_listeners(
    config: &Config,
    upstreams: &[Arc<Upstream>],
    previous: Option<&Snapshot>,
    environment: &Environment,
) -> (Vec<Arc<Listener>>, u32) {
    let mut next = previous.map_or(0, |previous| previous.next_listener);
    let mut compiled = Vec::with_capacity(config.listeners.len());
    for section in &config.listeners {
        let kept = previous.and_then(|previous| {
            previous
                .listeners
                .iter()
                .find(|old| *old.name == section.name.value)
        });
        let id = kept.map_or_else(
            || {
                next += 1;
                ListenerId(next - 1)
            },
            |listener| listener.id,
        );
        compiled.push(Arc::new(compile_listener(
            section,
            id,
            config,
            upstreams,
            environment,
        )));
    }
    (compiled, next)
}

fn compile_listener(
    section: &model::Listener,
    id: ListenerId,
    config: &Config,
    upstreams: &[Arc<Upstream>],
    environment: &Environment,
) -> Listener {
    let name: Arc<str> = section.name.value.as_str().into();
    let direction = section.direction;
    let telemetry = |route: Arc<str>| {
        Arc::new(RouteTelemetry::new(
            &environment.metrics,
            direction.as_str(),
            Arc::clone(&name),
            route,
        ))
    };
    Listener {
        id,
        direction,
        timeouts: section.timeouts,
        limits: section.limits,
        routes: compile_routes(section, config, upstreams, &telemetry),
        no_route: telemetry(NO_ROUTE.into()),
        metrics: environment.metrics.listener(direction.as_str(), &name),
        name,
    }
}

/// The routes that take part in a listener, and its own `forward` as the last resort.
fn compile_routes(
    section: &model::Listener,
    config: &Config,
    upstreams: &[Arc<Upstream>],
    telemetry: &dyn Fn(Arc<str>) -> Arc<RouteTelemetry>,
) -> Table<Arc<Route>> {
    let target = |name: &str, forward: &str, timeout| {
        let mut upstreams = upstreams.iter();
        let upstream = upstreams.find(|upstream| *upstream.name == *forward)?;
        let name: Arc<str> = name.into();
        Some(Arc::new(Route {
            upstream: Arc::clone(upstream),
            timeout,
            telemetry: telemetry(Arc::clone(&name)),
            name,
        }))
    };
    let mut routes = Table::default();
    for route in &config.routes {
        if !takes_part(route, &section.name.value) {
            continue;
        }
        let target = target(&route.name.value, &route.forward.value, route.timeout);
        for (matcher, target) in matchers(&route.matches)
            .into_iter()
            .zip(target.iter().cycle())
        {
            routes.insert(matcher, Arc::clone(target));
        }
    }
    let timeout = Some(model::DEFAULT_REQUEST_TIMEOUT);
    let last_resort = section
        .forward
        .as_ref()
        .and_then(|forward| target(&section.name.value, &forward.value, timeout));
    if let Some(target) = last_resort {
        routes.insert(everything(), target);
    }
    routes
}

fn takes_part(route: &model::Route, listener: &str) -> bool {
    route.listeners.is_empty() || route.listeners.iter().any(|name| name.value == listener)
}

fn matchers(matches: &[model::Located<RouteMatch>]) -> Vec<Matcher> {
    if matches.is_empty() {
        return vec![everything()];
    }
    matches.iter().map(|item| matcher(&item.value)).collect()
}

fn everything() -> Matcher {
    Matcher {
        host: Host::Any,
        path: Path::Prefix("/".into()),
        methods: Box::default(),
    }
}

fn matcher(item: &RouteMatch) -> Matcher {
    Matcher {
        host: match &item.host {
            None => Host::Any,
            Some(HostMatch::Exact(name)) => Host::Exact(name.as_str().into()),
            Some(HostMatch::Suffix(name)) => Host::Suffix(name.as_str().into()),
        },
        path: match &item.path {
            None => Path::Prefix("/".into()),
            Some(PathMatch::Exact(path)) => Path::Exact(path.as_str().into()),
            Some(PathMatch::Prefix(path)) => Path::Prefix(path.as_str().into()),
        },
        // The reader has refused what is not a method.
        methods: item
            .methods
            .iter()
            .filter_map(|name| Method::from_bytes(name.as_bytes()).ok())
            .collect(),
    }
}
