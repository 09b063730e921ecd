//! `routes` → the table of one listener.

use std::sync::Arc;

use http::Method;

use super::Parts;
use crate::config::model::{self, Config, HostMatch, PathMatch, RouteMatch};
use crate::route::Route;
use crate::route::table::{Host, Matcher, Path, Table};
use crate::telemetry::route::RouteTelemetry;

pub(super) fn compile_routes(
    listener: &model::Listener,
    config: &Config,
    parts: &Parts<'_>,
    telemetry: &impl Fn(&Arc<str>) -> Arc<RouteTelemetry>,
) -> Table<Arc<Route>> {
    let target = |name: &str, forward: &model::Located<String>, timeout, limits: Option<_>| {
        let upstream = Arc::clone(parts.upstreams.get(forward.value.as_str())?);
        let limits = limits.unwrap_or_default();
        let name: Arc<str> = name.into();
        Some(Arc::new(Route {
            telemetry: telemetry(&name),
            name,
            upstream,
            timeout,
            limits,
        }))
    };
    let mut routes = Table::default();
    for route in config
        .routes
        .iter()
        .filter(|route| takes_part(route, &listener.name.value))
    {
        let Some(target) = target(
            &route.name.value,
            &route.forward,
            route.timeout,
            Some(parts.limits.route(&route.name.value)),
        ) else {
            continue;
        };
        for matcher in matchers(&route.matches) {
            routes.insert(matcher, Arc::clone(&target));
        }
    }
    // Inserted last, so that a route that asks for nothing either comes before it.
    let timeout = Some(model::DEFAULT_REQUEST_TIMEOUT);
    let forward = listener.forward.as_ref();
    if let Some(target) =
        forward.and_then(|forward| target(&listener.name.value, forward, timeout, None))
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
