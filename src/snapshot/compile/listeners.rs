//! `listeners` → [`Listener`]s, each with the table of its routes.

use std::sync::Arc;

use super::routes::compile_routes;
use super::tls::{identity_header, listener_tls};
use super::{Environment, Parts};
use crate::config::model::{self, Config};
use crate::route::normalize::{self, Normalize};
use crate::snapshot::{Listener, ListenerId, Snapshot, TcpForward};
use crate::telemetry::route::{NO_ROUTE, RouteTelemetry};
use crate::telemetry::tcp::TcpTelemetry;
use crate::tls::hello::Handshake;

pub(super) fn compile_listeners(
    config: &Config,
    parts: &Parts<'_>,
    previous: Option<&Snapshot>,
    environment: &Environment,
) -> (Vec<Arc<Listener>>, u32) {
    let mut next = previous.map_or(0, |previous| previous.next_listener);
    let mut compiled = Vec::with_capacity(config.listeners.len());
    for section in &config.listeners {
        let kept = previous.and_then(|previous| {
            previous
                .listeners
                .iter()
                .find(|old| *old.name == section.name.value)
        });
        let id = kept.map_or_else(
            || {
                next += 1;
                ListenerId(next - 1)
            },
            |listener| listener.id,
        );
        compiled.push(Arc::new(compile_listener(
            (section, id),
            config,
            parts,
            previous,
            environment,
        )));
    }
    (compiled, next)
}

fn compile_listener(
    (section, id): (&model::Listener, ListenerId),
    config: &Config,
    parts: &Parts<'_>,
    previous: Option<&Snapshot>,
    environment: &Environment,
) -> Listener {
    let name: Arc<str> = section.name.value.as_str().into();
    let direction = section.direction;
    let metrics = &environment.metrics;
    let telemetry = |route: &Arc<str>| {
        let (listener, route) = (Arc::clone(&name), Arc::clone(route));
        Arc::new(RouteTelemetry::new(
            metrics,
            direction.as_str(),
            listener,
            route,
        ))
    };
    Listener {
        id,
        direction,
        timeouts: section.timeouts,
        limits: section.limits,
        requests: parts.limits.listener(&name),
        routes: compile_routes(section, config, parts, environment, &telemetry),
        proxy_protocol: section.proxy_protocol,
        // Behind a unix socket nobody knows a port; the scheme's own need not be told.
        port: (section.address.value.socket()).map_or(HTTP_PORT, |address| address.port()),
        tunnels: config.routes.iter().any(|route| {
            let named = &route.listeners;
            route.tunnel && (named.is_empty() || named.iter().any(|it| *it.value == *name))
        }),
        tcp: tcp_forward(section, parts, environment),
        normalize: normalize_rules(section.normalize),
        no_route: telemetry(&NO_ROUTE.into()),
        metrics: metrics.listener(direction.as_str(), &name),
        handshakes: section.tls.as_ref().map(|_| {
            metrics.handshakes(
                direction.as_str(),
                &name,
                &Handshake::ALL.map(Handshake::as_str),
            )
        }),
        tls: listener_tls(section, previous, environment),
        identity_header: identity_header(section),
        name,
    }
}

fn tcp_forward(
    section: &model::Listener,
    parts: &Parts<'_>,
    environment: &Environment,
) -> Option<TcpForward> {
    let forward = section.forward.as_ref()?;
    if section.protocol != model::ListenerProtocol::Tcp {
        return None;
    }
    let upstream = Arc::clone(parts.upstreams.get(forward.value.as_str())?);
    let names = (section.name.value.as_str(), forward.value.as_str());
    let telemetry = TcpTelemetry::new(&environment.metrics, names.0, names.1);
    Some(TcpForward {
        upstream,
        telemetry,
    })
}

/// The port of `http` (RFC 9110 §4.2.1).
const HTTP_PORT: u16 = 80;

/// The rules of `normalize` as the matcher knows them.
pub(in crate::snapshot) fn normalize_rules(section: model::Normalize) -> Normalize {
    use model::{DotSegments, DoubleSlash, EncodedSlash};
    Normalize {
        encoded_slash: match section.encoded_slash {
            EncodedSlash::Keep => normalize::EncodedSlash::Keep,
            EncodedSlash::Decode => normalize::EncodedSlash::Decode,
            EncodedSlash::Reject => normalize::EncodedSlash::Reject,
        },
        double_slash: match section.double_slash {
            DoubleSlash::Keep => normalize::DoubleSlash::Keep,
            DoubleSlash::Merge => normalize::DoubleSlash::Merge,
            DoubleSlash::Reject => normalize::DoubleSlash::Reject,
        },
        dot_segments: match section.dot_segments {
            DotSegments::Keep => normalize::DotSegments::Keep,
            DotSegments::Resolve => normalize::DotSegments::Resolve,
            DotSegments::Reject => normalize::DotSegments::Reject,
        },
    }
}
