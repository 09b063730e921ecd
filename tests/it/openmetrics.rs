//! `/metrics` for those who accept OpenMetrics: the same numbers, with traces beside the durations.

use crate::support::client::{Answer, Client};
use crate::support::origin::Origin;
use crate::support::proxy::Proxy;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// What Prometheus 3 sends.
const ACCEPT: &str = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";

fn scrape(proxy: &Proxy, accept: &str) -> Answer {
    let mut client = Client::connect(proxy.app().probes_address().unwrap());
    client.send(format!(
        "GET /metrics HTTP/1.1\r\nhost: a\r\naccept: {accept}\r\n\r\n"
    ));
    client.read()
}

fn ask(proxy: &Proxy, traceparent: &str) {
    let mut client = proxy.client();
    client.send(format!(
        "GET / HTTP/1.1\r\nhost: a\r\ntraceparent: {traceparent}\r\n\r\n"
    ));
    assert_eq!(client.read().status(), 200);
}

#[test]
fn a_recorded_request_is_shown_with_its_trace_in_the_bucket_of_its_duration() {
    let origin = Origin::fixed("ok");
    let proxy = Proxy::with(origin.address(), "tracing: {}");
    ask(
        &proxy,
        "00-11111111111111111111111111111111-00f067aa0ba902b7-00",
    );
    ask(&proxy, &format!("00-{TRACE}-00f067aa0ba902b7-01"));
    crate::support::eventually("both are counted", || {
        proxy.metric(
            r#"http_requests_total{code="200",direction="inbound",method="GET",route="inbound"}"#,
        ) == 2.0
    });
    let answer = scrape(&proxy, ACCEPT);
    assert_eq!(
        answer.header("content-type"),
        Some("application/openmetrics-text; version=1.0.0; charset=utf-8")
    );
    let text = answer.text();
    let shown: Vec<&str> = text.lines().filter(|line| line.contains(" # ")).collect();
    assert_eq!(shown.len(), 1, "{shown:?}");
    let exemplar = regex::Regex::new(
        r#"^http_request_duration_seconds_bucket\{code="200",direction="inbound",method="GET",route="inbound",le="(.+?)"\} \d # \{trace_id="(\w+)"\} ([0-9.e-]+) (\d+\.\d{3})$"#,
    )
    .unwrap();
    let found = exemplar.captures(shown[0]).expect(shown[0]);
    assert_eq!(&found[2], TRACE);
    let bound = |text: &str| text.parse::<f64>().unwrap();
    assert!(bound(&found[3]) <= bound(&found[1]), "{}", shown[0]);
}

#[test]
fn both_formats_say_the_same_and_each_keeps_its_own_rules() {
    let origin = Origin::fixed("ok");
    let proxy = Proxy::before(origin.address());
    proxy.client().get("/");
    let open = scrape(&proxy, ACCEPT).text();
    assert!(open.ends_with("\n# EOF\n"));
    assert!(open.contains("# TYPE http_requests counter\n"), "{open}");
    assert!(open.contains("le=\"1.0\"") && open.contains("le=\"+Inf\""));
    assert!(!open.contains(" # "), "nothing was recorded");
    let plain = scrape(&proxy, "text/plain").text();
    assert!(plain.contains("# TYPE http_requests_total counter\n") && !plain.contains("# EOF"));
    let names = |text: &str| -> std::collections::BTreeSet<String> {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines
            .filter_map(|line| Some(line.split(['{', ' ']).next()?.to_owned()))
            .collect()
    };
    assert_eq!(names(&open), names(&plain));
    for (number, line) in open.lines().enumerate() {
        let sample = line.starts_with('#')
            || line
                .rsplit_once(' ')
                .is_some_and(|(_, value)| value.parse::<f64>().is_ok());
        assert!(sample, "line {}: {line}", number + 1);
    }
}
