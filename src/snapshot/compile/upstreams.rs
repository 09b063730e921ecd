//! `upstreams` → [`Upstream`]s, with the state of those that stay.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use tokio::time::Instant;

use super::Environment;
use crate::config::model::{self, Balance, Config, HeaderCase};
use crate::policy::budget::{BudgetLimits, RetryBudget};
use crate::policy::retry::NotRetried;
use crate::snapshot::Snapshot;
use crate::snapshot::limits::Limits;
use crate::upstream::balance::{Balancer, LeastConnections, RoundRobin};
use crate::upstream::endpoint::Endpoint;
use crate::upstream::pool::PoolSettings;
use crate::upstream::{Upstream, UpstreamLimits};

pub(super) fn compile_upstreams(
    config: &Config,
    limits: &Limits,
    previous: Option<&Snapshot>,
    environment: &Environment,
) -> Vec<Arc<Upstream>> {
    let old: HashMap<&str, (&model::Upstream, &Arc<Upstream>)> = previous
        .iter()
        .flat_map(|previous| previous.config.upstreams.iter().zip(&previous.upstreams))
        .map(|(section, upstream)| (section.name.value.as_str(), (section, upstream)))
        .collect();
    let same_headers =
        previous.is_some_and(|previous| previous.config.header_case == config.header_case);
    let compile = |section: &model::Upstream| match old.get(section.name.value.as_str()) {
        Some((before, upstream)) if same_headers && *before == section => Arc::clone(upstream),
        before => Arc::new(compile_upstream(
            (section, limits),
            config.header_case,
            before.copied(),
            environment,
        )),
    };
    config.upstreams.iter().map(compile).collect()
}

fn compile_upstream(
    (section, limits): (&model::Upstream, &Limits),
    header_case: HeaderCase,
    before: Option<(&model::Upstream, &Arc<Upstream>)>,
    environment: &Environment,
) -> Upstream {
    let weights: Vec<NonZeroU32> = section
        .endpoints
        .iter()
        .map(|endpoint| endpoint.value.weight)
        .collect();
    let preserve_header_case = header_case == HeaderCase::Preserve;
    // A pooled connection was set up for one way to write header names and cannot learn the other.
    let previous = before
        .map(|(_, upstream)| upstream)
        .filter(|upstream| upstream.pool.preserve_header_case == preserve_header_case);
    let endpoint = |section: &model::Located<model::Endpoint>, name: &str| {
        let address = section.value.address;
        let kept = previous.and_then(|upstream| {
            upstream
                .endpoints
                .iter()
                .find(|kept| kept.address == address)
        });
        kept.map_or_else(
            || {
                let metrics = environment.metrics.endpoint(name, &address.to_string());
                Arc::new(Endpoint::new(address, environment.workers, metrics))
            },
            Arc::clone,
        )
    };
    Upstream {
        endpoints: section
            .endpoints
            .iter()
            .map(|item| endpoint(item, &section.name.value))
            .collect(),
        name: section.name.value.as_str().into(),
        balancer: match section.balance {
            Balance::RoundRobin => Balancer::RoundRobin(RoundRobin::new(&weights)),
            Balance::LeastConnections => {
                Balancer::LeastConnections(LeastConnections::new(&weights))
            }
        },
        limits: upstream_limits(section, limits),
        connect_timeout: section.timeouts.connect,
        idle_timeout: section.timeouts.idle,
        pool: pool_settings(section, preserve_header_case),
        retry_budget: budget(section, before),
        metrics: environment.metrics.upstream(
            &section.name.value,
            &NotRetried::ALL.map(NotRetried::as_str),
        ),
    }
}

/// A request takes a connection for itself, so the limit of connections is one of requests, too.
fn upstream_limits(section: &model::Upstream, limits: &Limits) -> UpstreamLimits {
    let (requests, connections) = (
        section.limits.endpoint_in_flight,
        section.limits.connections,
    );
    let by_connections = match (requests, connections) {
        (Some(requests), Some(connections)) => connections < requests,
        (requests, _) => requests.is_none(),
    };
    UpstreamLimits {
        admission: limits.upstream(&section.name.value),
        per_endpoint: if by_connections {
            connections
        } else {
            requests
        },
        per_endpoint_key: if by_connections {
            "connections"
        } else {
            "endpoint_in_flight"
        },
    }
}

fn pool_settings(section: &model::Upstream, preserve_header_case: bool) -> PoolSettings {
    PoolSettings {
        max_idle: usize::try_from(section.pool.max_idle).unwrap_or(usize::MAX),
        idle_timeout: section.pool.idle_timeout,
        max_age: section.pool.max_age,
        preserve_header_case,
        connections: section.limits.connections,
    }
}

/// The budget of an equal section before, or a new one.
fn budget(
    section: &model::Upstream,
    before: Option<(&model::Upstream, &Arc<Upstream>)>,
) -> Option<Arc<RetryBudget>> {
    let limits = section.retry_budget?;
    let equal = before.filter(|(old, _)| old.retry_budget == Some(limits));
    let kept = equal.and_then(|(_, upstream)| upstream.retry_budget.clone());
    Some(kept.unwrap_or_else(|| {
        let limits = BudgetLimits {
            percent: limits.percent,
            window: limits.window,
            min_per_second: limits.min_per_second,
        };
        Arc::new(RetryBudget::new(limits, Instant::now().into_std()))
    }))
}
