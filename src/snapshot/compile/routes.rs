//! `routes` → the table of one listener.

use std::sync::Arc;

use http::Method;
use http::header::HeaderName;

use super::actions::{compile_action, compile_headers};
use super::retry::retry_policy;
use super::{Environment, Parts};
use crate::config::model::{self, Action, Config, HostMatch, PathMatch, RouteMatch, ValueMatch};
use crate::route::conditions::{Conditions, Test};
use crate::route::limits::RouteLimits;
use crate::route::table::{Host, Matcher, Path, Table};
use crate::route::{Entry, Route};
use crate::telemetry::route::RouteTelemetry;

pub(super) fn compile_routes(
    listener: &model::Listener,
    config: &Config,
    parts: &Parts<'_>,
    environment: &Environment,
    telemetry: &impl Fn(&Arc<str>) -> Arc<RouteTelemetry>,
) -> Table<Entry> {
    let compiled = |section: &model::Route, action, limits| {
        let name: Arc<str> = section.name.value.as_str().into();
        let retry = &section.retry;
        Arc::new(Route {
            telemetry: telemetry(&name),
            name,
            action,
            response_headers: compile_headers(&section.response_headers),
            timeout: section.timeout,
            retry: retry_policy(retry),
            per_try_timeout: retry.per_try_timeout.map(|limit| limit.value),
            replay_bytes: replay_bytes(retry),
            tunnel: section.tunnel,
            body_bytes: section
                .body_bytes
                .within(listener.limits.body_bytes)
                .map(|bytes| bytes.get().into()),
            limits,
        })
    };
    let action = |section: &_| compile_action(section, &parts.upstreams, environment);
    let mut rules = Vec::new();
    let own = |route: &&model::Route| takes_part(route, &listener.name.value);
    for section in config.routes.iter().filter(own) {
        let Some(action) = action(section) else {
            continue;
        };
        let route = compiled(section, action, parts.limits.route(&section.name.value));
        rules.extend(matchers(&section.matches).map(|matcher| entry(matcher, &route)));
    }
    // Last, so that a route that asks for nothing either comes before it.
    if let Some(forward) = &listener.forward {
        let section = implied(listener, forward);
        if let Some(action) = action(&section) {
            let limits = Arc::<RouteLimits>::default();
            let route = compiled(&section, action, limits);
            rules.push(entry(everything(), &route));
        }
    }
    rules.into_iter().collect()
}

/// The route that a listener's `forward` stands for.
fn implied(listener: &model::Listener, forward: &model::Located<String>) -> model::Route {
    model::Route {
        name: listener.name.clone(),
        listeners: Vec::new(),
        matches: Vec::new(),
        action: Action::Forward(forward.clone()),
        rewrite: None,
        request_headers: model::HeaderRules::default(),
        response_headers: model::HeaderRules::default(),
        mirrors: Vec::new(),
        tunnel: false,
        timeout: Some(model::DEFAULT_REQUEST_TIMEOUT),
        retry: model::Retry::default(),
        rate_limits: Vec::new(),
        limits: model::InFlightLimit::default(),
        body_bytes: model::BodyLimit::default(),
    }
}

fn replay_bytes(retry: &model::Retry) -> usize {
    if retry.attempts > 1 {
        usize::try_from(retry.replay_bytes).unwrap_or(usize::MAX)
    } else {
        0
    }
}

fn entry(matcher: Matcher, route: &Arc<Route>) -> (Matcher, Entry) {
    let prefix = match &matcher.path {
        Path::Prefix(prefix) => prefix.trim_end_matches('/').len(),
        Path::Exact(_) | Path::Regex(_) => 0,
    };
    let route = Arc::clone(route);
    (matcher, Entry { route, prefix })
}

fn takes_part(route: &model::Route, listener: &str) -> bool {
    route.listeners.is_empty() || route.listeners.iter().any(|name| name.value == listener)
}

fn matchers(matches: &[model::Located<RouteMatch>]) -> impl Iterator<Item = Matcher> {
    let all = matches.is_empty().then(everything);
    all.into_iter()
        .chain(matches.iter().map(|item| matcher(&item.value)))
}

fn everything() -> Matcher {
    matcher(&RouteMatch::default())
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
            Some(PathMatch::Regex(pattern)) => Path::Regex(pattern.regex.clone()),
            Some(PathMatch::Prefix(path)) => Path::Prefix(path.as_str().into()),
        },
        // The reader has refused what is not a method or a header's name.
        methods: item
            .methods
            .iter()
            .filter_map(|name| Method::from_bytes(name.as_bytes()).ok())
            .collect(),
        conditions: Conditions {
            headers: item
                .headers
                .iter()
                .filter_map(|(name, value)| Some((name.parse::<HeaderName>().ok()?, test(value))))
                .collect(),
            query: item
                .query
                .iter()
                .map(|(name, value)| (name.as_str().into(), test(value)))
                .collect(),
        },
    }
}

fn test(value: &ValueMatch) -> Test {
    match value {
        ValueMatch::Exact(text) => Test::Is(text.as_str().into()),
        ValueMatch::Regex(pattern) => Test::Matches(pattern.regex.clone()),
        ValueMatch::Present => Test::Present,
        ValueMatch::Absent => Test::Absent,
    }
}
