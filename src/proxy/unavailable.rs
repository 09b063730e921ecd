//! Why nobody can be asked: each endpoint's state and its last error.
//!
//! Path: [`super::attempts`] calls it when the upstream picks nobody. The answer costs no wait.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::error::{ProxyError, Refusal};
use crate::upstream::Upstream;
use crate::upstream::endpoint::{Endpoint, Service};

/// Endpoints that a message names; more names tell nobody more.
const NAMED: usize = 5;

/// The error of a request that finds no endpoint in service, or none at all, at `now`.
pub fn nobody(upstream: &Upstream, now: Instant) -> ProxyError {
    let set = upstream.endpoints();
    let name = &upstream.name;
    if set.iter().len() == 0 {
        let why = (upstream.discovery.as_ref()).and_then(|discovery| discovery.trouble());
        let refusal = |why: String| {
            Box::new(Refusal {
                message: format!("upstream `{name}` has no endpoint{why}"),
                ..Refusal::default()
            })
        };
        return match why {
            Some(why) => ProxyError::Discovery(refusal(format!(": {why}"))),
            None => ProxyError::NoEndpoint(refusal(String::new())),
        };
    }
    let each = set.iter().take(NAMED);
    let each: Vec<String> = each
        .map(|endpoint| format!("{} {}", endpoint.label, endpoint.describe(now)))
        .collect();
    let more = match set.iter().len() - each.len() {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    let returns = set
        .iter()
        .filter_map(|endpoint| match endpoint.service(now) {
            Service::Ejected { left, .. } => Some(left),
            Service::In | Service::Unhealthy => None,
        });
    let checked = upstream
        .health_check
        .as_ref()
        .map(|check| check.interval_down);
    ProxyError::NoHealthyEndpoint(Box::new(Refusal {
        message: format!(
            "no endpoint of upstream `{name}` is in service: {}{more}",
            each.join("; ")
        ),
        retry_after: returns.chain(checked).min().map(at_least_a_second),
        ..Refusal::default()
    }))
}

/// What had gone wrong last at each endpoint of `upstream`.
pub fn last_errors(upstream: &Upstream) -> Option<String> {
    let set = upstream.endpoints();
    let told = |endpoint: &Arc<Endpoint>| {
        let last = endpoint.last_error()?;
        Some(format!("{} {}", endpoint.label, last.text))
    };
    let each: Vec<String> = set.iter().filter_map(told).take(NAMED).collect();
    (!each.is_empty()).then(|| each.join("; "))
}

fn at_least_a_second(wait: Duration) -> Duration {
    wait.max(Duration::from_secs(1))
}
