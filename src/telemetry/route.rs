//! The metric handles of one route on one listener.
//!
//! Path: resolved by `snapshot`, held by the request record. The series of a method and status is resolved when it
//! first occurs and then found by a short scan, because most routes see a handful of the thousands that are possible.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use http::{Method, StatusCode};
use prometheus::{Histogram, IntCounter, IntGauge};

use super::catalogue::OVERFLOW;
use super::exemplars::Exemplar;
use super::json::write_string;
use super::metrics::{Metrics, RequestSeries};
use super::trace::ids::TraceId;

/// Pairs of method and status kept for quick look-up; further ones are looked up by name.
const QUICK: usize = 12;

/// The name of the route of requests that no route took. Route names cannot hold parentheses.
pub const NO_ROUTE: &str = "(none)";

/// A route's labels and handles.
#[derive(Debug)]
pub struct RouteTelemetry {
    /// `inbound` or `outbound`.
    pub direction: &'static str,
    /// The listener's name.
    pub listener: Arc<str>,
    /// The route's name.
    pub route: Arc<str>,
    /// What every access line says of it, behind the time.
    pub line: Box<[u8]>,
    /// Requests under way.
    pub active: IntGauge,
    metrics: Arc<Metrics>,
    series: [OnceLock<(u32, RequestSeries)>; QUICK],
    /// Resolved with the first request: many routes never see one.
    traffic: OnceLock<Traffic>,
}

#[derive(Debug)]
struct Traffic {
    first_byte: Histogram,
    bytes_in: IntCounter,
    bytes_out: IntCounter,
}

impl RouteTelemetry {
    /// Resolves the handles.
    pub fn new(
        metrics: &Arc<Metrics>,
        direction: &'static str,
        listener: Arc<str>,
        route: Arc<str>,
    ) -> Self {
        Self {
            active: metrics
                .requests
                .active
                .with_label_values(&[direction, &*route]),
            line: line(direction, &listener, &route),
            direction,
            listener,
            route,
            metrics: Arc::clone(metrics),
            series: Default::default(),
            traffic: OnceLock::new(),
        }
    }

    /// Counts a finished request.
    pub fn finished(&self, method: &Method, status: StatusCode, seconds: f64) {
        let (index, label) = method_label(method);
        let key = u32::from(status.as_u16()) | u32::from(index) << 16;
        for slot in &self.series {
            let (slot_key, series) = slot.get_or_init(|| (key, self.resolve(label, status)));
            if *slot_key == key {
                series.total.inc();
                series.duration.observe(seconds);
                return;
            }
        }
        let series = self.resolve(label, status);
        series.total.inc();
        series.duration.observe(seconds);
    }

    /// Shows the trace of a finished request that was recorded.
    pub fn recorded(&self, method: &Method, status: StatusCode, taken: Duration, trace: TraceId) {
        let labels = [
            self.direction,
            &*self.route,
            method_label(method).1,
            status.as_str(),
        ];
        let exemplar = Exemplar {
            trace,
            seconds: taken.as_secs_f64(),
            at: SystemTime::now(),
        };
        self.metrics.exemplars.add(labels, exemplar);
    }

    /// Counts what a request moved, and when its answer began.
    pub fn moved(&self, first_byte: Option<Duration>, bytes_in: u64, bytes_out: u64) {
        let traffic = self.traffic.get_or_init(|| {
            let labels = [self.direction, &*self.route];
            let requests = &self.metrics.requests;
            Traffic {
                first_byte: requests.first_byte.with_label_values(&labels),
                bytes_in: requests.bytes_in.with_label_values(&labels),
                bytes_out: requests.bytes_out.with_label_values(&labels),
            }
        });
        if let Some(first_byte) = first_byte {
            traffic.first_byte.observe(first_byte.as_secs_f64());
        }
        if bytes_in > 0 {
            traffic.bytes_in.inc_by(bytes_in);
        }
        if bytes_out > 0 {
            traffic.bytes_out.inc_by(bytes_out);
        }
    }

    /// Counts a request that the proxy answered itself or had to cut.
    pub fn failed(&self, reason: &str) {
        self.metrics.error(self.direction, &self.route, reason);
    }

    fn resolve(&self, method: &'static str, status: StatusCode) -> RequestSeries {
        let route = Arc::clone(&self.route);
        let key = (self.direction, route, method, status.as_u16());
        let labels = if self.metrics.bounds.admit(key) {
            [self.direction, &*self.route, method, status.as_str()]
        } else {
            [self.direction, OVERFLOW, OVERFLOW, OVERFLOW]
        };
        RequestSeries {
            total: self.metrics.requests.total.with_label_values(&labels),
            duration: self.metrics.requests.duration.with_label_values(&labels),
        }
    }
}

/// The closed set of values of the label `method`, with a number for each.
fn method_label(method: &Method) -> (u8, &'static str) {
    match *method {
        Method::GET => (0, "GET"),
        Method::POST => (1, "POST"),
        Method::PUT => (2, "PUT"),
        Method::DELETE => (3, "DELETE"),
        Method::HEAD => (4, "HEAD"),
        Method::OPTIONS => (5, "OPTIONS"),
        Method::PATCH => (6, "PATCH"),
        Method::CONNECT => (7, "CONNECT"),
        Method::TRACE => (8, "TRACE"),
        _ => (9, "other"),
    }
}

fn line(direction: &str, listener: &str, route: &str) -> Box<[u8]> {
    let mut line = b"\",\"level\":\"info\",\"msg\":\"request\"".to_vec();
    for (key, value) in [
        (&b",\"direction\":"[..], direction),
        (b",\"listener\":", listener),
        (b",\"route\":", route),
    ] {
        line.extend_from_slice(key);
        write_string(&mut line, value.as_bytes());
    }
    line.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn telemetry() -> (Arc<Metrics>, RouteTelemetry) {
        let metrics = Arc::new(Metrics::new().unwrap());
        let route = RouteTelemetry::new(&metrics, "inbound", "inbound".into(), "pay".into());
        (metrics, route)
    }

    fn exposition(metrics: &Metrics) -> String {
        String::from_utf8(metrics.encode().unwrap()).unwrap()
    }

    #[test]
    fn each_pair_of_method_and_status_has_its_own_series_even_past_the_quick_ones() {
        let (metrics, route) = telemetry();
        for code in 400..430 {
            route.finished(&Method::GET, StatusCode::from_u16(code).unwrap(), 0.001);
            route.finished(&Method::POST, StatusCode::from_u16(code).unwrap(), 0.001);
        }
        route.finished(&Method::GET, StatusCode::from_u16(429).unwrap(), 0.001);
        let text = exposition(&metrics);
        let line = |method, code, n| {
            format!(
                r#"http_requests_total{{code="{code}",direction="inbound",method="{method}",route="pay"}} {n}"#
            )
        };
        assert!(text.contains(&line("GET", 400, 1)), "{text}");
        assert!(text.contains(&line("POST", 429, 1)), "{text}");
        assert!(text.contains(&line("GET", 429, 2)), "{text}");
    }

    #[test]
    fn a_method_that_nobody_knows_becomes_other() {
        let (metrics, route) = telemetry();
        for method in ["BREW", "X-1", "PROPFIND"] {
            route.finished(
                &Method::from_bytes(method.as_bytes()).unwrap(),
                StatusCode::OK,
                0.001,
            );
        }
        let text = exposition(&metrics);
        assert!(text.contains(r#"method="other",route="pay"} 3"#), "{text}");
        assert!(!text.contains("BREW"));
    }
}
