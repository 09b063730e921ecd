//! Config → snapshot.
//!
//! Path: `app` calls [`compile`] with a configuration that [`super::check`] found sound. Binds nothing, starts nothing.
//! State is carried over by one rule: what is equal to what it was is the same object again. An upstream whose section
//! did not change keeps its cursor; an endpoint whose address stays keeps its pool and its count of requests in flight.

mod actions;
mod listeners;
mod routes;
mod upstreams;

use std::collections::HashMap;
use std::sync::Arc;

use super::Snapshot;
use super::forwarding::Forwarding;
use crate::config::model::{Config, LogOutput};
use crate::telemetry::metrics::Metrics;
use crate::upstream::Upstream;
use listeners::compile_listeners;
pub(super) use listeners::normalize_rules;
use upstreams::compile_upstreams;

/// Upstreams by their names.
type ByName<'a> = HashMap<&'a str, &'a Arc<Upstream>>;

/// What the process, not the file, decides.
#[derive(Debug, Clone)]
pub struct Environment {
    /// Where handles come from.
    pub metrics: Arc<Metrics>,
    /// Workers running.
    pub workers: usize,
}

/// Compiles `config`, taking over what stays the same from `previous`.
///
/// References to upstreams and listeners that do not exist are left out; [`super::check`] has refused them before.
pub fn compile(
    config: Config,
    hash: Arc<str>,
    previous: Option<&Snapshot>,
    environment: &Environment,
) -> Snapshot {
    let upstreams = compile_upstreams(&config, previous, environment);
    let (listeners, next_listener) = compile_listeners(&config, &upstreams, previous, environment);
    Snapshot {
        version: previous.map_or(1, |previous| previous.version + 1),
        hash,
        listeners,
        upstreams,
        forwarding: Forwarding::new(&config.trusted_proxies, config.forwarded_headers),
        access_log: config.access_log.output != LogOutput::Off,
        next_listener,
        config,
    }
}
