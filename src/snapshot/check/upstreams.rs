//! What works differently than it reads: checks that overtake themselves, ejections that can never happen.

use crate::config::diagnostics::{Diagnostic, Diagnostics};
use crate::config::model::{Config, EndpointAddress, HealthCheck, Outlier, Upstream};
use crate::config::source::Span;
use crate::units::Pretty;

/// Checks each upstream by itself.
pub(super) fn upstreams(config: &Config, out: &mut Diagnostics) {
    for upstream in &config.upstreams {
        if let Some(check) = &upstream.health_check {
            health_check(upstream, check, out);
        }
        if let Some(rules) = &upstream.outlier {
            outlier(upstream, rules, out);
        }
    }
}

fn health_check(upstream: &Upstream, check: &HealthCheck, out: &mut Diagnostics) {
    let (timeout, interval) = (check.timeout, check.interval);
    if timeout.value <= interval.value {
        return;
    }
    let message = format!(
        "a health check of `{}` may take {}, longer than the {} to the next one",
        upstream.name.value,
        Pretty::Time(timeout.value),
        Pretty::Time(interval.value)
    );
    // One of the two is a default, which stands nowhere.
    let at = if timeout.at == Span::default() {
        interval.at
    } else {
        timeout.at
    };
    out.push(
        Diagnostic::warning(message)
            .at(at)
            .label("make `timeout` shorter than `interval`")
            .note("checks follow one another, so a slow endpoint is checked less often"),
    );
}

fn outlier(upstream: &Upstream, rules: &Outlier, out: &mut Diagnostics) {
    let (first, longest) = (rules.eject_for, rules.max_eject_for);
    if first.value > longest.value {
        let message = format!(
            "ejections of `{}` last {}, longer than the longest, {}",
            upstream.name.value,
            Pretty::Time(first.value),
            Pretty::Time(longest.value)
        );
        let at = if first.at == Span::default() {
            longest.at
        } else {
            first.at
        };
        out.push(
            Diagnostic::error(message)
                .at(at)
                .label("make `max_eject_for` at least `eject_for`"),
        );
    }
    if rules.consecutive_failures.is_none() && rules.success_rate.is_none() {
        let message = format!("`outlier` of `{}` ejects nobody", upstream.name.value);
        out.push(
            Diagnostic::error(message)
                .at(upstream.name.at)
                .label("write `consecutive_failures` or `success_rate`, or remove `outlier`"),
        );
    }
    if let [only] = upstream.endpoints.as_slice()
        && matches!(only.value.address, EndpointAddress::Socket(_))
        && rules.max_ejected.get() < 100
    {
        let message = format!(
            "upstream `{}` has one endpoint, which is never ejected",
            upstream.name.value
        );
        out.push(
            Diagnostic::warning(message)
                .at(only.at)
                .label("add another one, or remove `outlier`")
                .note("with `max_ejected: 100%` it would be, and requests would be refused"),
        );
    }
}
