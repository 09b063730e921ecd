//! `tracing` → [`Tracing`].

use std::sync::Arc;

use crate::config::model::{Config, Propagation};
use crate::snapshot::Snapshot;
use crate::telemetry::trace::Tracing;
use crate::telemetry::trace::propagation::Format;
use crate::telemetry::trace::sample::Sampler;

/// The same object again if the section is the same.
pub(super) fn compile_tracing(
    config: &Config,
    previous: Option<&Snapshot>,
) -> Option<Arc<Tracing>> {
    let section = config.tracing.as_ref()?;
    if let Some(previous) = previous
        && previous.config.tracing.as_ref() == Some(section)
    {
        return previous.tracing.clone();
    }
    let formats = section.propagation.iter().map(|format| match format {
        Propagation::W3c => Format::W3c,
        Propagation::B3 => Format::B3,
        Propagation::B3Multi => Format::B3Multi,
    });
    let tracing = Tracing::new(formats.collect(), Sampler::new(section.sample));
    Some(Arc::new(tracing))
}
