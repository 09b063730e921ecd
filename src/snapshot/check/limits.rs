//! Waits that are longer than the request they belong to.

use crate::config::diagnostics::{Diagnostic, Diagnostics};
use crate::config::model::{Config, RateLimit, Route, WhenExceeded};
use crate::config::source::Span;
use crate::units::Pretty;

/// A wait never goes past the route's `timeout`, so what is longer is probably not meant.
pub(super) fn limits(config: &Config, out: &mut Diagnostics) {
    for route in &config.routes {
        for rule in &route.rate_limits {
            rate_limit(route, rule, out);
        }
        pending(route, out);
    }
}

fn rate_limit(route: &Route, rule: &RateLimit, out: &mut Diagnostics) {
    let wait = rule.max_wait.value;
    let Some(timeout) = route.timeout.filter(|timeout| *timeout < wait) else {
        return;
    };
    if rule.when_exceeded == WhenExceeded::Reject {
        return;
    }
    let at = if rule.max_wait.at == Span::default() {
        rule.name.at
    } else {
        rule.max_wait.at
    };
    let (wait, timeout) = (Pretty::Time(wait), Pretty::Time(timeout));
    out.push(
        Diagnostic::warning(format!(
            "nobody can wait for all of `max_wait: {wait}`: the `timeout` of route `{}` is {timeout}",
            route.name.value
        ))
        .at(at)
        .label(format!("write at most `{timeout}`")),
    );
}

fn pending(route: &Route, out: &mut Diagnostics) {
    let limit = &route.limits;
    let wait = limit.pending_wait;
    let Some(timeout) = route.timeout.filter(|timeout| *timeout < wait) else {
        return;
    };
    if limit.pending == 0 || limit.in_flight.is_none() {
        return;
    }
    let (wait, timeout) = (Pretty::Time(wait), Pretty::Time(timeout));
    out.push(
        Diagnostic::warning(format!(
            "nobody can wait for all of `limits.pending_wait: {wait}`: the `timeout` of route `{}` is {timeout}",
            route.name.value
        ))
        .at(route.name.at)
        .label(format!("write a `pending_wait` of at most `{timeout}`")),
    );
}
