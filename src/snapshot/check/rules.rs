//! Of two equal rules on one listener the second would never get a request.

use std::collections::HashMap;

use super::serves_all;
use crate::config::diagnostics::{Diagnostic, Diagnostics};
use crate::config::model::{Config, HostMatch, Located, PathMatch, Route, RouteMatch};
use crate::config::source::Span;

/// What a request must have; methods in one order.
type Rule<'c> = (Option<&'c HostMatch>, Option<&'c PathMatch>, Vec<&'c str>);

/// The first route with a rule, and where the rule stands.
type First<'c> = (&'c Route, Span);

/// Of two equal rules on one listener the second would never get a request.
pub(super) fn rules(config: &Config, out: &mut Diagnostics) {
    let everything = Located::new(RouteMatch::default(), Span::default());
    let mut seen: HashMap<Rule<'_>, Holders<'_>> = HashMap::new();
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
            if let Some((other, other_at)) =
                seen.entry(normal(&rule.value)).or_default().add(route, at)
            {
                out.push(same_rule(route, at, other, other_at));
            }
        }
    }
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
    (rule.host.as_ref(), path, methods)
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
