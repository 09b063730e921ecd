//! Whether the attempts that a route allows fit into its time.

use std::time::Duration;

use crate::config::diagnostics::{Diagnostic, Diagnostics};
use crate::config::model::{Config, Jitter, Retry, Route};
use crate::units::Pretty;

/// Tells what cannot happen as written, and what may happen twice.
pub(super) fn retries(config: &Config, out: &mut Diagnostics) {
    for route in &config.routes {
        arithmetic(route, out);
        twice(route, out);
    }
}

/// `attempts × per_try_timeout + backoff` against `timeout`.
fn arithmetic(route: &Route, out: &mut Diagnostics) {
    let (Some(timeout), Some(per_try)) = (route.timeout, route.retry.per_try_timeout) else {
        return;
    };
    let retry = &route.retry;
    let shown = |time| Pretty::Time(time);
    if per_try.value >= timeout {
        out.push(
            Diagnostic::warning(format!(
                "the `timeout` of route `{}` ends an attempt before its `per_try_timeout` does",
                route.name.value
            ))
            .at(per_try.at)
            .label(format!("write less than `{}`", shown(timeout))),
        );
        return;
    }
    let backoff = longest_backoff(retry);
    let needed = per_try
        .value
        .saturating_mul(retry.attempts)
        .saturating_add(backoff);
    if retry.attempts > 1 && needed > timeout {
        let message = format!(
            "retries cannot all happen: {} attempts × `per_try_timeout: {}` + backoff ({}) = {} > `timeout: {}`",
            retry.attempts,
            shown(per_try.value),
            shown(backoff),
            shown(needed),
            shown(timeout)
        );
        let fits = timeout.saturating_sub(backoff) / retry.attempts;
        let fits = Duration::from_millis(u64::try_from(fits.as_millis()).unwrap_or(u64::MAX));
        let label = if fits.is_zero() {
            "allow fewer attempts, or a longer `timeout`".to_owned()
        } else {
            format!("`{}` would fit, or a longer `timeout`", shown(fits))
        };
        out.push(Diagnostic::warning(message).at(per_try.at).label(label));
    }
}

fn longest_backoff(retry: &Retry) -> Duration {
    let bound = |number: u32| match retry.backoff.jitter {
        Jitter::Decorrelated => retry.backoff.max,
        Jitter::Full | Jitter::None => {
            let doubled = 1u32.checked_shl(number).unwrap_or(u32::MAX);
            retry
                .backoff
                .base
                .saturating_mul(doubled)
                .min(retry.backoff.max)
        }
    };
    (0..retry.attempts.saturating_sub(1)).map(bound).sum()
}

/// A POST that is sent again without a key may be done twice.
fn twice(route: &Route, out: &mut Diagnostics) {
    let told = route.retry.retry_unsafe;
    if told.value && route.retry.attempts > 1 {
        out.push(
            Diagnostic::warning(format!(
                "route `{}` may do a POST or PATCH twice",
                route.name.value
            ))
            .at(told.at)
            .label("let clients send an `Idempotency-Key` instead, which is retried without this"),
        );
    }
}
