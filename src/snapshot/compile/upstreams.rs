//! `upstreams` → [`Upstream`]s, with the state of those that stay.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::time::Instant;

use super::Environment;
use super::health::{health_check, outlier};
use crate::config::model::{self, Config, EndpointAddress, HeaderCase};
use crate::snapshot::Snapshot;
use crate::upstream::Upstream;
use crate::upstream::balance::Balance;
use crate::upstream::discover::{Discovery, Place, Target};
use crate::upstream::members::{Listed, Members, Settings};
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
    let preserve_header_case = header_case == HeaderCase::Preserve;
    // What discovery knows stays in any case; a pooled connection was set up for one way to write header names and cannot
    // learn the other.
    let known = previous.and_then(|upstream| upstream.discovery.as_ref());
    let previous =
        previous.filter(|upstream| upstream.pool.preserve_header_case == preserve_header_case);
    let now = Instant::now();
    let discovery = discovery(section, known, now);
    let list = discovery
        .as_ref()
        .map_or_else(|| written(section), Discovery::addresses);
    let name: Arc<str> = section.name.value.as_str().into();
    let settings = Settings {
        upstream: Arc::clone(&name),
        balance: match section.balance {
            model::Balance::RoundRobin => Balance::RoundRobin,
            model::Balance::LeastConnections => Balance::LeastConnections,
        },
        panic_threshold: section.panic_threshold,
        workers: environment.workers,
        metrics: Arc::clone(&environment.metrics),
    };
    let before = previous.map(|upstream| upstream.endpoints());
    Upstream {
        name,
        members: Members::new(settings, &list, before.as_deref(), now.into_std()),
        discovery,
        health_check: section.health_check.as_ref().and_then(health_check),
        outlier: section.outlier.as_ref().map(outlier),
        connect_timeout: section.timeouts.connect,
        idle_timeout: section.timeouts.idle,
        pool: PoolSettings {
            max_idle: usize::try_from(section.pool.max_idle).unwrap_or(usize::MAX),
            idle_timeout: section.pool.idle_timeout,
            max_age: section.pool.max_age,
            preserve_header_case,
        },
    }
}

/// `None`: every endpoint is an address in the configuration.
fn discovery(
    section: &model::Upstream,
    known: Option<&Discovery>,
    now: Instant,
) -> Option<Discovery> {
    let file = section.discovery.as_ref();
    let file = file.map(|discovery| PathBuf::from(&discovery.file.value));
    let named = |endpoint: &model::Located<model::Endpoint>| {
        matches!(endpoint.value.address, EndpointAddress::Name { .. })
    };
    let needed = file.is_some() || section.endpoints.iter().any(named);
    needed.then(|| Discovery::new(targets(&section.endpoints), file, known, now))
}

/// What is written, for whoever finds out the addresses.
pub fn targets(endpoints: &[model::Located<model::Endpoint>]) -> Vec<Target> {
    let target = |endpoint: &model::Located<model::Endpoint>| Target {
        place: match &endpoint.value.address {
            EndpointAddress::Socket(address) => Place::Address(*address),
            EndpointAddress::Name { host, port } => Place::Name {
                host: host.as_str().into(),
                port: *port,
            },
        },
        weight: endpoint.value.weight,
    };
    endpoints.iter().map(target).collect()
}

/// The addresses that are written.
fn written(section: &model::Upstream) -> Vec<Listed> {
    let address = |endpoint: &model::Located<model::Endpoint>| -> Option<(_, NonZeroU32)> {
        match endpoint.value.address {
            EndpointAddress::Socket(address) => Some((address, endpoint.value.weight)),
            EndpointAddress::Name { .. } => None,
        }
    };
    section.endpoints.iter().filter_map(address).collect()
}
