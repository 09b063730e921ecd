//! Config → snapshot.
//!
//! Path: `app` calls [`compile`] with a configuration that [`super::check`] found sound. Binds nothing, starts nothing.
//! State is carried over by one rule: what is equal to what it was is the same object again. An upstream whose section
//! did not change keeps its cursor; an endpoint whose address stays keeps its pool and its count of requests in flight.

use std::collections::HashMap;
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

/// Upstreams by their names.
type ByName<'a> = HashMap<&'a str, &'a Arc<Upstream>>;

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
    let old: HashMap<&str, (&model::Upstream, &Arc<Upstream>)> = previous
        .iter()
        .flat_map(|previous| previous.config.upstreams.iter().zip(&previous.upstreams))
        .map(|(section, upstream)| (section.name.value.as_str(), (section, upstream)))
        .collect();
    let same_headers =
        previous.is_some_and(|previous| previous.config.header_case == config.header_case);
    let compile = |section: &model::Upstream| match old.get(section.name.value.as_str()) {
        Some((before, upstream)) if same_headers && *before == section => Arc::clone(upstream),
        before => {
            let upstream = before.map(|(_, upstream)| *upstream);
            Arc::new(compile_upstream(
                section,
                config.header_case,
                upstream,
                environment,
            ))
        }
    };
    config.upstreams.iter().map(compile).collect()
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
    let upstreams: ByName<'_> = upstreams
        .iter()
        .map(|upstream| (&*upstream.name, upstream))
        .collect();
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
            &upstreams,
            environment,
        )));
    }
    (compiled, next)
}

fn compile_listener(
    section: &model::Listener,
    id: ListenerId,
    config: &Config,
    upstreams: &ByName<'_>,
    environment: &Environment,
) -> Listener {
    let name: Arc<str> = section.name.value.as_str().into();
    let direction = section.direction;
    let metrics = &environment.metrics;
    let telemetry = |route: &Arc<str>| {
        let (listener, route) = (Arc::clone(&name), Arc::clone(route));
        Arc::new(RouteTelemetry::new(
            metrics,
            direction.as_str(),
            listener,
            route,
        ))
    };
    Listener {
        id,
        direction,
        timeouts: section.timeouts,
        limits: section.limits,
        routes: compile_routes(section, config, upstreams, &telemetry),
        no_route: telemetry(&NO_ROUTE.into()),
        metrics: metrics.listener(direction.as_str(), &name),
        name,
    }
}

fn compile_routes(
    listener: &model::Listener,
    config: &Config,
    upstreams: &ByName<'_>,
    telemetry: &impl Fn(&Arc<str>) -> Arc<RouteTelemetry>,
) -> Table<Arc<Route>> {
    let target = |name: &str, forward: &model::Located<String>, timeout| {
        let upstream = Arc::clone(upstreams.get(forward.value.as_str())?);
        let name: Arc<str> = name.into();
        Some(Arc::new(Route {
            telemetry: telemetry(&name),
            name,
            upstream,
            timeout,
        }))
    };
    let mut routes = Table::default();
    for route in config
        .routes
        .iter()
        .filter(|route| takes_part(route, &listener.name.value))
    {
        let Some(target) = target(&route.name.value, &route.forward, route.timeout) else {
            continue;
        };
        for matcher in matchers(&route.matches) {
            routes.insert(matcher, Arc::clone(&target));
        }
    }
    // Inserted last, so that a route that asks for nothing either comes before it.
    let timeout = Some(model::DEFAULT_REQUEST_TIMEOUT);
    let forward = listener.forward.as_ref();
    if let Some(target) = forward.and_then(|forward| target(&listener.name.value, forward, timeout))
    {
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
