//! All metric families as a page, and how many series requests may open.
//!
//! Path: every family is described as it is registered in `super::families`; `docs/metrics.md` is printed from that, so
//! that none can be forgotten. Series of requests are opened when a pair of method and status first occurs: their number is
//! bounded here, whatever apps answer and files name. They go when their route goes.

use std::collections::HashSet;
use std::fmt::Write;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use prometheus::core::{Collector, MetricVec, MetricVecBuilder};
use prometheus::{CounterVec, IntCounter};

use super::families::Families;
use super::metrics::Metrics;

/// Series that one family of requests may have: more than a busy sidecar needs, and some megabytes at most.
pub const MAX_SERIES: usize = 4096;

/// The value of every label of a request's series beyond the bound.
pub const OVERFLOW: &str = "other";

/// One family.
#[derive(Debug, Clone)]
pub struct Described {
    pub(super) name: String,
    pub(super) kind: &'static str,
    pub(super) labels: Vec<String>,
    pub(super) help: String,
}

/// Direction, route, method and status.
pub(super) type SeriesKey = (&'static str, Arc<str>, &'static str, u16);

/// The series that there are, and what the process tells when somebody looks.
#[derive(Debug)]
pub(super) struct Bounds {
    known: Mutex<HashSet<SeriesKey>>,
    dropped: IntCounter,
    busy: CounterVec,
    workers: OnceLock<Busy>,
}

/// Tells how long each worker has been busy.
struct Busy(Box<dyn Fn() -> Vec<Duration> + Send + Sync>);

impl std::fmt::Debug for Busy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Busy")
    }
}

impl Bounds {
    pub(super) fn new(families: &Families<'_>) -> prometheus::Result<Self> {
        let dropped =
            "Requests counted under `other` because their family has as many series as it may";
        let busy = "Time that a worker was busy; its rate is the share of a CPU";
        Ok(Self {
            known: Mutex::default(),
            dropped: families.counter("outrigger_metrics_series_dropped_total", dropped)?,
            busy: families.seconds("outrigger_worker_busy_seconds_total", busy, &["worker"])?,
            workers: OnceLock::new(),
        })
    }

    /// Whether the series `key` exists, or may.
    pub(super) fn admit(&self, key: SeriesKey) -> bool {
        let mut known = self.known.lock();
        let admitted = known.contains(&key) || (known.len() < MAX_SERIES && known.insert(key));
        if !admitted {
            self.dropped.inc();
        }
        admitted
    }

    /// Sets what is read off elsewhere.
    pub(super) fn observe(&self) {
        let Some(Busy(busy)) = self.workers.get() else {
            return;
        };
        for (worker, total) in busy().into_iter().enumerate() {
            let counter = self.busy.with_label_values(&[&worker.to_string()]);
            counter.inc_by((total.as_secs_f64() - counter.get()).max(0.0));
        }
    }
}

/// Removes the series whose `label` has one of the values `gone`.
pub(super) fn forget_where<T: MetricVecBuilder>(
    family: &MetricVec<T>,
    label: &str,
    gone: &HashSet<String>,
) {
    let order: Vec<String> = (family.desc().first())
        .map(|desc| desc.variable_labels.clone())
        .unwrap_or_default();
    for shown in family.collect() {
        for series in shown.get_metric() {
            let value = |name: &str| {
                let mut pairs = series.get_label().iter();
                let pair = pairs.find(|pair| pair.name() == name);
                pair.map_or("", |pair| pair.value())
            };
            if gone.contains(value(label)) {
                let values: Vec<&str> = order.iter().map(|name| value(name)).collect();
                // An error says that there is no such series, which is what was wanted.
                drop(family.remove_label_values(&values));
            }
        }
    }
}

impl Metrics {
    /// Lets `busy` tell how long each worker has been busy since its start; asked whenever somebody looks.
    pub fn watch_workers(&self, busy: Box<dyn Fn() -> Vec<Duration> + Send + Sync>) {
        // The workers are started once.
        drop(self.bounds.workers.set(Busy(busy)));
    }

    /// Removes every series of routes that are gone. Requests that are still under way count on, unseen.
    pub fn forget_routes(&self, gone: &HashSet<String>) {
        if gone.is_empty() {
            return;
        }
        (self.bounds.known.lock()).retain(|(_, route, ..)| !gone.contains(&**route));
        self.exemplars.forget(|route| gone.contains(route));
        let requests = &self.requests;
        forget_where(&requests.total, "route", gone);
        forget_where(&requests.duration, "route", gone);
        forget_where(&requests.active, "route", gone);
        forget_where(&requests.errors, "route", gone);
        forget_where(&requests.first_byte, "route", gone);
        forget_where(&requests.bytes_in, "route", gone);
        forget_where(&requests.bytes_out, "route", gone);
        self.limits.forget_routes(gone);
        self.mirrors.forget_routes(gone);
    }

    /// The page about all families, in Markdown.
    pub fn page(&self) -> String {
        let mut page = String::from(
            "# Metrics\n\n\
             What `/metrics` says, in the Prometheus text format; in OpenMetrics for who accepts that, with the trace ids of\n\
             recorded requests as exemplars. Labels come from the configuration or from a closed set, never from a client; the\n\
             series of requests are bounded, and beyond the bound every label is `other`.\n\n\
             This page is printed from the families in `src/telemetry/`; `BLESS=1 cargo test --test it metrics` writes it anew.\n\n\
             | name | type | labels | meaning |\n|---|---|---|---|\n",
        );
        let mut all = self.described.clone();
        all.sort_by(|one, other| one.name.cmp(&other.name));
        for family in all {
            let labels: Vec<_> = (family.labels.iter())
                .map(|label| format!("`{label}`"))
                .collect();
            // Writing to a `String` cannot fail.
            let _ = writeln!(
                page,
                "| `{}` | {} | {} | {} |",
                family.name,
                family.kind,
                labels.join(", "),
                family.help
            );
        }
        page.push_str("\nOn Linux also `process_*`: CPU, memory, open files, start time, as the Prometheus client library names them.\n");
        page
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::{Method, StatusCode};

    use super::super::route::RouteTelemetry;
    use super::*;

    /// Paths, hosts and header values have no way into a label; methods, statuses and the names of routes have.
    #[test]
    fn a_million_random_requests_keep_the_exposition_bounded() {
        let metrics = Arc::new(Metrics::new().unwrap());
        let route = RouteTelemetry::new(&metrics, "inbound", "inbound".into(), "pay".into());
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..1_000_000 {
            let method = format!("M{}", random.u32(..));
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let status = StatusCode::from_u16(random.u16(200..600)).unwrap();
            route.finished(&method, status, 0.001);
        }
        let size = metrics.encode().unwrap().len();
        assert!(size < 1_000_000, "{size} bytes");
    }

    #[test]
    fn beyond_the_bound_requests_are_counted_as_other_and_room_comes_back_with_a_route() {
        let metrics = Arc::new(Metrics::new().unwrap());
        let route =
            |name: String| RouteTelemetry::new(&metrics, "inbound", "inbound".into(), name.into());
        for number in 0..MAX_SERIES + 10 {
            route(format!("r{number}")).finished(&Method::GET, StatusCode::OK, 0.001);
        }
        let text = || String::from_utf8(metrics.encode().unwrap()).unwrap();
        let other = r#"http_requests_total{code="other",direction="inbound",method="other",route="other"} 10"#;
        assert!(text().contains(other));
        assert!(text().contains("outrigger_metrics_series_dropped_total 10"));
        metrics.forget_routes(&HashSet::from(["r5".to_owned()]));
        assert!(!text().contains("route=\"r5\""));
        route("late".into()).finished(&Method::GET, StatusCode::OK, 0.001);
        assert!(text().contains(r#"method="GET",route="late"} 1"#));
    }
}
