//! `routes` → the table of one listener.

use std::sync::Arc;

use http::{Method, StatusCode};

use super::Parts;
use crate::config::model::{self, Config, HostMatch, PathMatch, RetryOn, RouteMatch};
use crate::policy::backoff::{Backoff, Jitter};
use crate::policy::retry::{Conditions, RetryPolicy};
use crate::route::Route;
use crate::route::table::{Host, Matcher, Path, Table};
use crate::telemetry::route::RouteTelemetry;

pub(super) fn compile_routes(
    listener: &model::Listener,
    config: &Config,
    parts: &Parts<'_>,
    telemetry: &impl Fn(&Arc<str>) -> Arc<RouteTelemetry>,
) -> Table<Arc<Route>> {
    let target = |name: &str, forward: &model::Located<String>, section: Option<&model::Route>| {
        let upstream = Arc::clone(parts.upstreams.get(forward.value.as_str())?);
        let timeout = match section {
            Some(section) => section.timeout,
            None => Some(model::DEFAULT_REQUEST_TIMEOUT),
        };
        let limits = section.map(|section| parts.limits.route(&section.name.value));
        let retry = section.map_or_else(model::Retry::default, |section| section.retry.clone());
        let name: Arc<str> = name.into();
        Some(Arc::new(Route {
            telemetry: telemetry(&name),
            name,
            upstream,
            timeout,
            retry: retry_policy(&retry),
            per_try_timeout: retry.per_try_timeout.map(|limit| limit.value),
            replay_bytes: if retry.attempts > 1 {
                usize::try_from(retry.replay_bytes).unwrap_or(usize::MAX)
            } else {
                0
            },
            limits: limits.unwrap_or_default(),
        }))
    };
    let mut routes = Table::default();
    for route in config
        .routes
        .iter()
        .filter(|route| takes_part(route, &listener.name.value))
    {
        let Some(target) = target(&route.name.value, &route.forward, Some(route)) else {
            continue;
        };
        for matcher in matchers(&route.matches) {
            routes.insert(matcher, Arc::clone(&target));
        }
    }
    // Inserted last, so that a route that asks for nothing either comes before it.
    let forward = listener.forward.as_ref();
    if let Some(target) = forward.and_then(|forward| target(&listener.name.value, forward, None)) {
        routes.insert(everything(), target);
    }
    routes
}

fn retry_policy(section: &model::Retry) -> RetryPolicy {
    let has = |condition| section.on.contains(&condition);
    let statuses = section.on.iter().filter_map(|on| match on {
        RetryOn::Status(status) => StatusCode::from_u16(*status).ok(),
        _ => None,
    });
    let grpc = section.on.iter().filter_map(|on| match on {
        RetryOn::Grpc(code) => Some(*code),
        _ => None,
    });
    RetryPolicy {
        attempts: section.attempts,
        on: Conditions {
            connect_failure: has(RetryOn::ConnectFailure),
            refused_stream: has(RetryOn::RefusedStream),
            reset: has(RetryOn::Reset),
            attempt_timeout: has(RetryOn::AttemptTimeout),
            throttled: has(RetryOn::Throttled),
            statuses: statuses.collect(),
            grpc: grpc.collect(),
        },
        backoff: Backoff {
            base: section.backoff.base,
            max: section.backoff.max,
            jitter: match section.backoff.jitter {
                model::Jitter::Full => Jitter::Full,
                model::Jitter::Decorrelated => Jitter::Decorrelated,
                model::Jitter::None => Jitter::None,
            },
        },
        max_retry_after: section.max_retry_after,
        unsafe_methods: section.retry_unsafe.value,
    }
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
