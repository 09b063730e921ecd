//! `tracing` → [`Tracing`].

use std::sync::Arc;

use crate::config::model::{self as config, Config, Propagation};
use crate::snapshot::Snapshot;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::trace::Tracing;
use crate::telemetry::trace::collector::{OtlpProtocol, Target};
use crate::telemetry::trace::propagation::Format;
use crate::telemetry::trace::queue::SpanCounters;
use crate::telemetry::trace::sample::Sampler;

/// The same object again if the section is the same.
pub(super) fn compile_tracing(
    config: &Config,
    previous: Option<&Snapshot>,
    metrics: &Metrics,
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
    let Some(otlp) = &section.otlp else {
        return Some(Arc::new(tracing));
    };
    let target = Target {
        host: otlp.value.host.clone(),
        port: otlp.value.port,
        path: otlp.value.path.clone(),
        protocol: match otlp.value.protocol {
            config::OtlpProtocol::Http => OtlpProtocol::Http,
            config::OtlpProtocol::Grpc => OtlpProtocol::Grpc,
        },
        service: section.service.clone(),
    };
    let tracing = tracing.with_export(target, SpanCounters::new(metrics));
    Some(Arc::new(tracing))
}
