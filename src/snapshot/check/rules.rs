//! Rules that never get a request because another one takes them all.

use std::collections::HashMap;

use super::serves_all;
use crate::config::diagnostics::{Diagnostic, Diagnostics};
use crate::config::model::{Config, HostMatch, Located, PathMatch, Route, RouteMatch, ValueMatch};
use crate::config::source::Span;

/// What a request must have, but for its method; conditions in one order.
#[derive(PartialEq, Eq, Hash, Clone)]
struct Rest<'c> {
    host: Option<&'c HostMatch>,
    path: Option<&'c PathMatch>,
    headers: Vec<&'c (String, ValueMatch)>,
    query: Vec<&'c (String, ValueMatch)>,
}

/// What a request must have; methods in one order.
type Rule<'c> = (Rest<'c>, Vec<&'c str>);

/// Of more rules than this that differ in their methods only, not each is compared with each.
const COMPARED: usize = 32;

/// The first route with a rule, and where the rule stands.
type First<'c> = (&'c Route, Span);

/// Of two equal rules on one listener the second would never get a request.
#[allow(
    clippy::mutable_key_type,
    reason = "an expression is compared and hashed by its text"
)]
pub(super) fn rules(config: &Config, out: &mut Diagnostics) {
    let everything = Located::new(RouteMatch::default(), Span::default());
    let mut seen: HashMap<Rule<'_>, Holders<'_>> = HashMap::new();
    let mut by_methods: HashMap<Rest<'_>, Vec<Listed<'_>>> = HashMap::new();
    for route in &config.routes {
        let matches = if route.matches.is_empty() {
            std::slice::from_ref(&everything)
        } else {
            &route.matches
        };
        for rule in matches {
            let at = if rule.at == Span::default() {
                route.name.at
            } else {
                rule.at
            };
            let (rest, methods) = normal(&rule.value);
            let key = (rest.clone(), methods.clone());
            if let Some((other, other_at)) = seen.entry(key).or_default().add(route, at) {
                out.push(same_rule(route, at, other, other_at));
                continue;
            }
            if methods.is_empty() {
                continue;
            }
            let listed = by_methods.entry(rest).or_default();
            let mine = Listed { methods, route, at };
            if let Some(other) = listed.iter().find(|other| other.covers(&mine)) {
                out.push(covered(&mine, other));
            }
            if listed.len() < COMPARED {
                listed.push(mine);
            }
        }
    }
}

/// A rule with methods.
struct Listed<'c> {
    methods: Vec<&'c str>,
    route: &'c Route,
    at: Span,
}

impl Listed<'_> {
    /// Whether this one, which stands before `other` and asks the same otherwise, takes all that `other` would.
    fn covers(&self, other: &Self) -> bool {
        let has = |names: &[Located<String>], name: &Located<String>| {
            names.iter().any(|own| own.value == name.value)
        };
        let (own, theirs) = (&self.route.listeners, &other.route.listeners);
        let listeners = serves_all(self.route)
            || (!serves_all(other.route) && theirs.iter().all(|name| has(own, name)));
        listeners
            && other
                .methods
                .iter()
                .all(|method| self.methods.contains(method))
    }
}

fn covered(rule: &Listed<'_>, other: &Listed<'_>) -> Diagnostic {
    let message = format!(
        "route `{}` gets no requests by this rule: route `{}` takes them before it",
        rule.route.name.value, other.route.name.value
    );
    Diagnostic::warning(message)
        .at(rule.at)
        .label("put it first, or remove it")
        .related(other.at, "this one takes them all")
}

/// The routes that have one rule, by listener.
#[derive(Default)]
struct Holders<'c> {
    of_all: Option<First<'c>>,
    of_any: Option<First<'c>>,
    by_listener: HashMap<&'c str, First<'c>>,
}

impl<'c> Holders<'c> {
    /// Adds `route`, or gives the one that has a listener in common with it.
    fn add(&mut self, route: &'c Route, at: Span) -> Option<First<'c>> {
        let names = || route.listeners.iter().map(|name| name.value.as_str());
        let mine = (route, at);
        let all = serves_all(route);
        let clash = if all {
            self.of_any
        } else {
            names().find_map(|name| self.by_listener.get(name)).copied()
        };
        if let Some(first) = self.of_all.or(clash) {
            return Some(first);
        }
        self.of_any = self.of_any.or(Some(mine));
        if all {
            self.of_all = Some(mine);
        } else {
            self.by_listener.extend(names().map(|name| (name, mine)));
        }
        None
    }
}

fn normal(rule: &RouteMatch) -> Rule<'_> {
    let mut methods: Vec<&str> = rule.methods.iter().map(String::as_str).collect();
    methods.sort_unstable();
    methods.dedup();
    // `/` as a prefix takes every path, as does no path at all.
    let path = rule
        .path
        .as_ref()
        .filter(|path| !matches!(path, PathMatch::Prefix(prefix) if prefix == "/"));
    let rest = Rest {
        host: rule.host.as_ref(),
        path,
        headers: sorted(&rule.headers),
        query: sorted(&rule.query),
    };
    (rest, methods)
}

fn sorted(conditions: &[(String, ValueMatch)]) -> Vec<&(String, ValueMatch)> {
    let mut sorted: Vec<_> = conditions.iter().collect();
    sorted.sort_by_key(|(name, _)| name);
    sorted
}

fn same_rule(route: &Route, at: Span, other: &Route, other_at: Span) -> Diagnostic {
    let message = if std::ptr::eq(route, other) {
        format!("route `{}` has the same rule twice", route.name.value)
    } else {
        format!(
            "routes `{}` and `{}` match the same requests",
            other.name.value, route.name.value
        )
    };
    Diagnostic::error(message)
        .at(at)
        .label("never reached: change or remove it")
        .related(other_at, "this one takes them all")
}
