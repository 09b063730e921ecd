//! `access_log` → what chooses and writes access lines.
//!
//! Path: [`super::compile`]. Names that nobody knows were refused by `check`.

use crate::config::model::{self, LogFormat, LogOutput};
use crate::telemetry::access_format::{AccessLog, Field, Filter, Format, Part};

/// `None`: no lines.
pub(super) fn compile(section: &model::AccessLog) -> Option<AccessLog> {
    if section.output == LogOutput::Off {
        return None;
    }
    let filter = section.filter.as_ref().map(|filter| Filter {
        statuses: (filter.statuses.iter())
            .map(|range| (*range.start(), *range.end()))
            .collect(),
        slower_than: filter.slower_than,
        sample: filter.sample,
    });
    Some(AccessLog {
        format: match &section.format {
            LogFormat::Json if section.fields.is_empty() => Format::All,
            LogFormat::Json => Format::Fields(
                (section.fields.iter())
                    .filter_map(|field| Field::named(&field.value))
                    .collect(),
            ),
            LogFormat::Template(text) => {
                Part::parse(&text.value).map_or(Format::All, Format::Template)
            }
        },
        filter,
        probes: section.probes,
        query: section.query,
        redact: (section.redact.iter())
            .map(|key| key.to_ascii_lowercase().into())
            .collect(),
        headers: (section.headers.iter())
            .filter_map(|name| name.parse().ok())
            .collect(),
    })
}
