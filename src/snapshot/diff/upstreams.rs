//! `upstreams` as lines.

use super::circuit_breaker::{write_breaker, write_failure};
use super::{Lines, time, word};
use crate::config::model::Upstream;

pub(super) fn write_upstream(lines: &mut Lines, upstream: &Upstream) {
    let mut line = |key: &str, value: String| {
        lines.insert(format!("upstreams.{}.{key}", upstream.name.value), value);
    };
    for endpoint in &upstream.endpoints {
        line(
            &format!("endpoints.{}", endpoint.value.address),
            format!("weight {}", endpoint.value.weight),
        );
    }
    line("balance", word(&upstream.balance));
    line("timeouts.connect", time(upstream.timeouts.connect));
    line("timeouts.idle", time(upstream.timeouts.idle));
    line("pool.max_idle", upstream.pool.max_idle.to_string());
    line("pool.idle_timeout", time(upstream.pool.idle_timeout));
    line(
        "pool.max_age",
        upstream.pool.max_age.map_or("off".into(), time),
    );
    if let Some(breaker) = &upstream.circuit_breaker {
        write_breaker(&mut line, &breaker.value);
    }
    write_failure(&mut line, &upstream.failure);
}
