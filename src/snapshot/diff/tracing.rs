//! `tracing` as lines.

use super::word;
use crate::config::model::Tracing;

pub(super) fn write_tracing(tracing: Option<&Tracing>, line: &mut dyn FnMut(&str, String)) {
    let Some(tracing) = tracing else {
        return;
    };
    let otlp = tracing.otlp.as_ref().map(|otlp| &otlp.value);
    line(
        "tracing.otlp",
        otlp.map_or("off".into(), |otlp| otlp.to_string()),
    );
    if let Some(otlp) = otlp {
        line("tracing.protocol", word(&otlp.protocol));
    }
    let (whole, part) = (tracing.sample / 100, tracing.sample % 100);
    line("tracing.sample", format!("{whole}.{part:02}%"));
    line(
        "tracing.propagation",
        super::list(tracing.propagation.iter().map(word)),
    );
    line("tracing.service", tracing.service.clone());
}
