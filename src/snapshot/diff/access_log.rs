//! The lines of `access_log`.

use super::{list, time};
use crate::config::model::{AccessLog, LogFilter, LogFormat, LogOutput};

/// Writes what the section says.
pub(super) fn write_access_log(log: &AccessLog, line: &mut impl FnMut(&str, String)) {
    let output = match &log.output {
        LogOutput::Stdout => "stdout".into(),
        LogOutput::Off => "off".into(),
        LogOutput::File(path) => path.value.clone(),
    };
    line("access_log", output);
    let format = match &log.format {
        LogFormat::Json => "json".into(),
        LogFormat::Template(text) => format!("`{}`", text.value),
    };
    line("access_log.format", format);
    let fields: Vec<_> = log.fields.iter().map(|field| &field.value).collect();
    line("access_log.fields", list(&fields));
    line(
        "access_log.filter",
        log.filter.as_ref().map_or("off".into(), filter),
    );
    line("access_log.probes", log.probes.to_string());
    line("access_log.query", log.query.to_string());
    line("access_log.redact", list(&log.redact));
    line("access_log.headers", list(&log.headers));
}

fn filter(filter: &LogFilter) -> String {
    let statuses = filter.statuses.iter();
    let statuses: Vec<_> = statuses
        .map(|range| format!("{}-{}", range.start(), range.end()))
        .collect();
    let slower = filter.slower_than.map_or("off".into(), time);
    let (whole, rest) = (filter.sample / 100, filter.sample % 100);
    format!(
        "status {}, slower_than {slower}, sample {whole}.{rest:02}%",
        list(&statuses)
    )
}
