//! `upstreams` as lines.

use super::{Lines, limits, time, word};
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
    let budget = upstream.retry_budget.map(|budget| {
        let window = time(budget.window);
        format!(
            "{}% over {window}, at least {}/s",
            budget.percent, budget.min_per_second
        )
    });
    line("retry_budget", budget.unwrap_or("off".into()));
    limits::write_upstream_limits(&upstream.limits, &mut line);
}
