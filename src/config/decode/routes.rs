//! `routes[]`

use std::time::Duration;

use super::super::diagnostics::{Diagnostic, Diagnostics, Section};
use super::super::model::{
    Action, BodyLimit, HeaderRules, InFlightLimit, Located, Retry, Route, RouteMatch,
};
use super::super::yaml::Value;
use super::fields::{Fields, Item};
use super::header_rules::{Of, header_rules};
use super::{actions, keys, limits, matches, rate_limit, retry, rewrite, scalars};

const TIMEOUT: Duration = Duration::from_secs(30);

/// Reads all routes, in the file's order.
pub(super) fn routes(item: &Item<'_>, out: &mut Diagnostics) -> Vec<Route> {
    if matches!(item.node.value, Value::Null) {
        return Vec::new();
    }
    let Some(items) = item.items("routes", "write `- name: …` lines under it", out) else {
        out.mark_unreadable(Section::Routes);
        return Vec::new();
    };
    items
        .into_iter()
        .map(|item| route(item.named(), out))
        .collect()
}

fn route(item: Item<'_>, out: &mut Diagnostics) -> Route {
    let unread = || Located::new(String::new(), item.key);
    let mut route = Route {
        name: unread(),
        listeners: Vec::new(),
        matches: Vec::new(),
        action: Action::Forward(unread()),
        rewrite: None,
        request_headers: HeaderRules::default(),
        response_headers: HeaderRules::default(),
        mirrors: Vec::new(),
        tunnel: false,
        timeout: Some(TIMEOUT),
        retry: Retry::default(),
        rate_limits: Vec::new(),
        limits: InFlightLimit::default(),
        body_bytes: BodyLimit::default(),
    };
    let key = item.key;
    let Some(fields) = Fields::of(item, keys::ROUTE, out) else {
        return route;
    };
    if let Some(name) = fields.required("name", "my-route", out) {
        let hint = "write a name: letters, digits, `-`, `_`, `.`";
        if let Some(name) = scalars::name(&name, "a name", hint, out) {
            scalars::check_name(&name, "routes", out);
            route.name = name;
        }
    }
    if let Some(item) = fields.get("listeners") {
        route.listeners = listeners(&item, out);
    }
    if let Some(item) = fields.get("match") {
        route.matches = route_matches(item, out);
    }
    route.action = actions::action(&fields, key, out);
    if let Some(item) = fields.get("response_headers") {
        route.response_headers = header_rules(item, Of::Response, out);
    }
    forwarded(&fields, &mut route, out);
    if let Some(timeout) = fields
        .get("timeout")
        .and_then(|item| scalars::duration_or_off(&item, out))
    {
        route.timeout = timeout;
    }
    if let Some(item) = fields.get("retry") {
        route.retry = retry::retry(item, out);
    }
    if let Some(item) = fields.get("rate_limit") {
        route.rate_limits = rate_limit::rate_limits(item, out);
    }
    if let Some(item) = fields.get("limits") {
        (route.limits, route.body_bytes) = limits::route_limits(item, out);
    }
    route
}

/// What makes sense for requests that go to an upstream only.
fn forwarded(fields: &Fields<'_>, route: &mut Route, out: &mut Diagnostics) {
    let (does, acts) = match &route.action {
        Action::Forward(_) | Action::Split(_) => ("", false),
        Action::Redirect(_) => ("redirects", true),
        Action::Respond(_) => ("answers itself", true),
    };
    for item in ["rewrite", "request_headers", "mirror", "tunnel"]
        .iter()
        .filter_map(|key| fields.get(key).filter(|_| acts))
    {
        let (title, name) = item.path.rsplit_once('.').unwrap_or_default();
        let message = format!("`{title}` {does}, so its `{name}` would never be used");
        out.push(
            Diagnostic::error(message)
                .at(item.key)
                .label("remove it, or `forward` the requests"),
        );
    }
    if let Some(item) = fields.get("rewrite") {
        route.rewrite = rewrite::rewrite(item, out);
    }
    if let Some(item) = fields.get("request_headers") {
        route.request_headers = header_rules(item, Of::Request, out);
    }
    if let Some(item) = fields.get("mirror") {
        route.mirrors = actions::mirrors(item, out);
    }
    let tunnel = fields.get("tunnel");
    route.tunnel = tunnel
        .and_then(|item| scalars::boolean(&item, out))
        .unwrap_or_default();
}

fn listeners(item: &Item<'_>, out: &mut Diagnostics) -> Vec<Located<String>> {
    match item.items("listener names", "write a list: `[inbound]`", out) {
        Some(items) => items
            .iter()
            .map(|item| scalars::reference(item, "a listener", out))
            .collect(),
        // An unread list must not look like "all".
        None => vec![Located::new(String::new(), item.key)],
    }
}

/// A list, or one mapping alone.
fn route_matches(item: Item<'_>, out: &mut Diagnostics) -> Vec<Located<RouteMatch>> {
    match item.node.value {
        Value::Null => Vec::new(),
        Value::Mapping(_) => matches::route_match(item, out).into_iter().collect(),
        _ => {
            let label = "write `match: { path: /a }`";
            let items = item.items("rules", label, out).unwrap_or_default();
            items
                .into_iter()
                .filter_map(|item| matches::route_match(item, out))
                .collect()
        }
    }
}
