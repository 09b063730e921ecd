//! `routes` → the table of one listener.

use std::sync::Arc;

use http::Method;
use http::header::HeaderName;

use super::actions::{compile_action, compile_headers};
use super::{ByName, Environment};
use crate::config::model::{self, Action, Config, HostMatch, PathMatch, RouteMatch, ValueMatch};
use crate::route::conditions::{Conditions, Test};
use crate::route::header_rules::HeaderRules;
use crate::route::table::{Host, Matcher, Path, Table};
use crate::route::{self, Entry, Route};
use crate::telemetry::route::RouteTelemetry;

pub(super) fn compile_routes(
    listener: &model::Listener,
    config: &Config,
    upstreams: &ByName<'_>,
    environment: &Environment,
    telemetry: &impl Fn(&Arc<str>) -> Arc<RouteTelemetry>,
) -> Table<Entry> {
    let compiled = |name: &str, action: route::Action, timeout| {
        let name: Arc<str> = name.into();
        Route {
            telemetry: telemetry(&name),
            name,
            action,
            response_headers: HeaderRules::default(),
            timeout,
        }
    };
    let mut rules = Vec::new();
    let own = |route: &&model::Route| takes_part(route, &listener.name.value);
    for section in config.routes.iter().filter(own) {
        let Some(action) = compile_action(section, upstreams, environment) else {
            continue;
        };
        let route = Arc::new(Route {
            response_headers: compile_headers(&section.response_headers),
            ..compiled(&section.name.value, action, section.timeout)
        });
        rules.extend(matchers(&section.matches).map(|matcher| entry(matcher, &route)));
    }
    // Last, so that a route that asks for nothing either comes before it.
    if let Some(forward) = &listener.forward {
        let section = model::Route {
            name: listener.name.clone(),
            listeners: Vec::new(),
            matches: Vec::new(),
            action: Action::Forward(forward.clone()),
            rewrite: None,
            request_headers: model::HeaderRules::default(),
            response_headers: model::HeaderRules::default(),
            mirrors: Vec::new(),
            timeout: Some(model::DEFAULT_REQUEST_TIMEOUT),
        };
        if let Some(action) = compile_action(&section, upstreams, environment) {
            let route = compiled(&listener.name.value, action, section.timeout);
            rules.push(entry(everything(), &Arc::new(route)));
        }
    }
    rules.into_iter().collect()
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
