//! The OpenMetrics text format, version 1.0.0, for who asks for it: the one that has exemplars.
//!
//! Path: `admin` chooses by `Accept`; [`super::metrics::Metrics`] calls it. The prometheus crate writes the older format
//! only. They differ in the name of a counter's family, in how bounds of buckets are written, in escapes, and in the end.

use std::fmt::{self, Write};
use std::time::UNIX_EPOCH;

use prometheus::proto::{LabelPair, Metric, MetricFamily, MetricType};

use super::exemplars::{Exemplar, Exemplars};

/// The media type.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The family that has exemplars.
const DURATIONS: &str = "http_request_duration_seconds";

/// Writes `families`.
pub(super) fn encode(families: &[MetricFamily], exemplars: &Exemplars) -> String {
    let mut out = String::with_capacity(16 * 1024);
    for family in families {
        // Writing to a `String` cannot fail.
        let _ = write_family(&mut out, family, exemplars);
    }
    out.push_str("# EOF\n");
    out
}

fn write_family(out: &mut String, family: &MetricFamily, exemplars: &Exemplars) -> fmt::Result {
    let counter = family.get_field_type() == MetricType::COUNTER;
    let name = if counter {
        family.name().trim_end_matches("_total")
    } else {
        family.name()
    };
    let kind = match family.get_field_type() {
        MetricType::COUNTER => "counter",
        MetricType::GAUGE => "gauge",
        MetricType::HISTOGRAM => "histogram",
        // Nothing here makes those.
        _ => return Ok(()),
    };
    writeln!(out, "# TYPE {name} {kind}")?;
    writeln!(out, "# HELP {name} {}", Escaped(family.help()))?;
    for metric in family.get_metric() {
        match kind {
            "histogram" => {
                let shown = family.name() == DURATIONS;
                let latest = shown.then(|| exemplars.of(series(metric))).flatten();
                write_histogram(out, name, metric, latest.as_ref().map_or(&[], |it| &it[..]))?;
            }
            "counter" => {
                write_name(out, name, "_total", metric.get_label(), None)?;
                writeln!(out, " {}", Number(metric.get_counter().get_value()))?;
            }
            _ => {
                write_name(out, name, "", metric.get_label(), None)?;
                writeln!(out, " {}", Number(metric.get_gauge().get_value()))?;
            }
        }
    }
    Ok(())
}

fn write_histogram(
    out: &mut String,
    name: &str,
    metric: &Metric,
    exemplars: &[Option<Exemplar>],
) -> fmt::Result {
    let histogram = metric.get_histogram();
    let labels = metric.get_label();
    let buckets = histogram.get_bucket().iter();
    let buckets = buckets.map(|bucket| (bucket.upper_bound(), bucket.cumulative_count()));
    let bounded = buckets.filter(|(bound, _)| bound.is_finite());
    let last = (f64::INFINITY, histogram.get_sample_count());
    for (place, (bound, count)) in bounded.chain([last]).enumerate() {
        write_name(out, name, "_bucket", labels, Some(bound))?;
        write!(out, " {count}")?;
        if let Some(Some(exemplar)) = exemplars.get(place) {
            write_exemplar(out, exemplar)?;
        }
        out.push('\n');
    }
    write_name(out, name, "_sum", labels, None)?;
    writeln!(out, " {}", Number(histogram.get_sample_sum()))?;
    write_name(out, name, "_count", labels, None)?;
    writeln!(out, " {}", histogram.get_sample_count())
}

fn write_exemplar(out: &mut String, exemplar: &Exemplar) -> fmt::Result {
    let at = exemplar.at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (trace, seconds) = (exemplar.trace, Number(exemplar.seconds));
    write!(
        out,
        " # {{trace_id=\"{trace}\"}} {seconds} {:.3}",
        at.as_secs_f64()
    )
}

fn write_name(
    out: &mut String,
    name: &str,
    suffix: &str,
    labels: &[LabelPair],
    bound: Option<f64>,
) -> fmt::Result {
    write!(out, "{name}{suffix}")?;
    let mut before = '{';
    for label in labels {
        write!(
            out,
            "{before}{}=\"{}\"",
            label.name(),
            Escaped(label.value())
        )?;
        before = ',';
    }
    if let Some(bound) = bound {
        write!(out, "{before}le=\"{}\"", Number(bound))?;
        before = ',';
    }
    if before == ',' {
        out.push('}');
    }
    Ok(())
}

/// Direction, route, method and status.
fn series(metric: &Metric) -> [&str; 4] {
    ["direction", "route", "method", "code"].map(|name| {
        let mut pairs = metric.get_label().iter();
        let pair = pairs.find(|pair| pair.name() == name);
        pair.map_or("", |pair| pair.value())
    })
}

/// A number as the format wants it: `1.0`, `0.005`, `+Inf`.
struct Number(f64);

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            value if value == f64::INFINITY => f.write_str("+Inf"),
            value if value == f64::NEG_INFINITY => f.write_str("-Inf"),
            value => write!(f, "{value:?}"),
        }
    }
}

/// A text in which nothing ends a line or a label.
struct Escaped<'t>(&'t str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}
