//! `upstreams` → [`Upstream`]s, with the state of those that stay.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use tokio::sync::Semaphore;

use super::Environment;
use crate::config::model::{self, Balance, Config, HeaderCase};
use crate::route::mirror::MAX_IN_FLIGHT;
use crate::snapshot::Snapshot;
use crate::upstream::Upstream;
use crate::upstream::balance::{Balancer, LeastConnections, RoundRobin};
use crate::upstream::endpoint::Endpoint;
use crate::upstream::pool::PoolSettings;

pub(super) fn compile_upstreams(
    config: &Config,
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
        before => {
            let upstream = before.map(|(_, upstream)| *upstream);
            Arc::new(compile_upstream(
                section,
                config.header_case,
                upstream,
                environment,
            ))
        }
    };
    config.upstreams.iter().map(compile).collect()
}

fn compile_upstream(
    section: &model::Upstream,
    header_case: HeaderCase,
    previous: Option<&Arc<Upstream>>,
    environment: &Environment,
) -> Upstream {
    let weights: Vec<NonZeroU32> = section
        .endpoints
        .iter()
        .map(|endpoint| endpoint.value.weight)
        .collect();
    // Copies that are under way count, whatever else has changed.
    let copies = previous.map_or_else(
        || Arc::new(Semaphore::new(MAX_IN_FLIGHT * environment.workers)),
        |upstream| Arc::clone(&upstream.copies),
    );
    let preserve_header_case = header_case == HeaderCase::Preserve;
    // A pooled connection was set up for one way to write header names and cannot learn the other.
    let previous =
        previous.filter(|upstream| upstream.pool.preserve_header_case == preserve_header_case);
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
        connect_timeout: section.timeouts.connect,
        idle_timeout: section.timeouts.idle,
        pool: PoolSettings {
            max_idle: usize::try_from(section.pool.max_idle).unwrap_or(usize::MAX),
            idle_timeout: section.pool.idle_timeout,
            max_age: section.pool.max_age,
            preserve_header_case,
        },
        copies,
    }
}
