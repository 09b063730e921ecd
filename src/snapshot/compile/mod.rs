//! Config → snapshot.
//!
//! Path: `app` calls [`compile`] with a configuration that [`super::check`] found sound. Binds nothing, starts nothing.
//! State is carried over by one rule: what is equal to what it was is the same object again. An upstream whose section
//! did not change keeps its cursor; an endpoint whose address stays keeps its pool and its count of requests in flight.

mod access_log;
mod actions;
mod breakers;
mod health;
mod listeners;
mod retry;
mod routes;
mod tls;
mod tracing;
mod upstreams;

use std::collections::HashMap;
use std::sync::Arc;

use super::Snapshot;
use super::forwarding::Forwarding;
use super::limits::Limits;
use crate::config::model::Config;
use crate::telemetry::journal::Journal;
use crate::telemetry::metrics::Metrics;
use crate::upstream::Upstream;
use listeners::compile_listeners;
pub(super) use listeners::normalize_rules;
pub(super) use tls::pair_files;
pub use tls::{followed, read_again};
use upstreams::compile_upstreams;

pub use health::dns;
pub use upstreams::targets;

/// What listeners and routes refer to.
struct Parts<'a> {
    upstreams: ByName<'a>,
    limits: &'a Limits,
}

/// Upstreams by their names.
type ByName<'a> = HashMap<&'a str, &'a Arc<Upstream>>;

/// What the process, not the file, decides.
#[derive(Debug, Clone)]
pub struct Environment {
    /// Where handles come from.
    pub metrics: Arc<Metrics>,
    /// Where changes are written down.
    pub journal: Arc<Journal>,
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
    let before = previous.map(|previous| &previous.limits);
    let limits = Limits::compile(&config, before, &environment.metrics);
    let upstreams = compile_upstreams(&config, &limits, previous, environment);
    let parts = Parts {
        upstreams: (upstreams.iter())
            .map(|upstream| (&*upstream.name, upstream))
            .collect(),
        limits: &limits,
    };
    let (listeners, next_listener) = compile_listeners(&config, &parts, previous, environment);
    Snapshot {
        version: previous.map_or(1, |previous| previous.version + 1),
        hash,
        listeners,
        upstreams,
        limits,
        forwarding: Forwarding::new(&config),
        // The reader has refused what is not a header's name.
        identity_headers: tls::identity_headers(&config),
        deadline_header: config
            .deadline_header
            .as_ref()
            .and_then(|name| name.parse().ok()),
        tracing: tracing::compile_tracing(&config, previous, &environment.metrics),
        access_log: access_log::compile(&config.access_log),
        server_timing: config.server_timing,
        next_listener,
        config,
    }
}
