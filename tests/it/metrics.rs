//! What `/metrics` says is an interface: names, labels, and that the numbers are right.

use std::collections::BTreeSet;

use crate::support::client::Client;
use crate::support::eventually;
use crate::support::origin::{Origin, Then};
use crate::support::proxy::Proxy;

fn ask(client: &mut Client, method: &str, path: &str) -> u16 {
    client.send(format!(
        "{method} {path} HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n"
    ));
    client.read().status()
}

fn requests(direction: &str, route: &str, method: &str, code: u16) -> String {
    format!(
        r#"http_requests_total{{code="{code}",direction="{direction}",method="{method}",route="{route}"}}"#
    )
}

#[track_caller]
fn becomes(proxy: &Proxy, series: &str, value: f64) {
    eventually(&format!("{series} {value}"), || {
        proxy.metric(series) == value
    });
}

fn nothing_is_under_way(proxy: &Proxy) {
    eventually("no request is under way", || {
        let text = proxy.probe("/metrics").text();
        let mut gauges = text
            .lines()
            .filter(|line| line.starts_with("http_requests_active{"));
        gauges.all(|line| line.ends_with(" 0"))
    });
}

#[test]
fn the_three_classic_metrics_count_requests_by_direction_route_method_and_code() {
    let origin = Origin::start(|request, peer| {
        peer.body(request);
        let status = if request.target() == "/bad" {
            "503 Service Unavailable"
        } else {
            "200 OK"
        };
        peer.answer(status, "x");
        Then::KeepAlive
    });
    let proxy = Proxy::before(origin.address());
    let mut client = proxy.client();
    for _ in 0..3 {
        client.get("/");
    }
    client.post("/", b"body");
    ask(&mut client, "GET", "/bad");
    let route = "inbound";
    becomes(&proxy, &requests("inbound", route, "GET", 200), 3.0);
    becomes(&proxy, &requests("inbound", route, "POST", 200), 1.0);
    becomes(&proxy, &requests("inbound", route, "GET", 503), 1.0);
    let labels = r#"code="200",direction="inbound",method="GET",route="inbound""#;
    becomes(
        &proxy,
        &format!("http_request_duration_seconds_count{{{labels}}}"),
        3.0,
    );
    let sum = proxy.metric(&format!("http_request_duration_seconds_sum{{{labels}}}"));
    assert!(sum > 0.0 && sum < 20.0, "{sum} s");
    let text = proxy.probe("/metrics").text();
    for bound in ["0.005", "0.01", "0.1", "1", "10", "+Inf"] {
        let bucket = format!("http_request_duration_seconds_bucket{{{labels},le=\"{bound}\"}}");
        assert!(text.contains(&bucket), "{bucket}");
    }
    nothing_is_under_way(&proxy);
}

#[test]
fn directions_are_told_apart() {
    let origin = Origin::fixed("ok");
    let proxy = Proxy::start(&format!(
        "listeners:\n  inbound: {{ address: 127.0.0.1:0, forward: app }}\n  outbound: {{ address: 127.0.0.1:0, forward: app }}\nroutes:\n  - {{ name: both, match: [{{ path: /both }}], forward: app }}\nupstreams:\n  app: {{ endpoints: [{}] }}\n",
        origin.address()
    ));
    for (listener, count) in [("inbound", 2), ("outbound", 3)] {
        let mut client = Client::connect(proxy.listener(listener));
        for _ in 0..count {
            client.get("/both");
        }
        client.get("/");
        becomes(
            &proxy,
            &requests(listener, "both", "GET", 200),
            f64::from(count),
        );
        becomes(&proxy, &requests(listener, listener, "GET", 200), 1.0);
    }
}

#[test]
fn a_method_that_nobody_knows_is_counted_as_other() {
    let origin = Origin::fixed("ok");
    let proxy = Proxy::before(origin.address());
    let mut client = proxy.client();
    for method in ["BREW", "PROPFIND", "X-Y"] {
        ask(&mut client, method, "/");
    }
    becomes(&proxy, &requests("inbound", "inbound", "other", 200), 3.0);
    assert!(!proxy.probe("/metrics").text().contains("BREW"));
}

#[test]
fn what_a_client_chooses_never_becomes_a_series() {
    let origin = Origin::fixed("ok");
    let proxy = Proxy::start(&format!(
        "listeners:\n  inbound: {{ address: 127.0.0.1:0 }}\nroutes:\n  - {{ name: some, match: [{{ path: /some }}], forward: app }}\nupstreams:\n  app: {{ endpoints: [{}] }}\naccess_log: off\n",
        origin.address()
    ));
    let series = || -> BTreeSet<String> {
        let text = proxy.probe("/metrics").text();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines
            .filter_map(|line| line.rsplit_once(' '))
            .map(|(series, _)| series.to_string())
            .collect()
    };
    let mut client = proxy.client();
    for (method, path) in [
        ("GET", "/some"),
        ("GET", "/none"),
        ("NEW", "/some"),
        ("NEW", "/none"),
    ] {
        ask(&mut client, method, path);
    }
    becomes(&proxy, &requests("inbound", "(none)", "other", 404), 1.0);
    let before = series();
    for batch in 0..200u32 {
        let mut random = batch.wrapping_mul(2_654_435_761);
        let mut text = String::new();
        for number in 0..100 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let method = if number % 3 == 0 {
                format!("M{random:x}")
            } else {
                "GET".into()
            };
            let path = if number % 10 == 0 { "/some" } else { "" };
            text.push_str(&format!(
                "{method} {path}/{random:x} HTTP/1.1\r\nhost: h{random:x}.example.com\r\nx-request-id: {random:x}\r\nuser-agent: {random:x}\r\n\r\n"
            ));
        }
        client.send(text);
        for _ in 0..100 {
            client.read();
        }
    }
    let more: Vec<String> = series().difference(&before).cloned().collect();
    assert!(more.is_empty(), "{more:?}");
}

#[test]
fn the_gauge_of_requests_returns_to_0_whatever_ends_them() {
    let origin = Origin::start(|request, peer| {
        match request.target() {
            "/hang" => drop(peer.is_closed()),
            "/cut" => drop(peer.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc")),
            "/garbage" => drop(peer.send("what is this\r\n\r\n")),
            "/stream" => {
                peer.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
                while peer.send("1\r\nx\r\n") {
                    std::thread::sleep(std::time::Duration::from_millis(1));
                }
            }
            _ => {}
        }
        Then::Close
    });
    let proxy = Proxy::before(origin.address());
    let active = r#"http_requests_active{direction="inbound",route="inbound"}"#;
    let mut hanging: Vec<Client> = (0..5).map(|_| proxy.client()).collect();
    for client in &mut hanging {
        client.send("GET /hang HTTP/1.1\r\nhost: a\r\n\r\n");
    }
    becomes(&proxy, active, 5.0);
    drop(hanging);
    becomes(&proxy, active, 0.0);
    let mut streaming = proxy.client();
    streaming.send("GET /stream HTTP/1.1\r\nhost: a\r\n\r\n");
    streaming.read_head().unwrap();
    becomes(&proxy, active, 1.0);
    drop(streaming);
    becomes(&proxy, active, 0.0);
    for path in ["/cut", "/garbage", "/close"] {
        let mut client = proxy.client();
        client.send(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n"));
        drop(client.try_read());
    }
    nothing_is_under_way(&proxy);
    for reason in [
        "client_gone",
        "upstream_body_reset",
        "upstream_protocol_error",
        "upstream_reset",
    ] {
        let errors = format!(
            r#"outrigger_errors_total{{direction="inbound",reason="{reason}",route="inbound"}}"#
        );
        assert!(proxy.metric(&errors) >= 1.0, "{reason}");
    }
}

#[test]
fn connections_and_attempts_are_counted_on_both_sides() {
    let origin = Origin::fixed("ok");
    let address = origin.address();
    let proxy = Proxy::before(address);
    let mut client = proxy.client();
    for _ in 0..5 {
        client.get("/");
    }
    let downstream = |name: &str| {
        format!(r#"outrigger_connections_{name}{{direction="inbound",listener="inbound"}}"#)
    };
    becomes(&proxy, &downstream("total"), 1.0);
    becomes(&proxy, &downstream("active"), 1.0);
    let endpoint = format!(r#"endpoint="{address}""#);
    let of = |name: &str| format!(r#"outrigger_{name}{{{endpoint},upstream="app"}}"#);
    let by = |name: &str, result: &str| {
        format!(r#"outrigger_{name}{{{endpoint},result="{result}",upstream="app"}}"#)
    };
    becomes(&proxy, &of("pool_reused_total"), 4.0);
    becomes(&proxy, &of("pool_idle"), 1.0);
    becomes(&proxy, &by("upstream_connects_total", "ok"), 1.0);
    becomes(&proxy, &by("upstream_attempts_total", "response"), 5.0);
    drop(client);
    becomes(&proxy, &downstream("active"), 0.0);
}

#[test]
fn an_endpoint_that_is_not_there_is_counted_as_such() {
    let address = crate::support::free_address();
    let proxy = Proxy::without_retries(address);
    assert_eq!(proxy.client().get("/").status(), 502);
    for (name, result) in [
        ("upstream_connects_total", "failed"),
        ("upstream_attempts_total", "connect_failed"),
    ] {
        let series =
            format!(r#"outrigger_{name}{{endpoint="{address}",result="{result}",upstream="app"}}"#);
        becomes(&proxy, &series, 1.0);
    }
}

#[test]
fn bytes_first_bytes_budgets_and_busy_workers_are_told() {
    let origin = Origin::start(|request, peer| {
        peer.body(request);
        peer.answer("200 OK", "0123456789");
        Then::KeepAlive
    });
    let proxy = Proxy::before(origin.address());
    let mut client = proxy.client();
    for _ in 0..3 {
        client.post("/", b"hello");
    }
    let labels = r#"{direction="inbound",route="inbound"}"#;
    becomes(
        &proxy,
        &format!("outrigger_request_bytes_total{labels}"),
        15.0,
    );
    becomes(
        &proxy,
        &format!("outrigger_response_bytes_total{labels}"),
        30.0,
    );
    becomes(
        &proxy,
        &format!("outrigger_first_byte_seconds_count{labels}"),
        3.0,
    );
    let left = r#"outrigger_retry_budget_left{upstream="app"}"#;
    assert!(proxy.metric(left) > 0.0);
    let busy = r#"outrigger_worker_busy_seconds_total{worker="0"}"#;
    let before = proxy.metric(busy);
    eventually("the worker works", || {
        client.get("/");
        proxy.metric(busy) > before
    });
}

#[test]
fn routes_and_upstreams_that_are_gone_leave_no_series() {
    let origin = Origin::fixed("ok");
    let yaml = |route: &str, upstream: &str| {
        format!(
            "listeners:\n  inbound: {{ address: 127.0.0.1:0 }}\nroutes: [{{ name: {route}, forward: {upstream}, \
             rate_limit: {{ requests: 9, per: 1s }}, limits: {{ in_flight: 9 }} }}]\n\
             upstreams:\n  {upstream}: {{ endpoints: [{}], limits: {{ in_flight: 9, endpoint_in_flight: 9 }} }}\n",
            origin.address()
        )
    };
    let proxy = Proxy::start(&yaml("old-route", "old-upstream"));
    assert_eq!(proxy.client().get("/").status(), 200);
    becomes(&proxy, &requests("inbound", "old-route", "GET", 200), 1.0);
    proxy.reload(&yaml("new-route", "new-upstream"));
    assert_eq!(proxy.client().get("/").status(), 200);
    becomes(&proxy, &requests("inbound", "new-route", "GET", 200), 1.0);
    let text = proxy.probe("/metrics").text();
    for line in text.lines() {
        assert!(!line.contains("old-"), "{line}");
    }
}

#[test]
fn the_page_about_metrics_is_what_is_registered() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
    let page = outrigger::telemetry::metrics::Metrics::new()
        .unwrap()
        .page();
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(path, &page).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        written == page,
        "docs/metrics.md is old; BLESS=1 rewrites it"
    );
    // Nothing is exposed that the page does not name.
    let origin = Origin::fixed("ok");
    let proxy = Proxy::before(origin.address());
    proxy.client().get("/");
    for line in proxy.probe("/metrics").text().lines() {
        let Some(name) = line
            .strip_prefix("# TYPE ")
            .and_then(|it| it.split(' ').next())
        else {
            continue;
        };
        let named = page.contains(&format!("| `{name}` |"));
        assert!(named || name.starts_with("process_"), "{name}");
    }
}
