//! `listeners` → [`Listener`]s, each with the table of its routes.

use std::sync::Arc;

use super::routes::compile_routes;
use super::{Environment, Parts};
use crate::config::model::{self, Config};
use crate::snapshot::{Listener, ListenerId, Snapshot};
use crate::telemetry::route::{NO_ROUTE, RouteTelemetry};

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
            section,
            id,
            config,
            parts,
            environment,
        )));
    }
    (compiled, next)
}

fn compile_listener(
    section: &model::Listener,
    id: ListenerId,
    config: &Config,
    parts: &Parts<'_>,
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
        routes: compile_routes(section, config, parts, &telemetry),
        no_route: telemetry(&NO_ROUTE.into()),
        metrics: metrics.listener(direction.as_str(), &name),
        name,
    }
}
