use http::Uri;

use super::*;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::record::Attempts;
use crate::telemetry::trace::Tracing;
use crate::telemetry::trace::sample::{ALL, Sampler};

fn record(path: &str, attempts: usize) -> RequestRecord {
    let metrics = Arc::new(Metrics::new().unwrap());
    let route = RouteTelemetry::new(&metrics, "inbound", "in".into(), "pay".into());
    let mut record = RequestRecord {
        client: [10, 1, 2, 3].into(),
        method: Method::POST,
        uri: path.parse::<Uri>().unwrap(),
        request_id: None,
        trace: None,
        route: Arc::new(route),
        upstream: None,
        attempts: Attempts::default(),
        status: Some(StatusCode::OK),
        reason: None,
        cause: None,
        limit: None,
        limit_at: None,
        not_retried: None,
        queued: Duration::ZERO,
        observed: None,
        bytes_in: 1,
        bytes_out: 2,
        first_byte: None,
        duration: Duration::from_millis(100),
        config: "x".into(),
        probe: false,
        headers: None,
    };
    for index in 0..attempts {
        let last = index + 1 == attempts;
        record.attempts.push(AttemptRecord {
            endpoint: "10.0.0.6:8443".into(),
            outcome: if last {
                Outcome::Status(StatusCode::OK)
            } else {
                Outcome::Failed("upstream_reset")
            },
            elapsed: Duration::from_millis(10),
            connect: None,
            tls: None,
            started: Duration::from_millis(20 * index as u64),
            span: Some(SpanId::random()),
        });
    }
    record
}

/// A request with so many attempts.
pub(in super::super) fn finished(attempts: usize) -> Finished {
    let trace = Tracing::new(Vec::new(), Sampler::new(ALL)).begin(None);
    Finished::of(&record("/", attempts), trace, SystemTime::now())
}

fn spans(finished: Finished) -> Vec<SpanData> {
    let mut spans = Vec::new();
    finished.into_spans(&InstrumentationScope::builder("t").build(), &mut spans);
    spans
}

fn attribute(span: &SpanData, key: &str) -> Option<String> {
    let found = span.attributes.iter().find(|it| it.key.as_str() == key);
    found.map(|it| it.value.to_string())
}

#[test]
fn attempts_are_children_of_the_request_and_lie_within_it() {
    let spans = spans(finished(3));
    let [first, second, third, server] = &spans[..] else {
        panic!("{spans:?}")
    };
    assert_eq!(server.name, "POST pay");
    let millis = |from: SystemTime, to: SystemTime| to.duration_since(from).unwrap().as_millis();
    for (index, attempt) in [first, second, third].into_iter().enumerate() {
        assert_eq!(attempt.parent_span_id, server.span_context.span_id());
        assert_eq!(
            attempt.span_context.trace_id(),
            server.span_context.trace_id()
        );
        let offset = millis(server.start_time, attempt.start_time);
        assert_eq!(offset, 20 * index as u128);
        let resent = (index > 0).then(|| index.to_string());
        assert_eq!(attribute(attempt, "http.request.resend_count"), resent);
    }
    assert_eq!(millis(first.start_time, first.end_time), 10);
    assert_eq!(attribute(first, "error.type").unwrap(), "upstream_reset");
    assert_eq!(
        third.end_time, server.end_time,
        "with the body of its answer"
    );
    assert_eq!(attribute(third, "server.address").unwrap(), "10.0.0.6");
    assert_eq!(millis(server.start_time, server.end_time), 100);
    assert_eq!(
        (attribute(server, "error.type"), &server.status),
        (None, &Status::Unset)
    );
}

#[test]
fn what_a_client_chooses_is_cut_and_never_a_name() {
    let mut record = record(&format!("/{}", "x".repeat(20_000)), 1);
    record.method = Method::from_bytes(b"BREW").unwrap();
    let trace = Tracing::new(Vec::new(), Sampler::new(ALL)).begin(None);
    let spans = spans(Finished::of(&record, trace, SystemTime::now()));
    for span in &spans {
        assert_eq!(attribute(span, "url.path").unwrap().len(), PATH_LIMIT);
        assert_eq!(attribute(span, "http.request.method").unwrap(), "_OTHER");
    }
    assert_eq!((&*spans[0].name, &*spans[1].name), ("HTTP", "HTTP pay"));
}

#[test]
fn only_the_server_s_mistakes_are_errors_of_its_span() {
    for (status, reason, error, told) in [
        (Some(404), None, false, None),
        (Some(404), Some(Reason::NoRoute), false, Some("no_route")),
        (
            Some(503),
            Some(Reason::CircuitOpen),
            true,
            Some("circuit_open"),
        ),
        (Some(500), None, true, Some("500")),
        (
            Some(200),
            Some(Reason::UpstreamBodyReset),
            true,
            Some("upstream_body_reset"),
        ),
        (None, Some(Reason::ClientGone), true, Some("client_gone")),
    ] {
        let mut record = record("/", 0);
        record.status = status.map(|status| StatusCode::from_u16(status).unwrap());
        record.reason = reason;
        let trace = Tracing::new(Vec::new(), Sampler::new(ALL)).begin(None);
        let spans = spans(Finished::of(&record, trace, SystemTime::now()));
        let is_error = matches!(spans[0].status, Status::Error { .. });
        assert_eq!(is_error, error, "{status:?} {reason:?}");
        assert_eq!(attribute(&spans[0], "error.type").as_deref(), told);
    }
}
