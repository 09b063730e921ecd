//! `upstreams` → [`Upstream`]s, with the state of those that stay.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;

use super::Environment;
use super::breakers::{Before, classifier, compile_breakers};
use super::health::{health_check, outlier};
use super::tls::{encryption, load_client};
use crate::config::model::{self, Config, EndpointAddress, HeaderCase};
use crate::policy::budget::{BudgetLimits, RetryBudget};
use crate::policy::retry::NotRetried;
use crate::route::mirror::MAX_IN_FLIGHT;
use crate::snapshot::Snapshot;
use crate::snapshot::limits::Limits;
use crate::telemetry::limits::Scope;
use crate::telemetry::metrics::UpstreamMetrics;
use crate::upstream::address::Address;
use crate::upstream::balance::Balance;
use crate::upstream::discover::{Discovery, Place, Target};
use crate::upstream::http2::Http2Settings;
use crate::upstream::members::{Listed, Members, Settings};
use crate::upstream::pool::{HeadLimits, PoolSettings};
use crate::upstream::proxy_header::ProxyHeader;
use crate::upstream::queue::Queue;
use crate::upstream::{Protocol, Upstream, UpstreamLimits};
use tokio::sync::Semaphore;
use tokio::time::Instant;

pub(super) fn compile_upstreams(
    config: &Config,
    limits: &Limits,
    previous: Option<&Snapshot>,
    environment: &Environment,
) -> Vec<Arc<Upstream>> {
    let old: HashMap<&str, Before<'_>> = previous
        .iter()
        .flat_map(|previous| previous.config.upstreams.iter().zip(&previous.upstreams))
        .map(|(section, upstream)| (section.name.value.as_str(), (section, upstream)))
        .collect();
    let same_headers =
        previous.is_some_and(|previous| previous.config.header_case == config.header_case);
    let compile = |section: &model::Upstream| match old.get(section.name.value.as_str()) {
        Some((before, upstream)) if same_headers && *before == section => {
            load_client(upstream, environment);
            Arc::clone(upstream)
        }
        before => {
            let (of, case) = ((section, limits), config.header_case);
            let upstream = compile_upstream(of, case, before.copied(), environment);
            load_client(&upstream, environment);
            Arc::new(upstream)
        }
    };
    config.upstreams.iter().map(compile).collect()
}

fn compile_upstream(
    (section, limits): (&model::Upstream, &Limits),
    header_case: HeaderCase,
    before: Option<Before<'_>>,
    environment: &Environment,
) -> Upstream {
    // Copies that are under way count, whatever else has changed.
    let copies = before.map_or_else(
        || Arc::new(Semaphore::new(MAX_IN_FLIGHT * environment.workers)),
        |(_, upstream)| Arc::clone(&upstream.copies),
    );
    let preserve_header_case = header_case == HeaderCase::Preserve;
    // What discovery knows stays in any case; a pooled connection was set up for one way to write header names and cannot
    // learn the other, nor become encrypted, or by another certificate.
    let previous = before.map(|(_, upstream)| upstream);
    let known = previous.and_then(|upstream| upstream.discovery.as_ref());
    let previous = before.filter(|(old, upstream)| {
        upstream.pool.preserve_header_case == preserve_header_case && old.tls == section.tls
    });
    let now = Instant::now();
    let discovery = discovery(section, known, now);
    let list = discovery
        .as_ref()
        .map_or_else(|| written(section), Discovery::addresses);
    let name: Arc<str> = section.name.value.as_str().into();
    let breakers = compile_breakers(section, before, environment);
    let settings = Settings {
        upstream: Arc::clone(&name),
        balance: balance(section.balance),
        panic_threshold: section.panic_threshold,
        workers: environment.workers,
        metrics: Arc::clone(&environment.metrics),
        journal: Arc::clone(&environment.journal),
        breakers: breakers.clone(),
    };
    let old = before.map(|(_, upstream)| upstream.endpoints());
    let old = old.as_deref();
    let same = old.filter(|_| previous.is_some());
    Upstream {
        name,
        members: Members::new(settings, &list, same, old, now.into_std()),
        discovery,
        health_check: health_check(section, protocol(section.protocol)),
        outlier: section.outlier.as_ref().map(outlier),
        limits: upstream_limits(section, limits, before, environment),
        connect_timeout: section.timeouts.connect,
        tls: encryption(section, before),
        idle_timeout: section.timeouts.idle,
        upgraded_idle: section.timeouts.upgraded_idle,
        protocol: protocol(section.protocol),
        proxy_header: proxy_header(section),
        pool: pool_settings(section, preserve_header_case),
        failure: classifier(&section.failure),
        breakers,
        copies,
        retry_budget: budget(section, before),
        metrics: retry_metrics(section, environment),
    }
}

fn proxy_header(section: &model::Upstream) -> Option<ProxyHeader> {
    Some(match section.proxy_protocol.as_ref()?.value {
        model::ProxyHeaderVersion::V1 => ProxyHeader::V1,
        model::ProxyHeaderVersion::V2 => ProxyHeader::V2,
    })
}

fn retry_metrics(section: &model::Upstream, environment: &Environment) -> UpstreamMetrics {
    let reasons = NotRetried::ALL.map(NotRetried::as_str);
    environment.metrics.retries(&section.name.value, &reasons)
}

/// With HTTP/1 a request takes a connection for itself, so the limit of connections is one of requests, too.
fn upstream_limits(
    section: &model::Upstream,
    limits: &Limits,
    before: Option<Before<'_>>,
    environment: &Environment,
) -> UpstreamLimits {
    let (requests, connections) = (section.limits.endpoint_in_flight, connections(section));
    let by_connections = match (requests, connections) {
        (Some(requests), Some(connections)) => connections < requests,
        (requests, _) => requests.is_none(),
    };
    UpstreamLimits {
        requests: limits.upstream(&section.name.value),
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
        queue: queue(section, before, environment),
    }
}

/// Requests that the connections which may be open can carry.
fn connections(section: &model::Upstream) -> Option<NonZeroU32> {
    let connections = section.limits.connections?;
    let each = match section.protocol {
        model::Protocol::Http2 => section.http2.max_streams,
        model::Protocol::Auto | model::Protocol::Http1 => 1,
    };
    Some(NonZeroU32::new(each).map_or(connections, |each| connections.saturating_mul(each)))
}

/// The queue of an equal section before, or a new one; none where endpoints have no limit or nobody may wait.
fn queue(
    section: &model::Upstream,
    before: Option<Before<'_>>,
    environment: &Environment,
) -> Option<Arc<Queue>> {
    let limits = &section.limits;
    let limited = limits.endpoint_in_flight.or(limits.connections).is_some();
    let (places, patience) = (limits.in_flight.pending, limits.in_flight.pending_wait);
    if !limited || places == 0 {
        return None;
    }
    let equal = before.filter(|(old, _)| old.limits == *limits);
    let kept = equal.and_then(|(_, upstream)| upstream.limits.queue.clone());
    kept.or_else(|| {
        let metrics = environment
            .metrics
            .admission(Scope::Endpoint, &section.name.value);
        Some(Arc::new(Queue::new(places, patience, metrics)))
    })
}

fn balance(word: model::Balance) -> Balance {
    match word {
        model::Balance::RoundRobin => Balance::RoundRobin,
        model::Balance::LeastConnections => Balance::LeastConnections,
    }
}

fn protocol(word: model::Protocol) -> Protocol {
    match word {
        model::Protocol::Auto => Protocol::Auto,
        model::Protocol::Http1 => Protocol::Http1,
        model::Protocol::Http2 => Protocol::Http2,
    }
}

fn pool_settings(section: &model::Upstream, preserve_header_case: bool) -> PoolSettings {
    PoolSettings {
        max_idle: usize::try_from(section.pool.max_idle).unwrap_or(usize::MAX),
        idle_timeout: section.pool.idle_timeout,
        max_age: section.pool.max_age,
        preserve_header_case,
        connections: section.limits.connections,
        http2: Http2Settings {
            max_streams: usize::try_from(section.http2.max_streams).unwrap_or(usize::MAX),
            window: section.http2.window,
            keepalive_interval: section.http2.keepalive_interval,
            keepalive_timeout: section.http2.keepalive_timeout,
            header_bytes: section.limits.header_bytes,
        },
        head: HeadLimits {
            bytes: usize::try_from(section.limits.header_bytes).unwrap_or(usize::MAX),
            lines: usize::try_from(section.limits.headers).unwrap_or(usize::MAX),
        },
    }
}

/// The budget of an equal section before, or a new one.
fn budget(section: &model::Upstream, before: Option<Before<'_>>) -> Option<Arc<RetryBudget>> {
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
            EndpointAddress::Socket(address) => Place::Address((*address).into()),
            EndpointAddress::Unix(path) => Place::Address(Address::Unix(path.as_path().into())),
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
        let weight = endpoint.value.weight;
        match &endpoint.value.address {
            EndpointAddress::Socket(address) => Some(((*address).into(), weight)),
            EndpointAddress::Unix(path) => Some((Address::Unix(path.as_path().into()), weight)),
            EndpointAddress::Name { .. } => None,
        }
    };
    section.endpoints.iter().filter_map(address).collect()
}
