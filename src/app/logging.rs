//! The program's own log: lines for a person on a terminal, JSON elsewhere.
//!
//! Path: `cli` installs it once. Events are `tracing` events; their message is a short constant (`config applied`), what
//! varies is in fields, of which `detail` is the one meant for people.

use std::fmt::{self, Write as _};
use std::io::IsTerminal;
use std::time::SystemTime;

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::telemetry::json::write_string;
use crate::telemetry::time::write_rfc3339;

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    Terminal,
    Json,
}

/// Sends events to standard error. Levels come from `RUST_LOG`, by default `info`.
pub fn install() {
    let style = if std::io::stderr().is_terminal() {
        Style::Terminal
    } else {
        Style::Json
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .event_format(Format { style })
        .finish();
    // Fails only when one is installed already: an embedder's, which then decides.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

struct Format {
    style: Style,
}

impl<S, N> FormatEvent<S, N> for Format
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let mut time = Vec::new();
        write_rfc3339(&mut time, SystemTime::now());
        let time = String::from_utf8_lossy(&time).into_owned();
        let level = *event.metadata().level();
        match self.style {
            Style::Terminal => {
                let clock = time.get(11..19).unwrap_or_default();
                writeln!(
                    out,
                    "{clock} {level:<5} {:<19} {}",
                    fields.message, fields.detail
                )
            }
            Style::Json => {
                let level = level.as_str().to_ascii_lowercase();
                let mut line = format!("{{\"time\":\"{time}\",\"level\":\"{level}\"");
                pair(&mut line, "msg", &fields.message);
                if !fields.detail.is_empty() {
                    pair(&mut line, "detail", &fields.detail);
                }
                line.push_str(&fields.others);
                writeln!(out, "{line}}}")
            }
        }
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    detail: String,
    others: String,
}

fn pair(line: &mut String, key: &str, value: &str) {
    let mut quoted = Vec::new();
    write_string(&mut quoted, value.as_bytes());
    let _ = write!(line, ",\"{key}\":{}", String::from_utf8_lossy(&quoted));
}

impl Visit for Fields {
    fn record_u64(&mut self, field: &Field, value: u64) {
        let _ = write!(self.others, ",\"{}\":{value}", field.name());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        let _ = write!(self.others, ",\"{}\":{value}", field.name());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        let _ = write!(self.others, ",\"{}\":{value}", field.name());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.message = value.into(),
            "detail" => self.detail = value.into(),
            name => pair(&mut self.others, name, value),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}
