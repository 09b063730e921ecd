//! Breakers and rules of failure that cannot do what their author expects.

use std::time::Duration;

use crate::config::diagnostics::{Diagnostic, Diagnostics};
use crate::config::model::{CircuitBreaker, Config, DEFAULT_REQUEST_TIMEOUT, Located, Upstream};
use crate::units::Pretty;

pub(super) fn circuit_breakers(config: &Config, out: &mut Diagnostics) {
    for upstream in &config.upstreams {
        let name = &upstream.name.value;
        if let Some(breaker) = &upstream.circuit_breaker {
            let place = format!("upstreams.{name}.circuit_breaker");
            never_opens(&place, breaker, out);
            without_effect(&place, &breaker.value, out);
            if let Some(slow) = &breaker.value.slow {
                slower_than_timeouts(&place, slow, upstream, config, out);
            }
        }
        let place = format!("upstreams.{name}.failure");
        if let Some(slow) = &upstream.failure.slow {
            slower_than_timeouts(&place, slow, upstream, config, out);
        }
        successes_as_failures(&place, upstream, out);
    }
}

fn never_opens(place: &str, breaker: &Located<CircuitBreaker>, out: &mut Diagnostics) {
    let CircuitBreaker {
        consecutive_failures,
        error_rate,
        slow,
        ..
    } = &breaker.value;
    if consecutive_failures.is_none() && error_rate.is_none() && slow.is_none() {
        out.push(
            Diagnostic::warning(format!("`{place}` never opens: all its triggers are off"))
                .at(breaker.at)
                .label("set `consecutive_failures`, `error_rate` or `slow`, or remove it"),
        );
    }
}

/// What was changed and is never asked for.
fn without_effect(place: &str, breaker: &CircuitBreaker, out: &mut Diagnostics) {
    let (rate, least) = (&breaker.slow_rate, &breaker.min_requests);
    if rate.value != CircuitBreaker::SLOW_RATE && breaker.slow.is_none() {
        out.push(
            Diagnostic::warning(format!("`{place}.slow_rate` has no effect without `slow`"))
                .at(rate.at)
                .label("add `slow: 2s`, or remove it"),
        );
    }
    let no_rates = breaker.error_rate.is_none() && breaker.slow.is_none();
    if least.value != CircuitBreaker::MIN_REQUESTS && no_rates {
        let message =
            format!("`{place}.min_requests` has no effect without `error_rate` or `slow`");
        out.push(
            Diagnostic::warning(message)
                .at(least.at)
                .label("add `error_rate: 50%`, or remove it"),
        );
    }
    if let (Some(rate), Some(failures)) = (&breaker.error_rate, breaker.consecutive_failures)
        && rate.value == 100
        && failures <= least.value
    {
        let least = least.value;
        let message = format!(
            "`{place}.error_rate` never opens the breaker: {least} failures of {least} requests are {failures} in a row first"
        );
        let label = format!("lower it, or set `consecutive_failures` above {least}");
        out.push(Diagnostic::warning(message).at(rate.at).label(label));
    }
}

/// What is cut by a timer before it is slow is a timeout and never slow.
fn slower_than_timeouts(
    place: &str,
    slow: &Located<Duration>,
    upstream: &Upstream,
    config: &Config,
    out: &mut Diagnostics,
) {
    let (longest, whose) = longest_wait(upstream, config);
    let Some(longest) = longest.filter(|longest| slow.value >= *longest) else {
        return;
    };
    let message = format!(
        "no answer is as slow as `{place}.slow`: {} is not less than {whose}, {}",
        Pretty::Time(slow.value),
        Pretty::Time(longest)
    );
    let label = format!("write less than `{}`", Pretty::Time(longest));
    out.push(Diagnostic::warning(message).at(slow.at).label(label));
}

/// The longest time that a request may wait for an answer of `upstream`, and which timer sets it.
fn longest_wait(upstream: &Upstream, config: &Config) -> (Option<Duration>, String) {
    let name = &upstream.name.value;
    let of_routes = config
        .routes
        .iter()
        .filter(|route| route.action.upstreams().any(|it| it.value == *name))
        .map(|route| {
            (
                route.timeout,
                format!("`routes.{}.timeout`", route.name.value),
            )
        });
    let of_listeners = config
        .listeners
        .iter()
        .filter(|listener| {
            listener
                .forward
                .as_ref()
                .is_some_and(|it| it.value == *name)
        })
        .map(|listener| {
            let whose = format!("the limit of `listeners.{}.forward`", listener.name.value);
            (Some(DEFAULT_REQUEST_TIMEOUT), whose)
        });
    let longest = of_routes
        .chain(of_listeners)
        .max_by_key(|(timeout, _)| timeout.unwrap_or(Duration::MAX));
    longest.unwrap_or((None, String::new()))
}

fn successes_as_failures(place: &str, upstream: &Upstream, out: &mut Diagnostics) {
    let mut ranges = upstream.failure.statuses.iter();
    if let Some(range) = ranges.find(|range| range.value.first < 300) {
        out.push(
            Diagnostic::warning(format!(
                "`{place}.statuses` counts good answers as failures"
            ))
            .at(range.at)
            .label("200 to 299 mean success (RFC 9110 §15.3); write from 500 on"),
        );
    }
}
