//! Active health checks: who is asked what, what counts, and what endpoints may do to the one that asks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use crate::support::origin::{Origin, Peer, Request, Then};
use crate::support::proxy::Proxy;
use crate::support::{eventually, free_address};

/// An app whose health has this status.
fn app(health: &Arc<AtomicU16>) -> Origin {
    let health = Arc::clone(health);
    Origin::start(move |request, peer| {
        let status = if request.target() == "/healthz" {
            format!("{} It says", health.load(SeqCst))
        } else {
            "200 OK".into()
        };
        peer.answer(&status, "ok");
        Then::KeepAlive
    })
}

fn yaml(endpoints: &str, more: &str) -> String {
    format!(
        "listeners:\n  inbound: {{ address: 127.0.0.1:0, forward: app }}\n\
         upstreams:\n  app: {{ endpoints: [{endpoints}], panic_threshold: off{more} }}\n"
    )
}

const FAST: &str =
    ", health_check: { http: /healthz, interval: 20ms, interval_down: 20ms, timeout: 2s }";

fn healthy(proxy: &Proxy, origin: &Origin) -> bool {
    let address = origin.address();
    proxy.metric(&format!(
        "outrigger_endpoint_healthy{{endpoint=\"{address}\",upstream=\"app\"}}"
    )) == 1.0
}

fn checks(proxy: &Proxy, origin: &Origin, result: &str) -> f64 {
    let address = origin.address();
    proxy.metric(&format!(
        "outrigger_health_checks_total{{endpoint=\"{address}\",result=\"{result}\",upstream=\"app\"}}"
    ))
}

fn requests(origin: &Origin) -> usize {
    let all = origin.requests();
    all.iter().filter(|it| it.target() != "/healthz").count()
}

#[test]
fn an_unhealthy_endpoint_gets_no_requests_until_it_is_well_again() {
    let states = [Arc::new(AtomicU16::new(200)), Arc::new(AtomicU16::new(200))];
    let apps = [app(&states[0]), app(&states[1])];
    let (one, two) = (apps[0].address(), apps[1].address());
    let proxy = Proxy::start(&yaml(&format!("{one}, {two}"), FAST));
    eventually("both are healthy", || {
        apps.iter().all(|app| healthy(&proxy, app))
    });
    states[0].store(503, SeqCst);
    eventually("one is not", || !healthy(&proxy, &apps[0]));
    assert!(checks(&proxy, &apps[0], "failed") >= 3.0, "fall");
    let view = proxy.control("/upstreams").text();
    assert!(view.contains("1 of 2 healthy"), "{view}");
    assert!(
        view.contains(&format!("{one}")) && view.contains("unhealthy (answered 503)"),
        "{view}"
    );
    let before = (requests(&apps[0]), requests(&apps[1]));
    for _ in 0..10 {
        assert_eq!(proxy.client().get("/").status(), 200);
    }
    assert_eq!(
        (requests(&apps[0]), requests(&apps[1])),
        (before.0, before.1 + 10)
    );
    states[0].store(204, SeqCst);
    eventually("it is well again", || healthy(&proxy, &apps[0]));
    for _ in 0..10 {
        proxy.client().get("/");
    }
    assert_eq!(requests(&apps[0]), before.0 + 5);
}

#[test]
fn the_first_check_is_made_at_once_and_decides_alone() {
    let well = Origin::fixed("ok");
    let dead = free_address();
    let begun = Instant::now();
    let more = ", health_check: { http: /healthz, interval: 1h, interval_down: 1h }";
    let proxy = Proxy::start(&yaml(&format!("{dead}, {}", well.address()), more));
    eventually("the dead one is known", || {
        let view = proxy.control("/upstreams").text();
        view.contains("unhealthy (connect: connection refused)")
    });
    assert!(begun.elapsed() < Duration::from_secs(10));
    for _ in 0..6 {
        assert_eq!(proxy.client().get("/").status(), 200);
    }
}

#[test]
fn the_file_says_what_is_asked_and_what_is_good() {
    let origin = Origin::start(|request, peer| {
        assert_eq!(request.header("host"), Some("app.example"));
        assert_eq!(request.line, "GET /health?deep=1 HTTP/1.1");
        assert!(
            request
                .header("user-agent")
                .unwrap()
                .contains("health check")
        );
        peer.answer("302 Elsewhere", "");
        Then::KeepAlive
    });
    let more = ", health_check: { http: { path: '/health?deep=1', host: app.example, expect: [204, 300-302] }, interval: 20ms, timeout: 2s }";
    let proxy = Proxy::start(&yaml(&origin.address().to_string(), more));
    eventually("it passes", || checks(&proxy, &origin, "passed") > 2.0);
    assert!(healthy(&proxy, &origin));
}

#[test]
fn a_tcp_check_asks_for_a_connection_only() {
    let origin = Origin::fixed("ok");
    let address = origin.address();
    let more = ", health_check: { tcp: {}, interval: 20ms, interval_down: 20ms, timeout: 2s }";
    let proxy = Proxy::start(&yaml(&address.to_string(), more));
    eventually("it passes", || checks(&proxy, &origin, "passed") > 2.0);
    assert_eq!(origin.count(), 0);
    drop(origin);
    eventually("nobody listens", || {
        proxy
            .client()
            .get("/")
            .text()
            .contains("connection refused")
    });
    let refused = proxy.client().get("/");
    assert_eq!(refused.json()["code"], "NO_HEALTHY_ENDPOINT");
}

/// One check of an app that behaves like this; how `/upstreams` shows it then.
fn seen(
    timeout: &str,
    handler: impl Fn(&Request, &mut Peer) -> Then + Send + Sync + 'static,
) -> String {
    let origin = Origin::start(handler);
    let more = format!(
        ", health_check: {{ http: /healthz, interval: 1h, interval_down: 1h, timeout: {timeout} }}"
    );
    let proxy = Proxy::start(&yaml(&origin.address().to_string(), &more));
    eventually("a check", || {
        checks(&proxy, &origin, "passed") + checks(&proxy, &origin, "failed") > 0.0
    });
    proxy.control("/upstreams").text()
}

#[test]
fn whatever_an_endpoint_does_a_check_ends() {
    let view = seen("100ms", |_, peer| {
        peer.is_closed();
        Then::Close
    });
    assert!(
        view.contains("unhealthy (no answer within 100 ms)"),
        "{view}"
    );
    let view = seen("5s", |_, peer| {
        peer.send("this is no HTTP\r\n\r\n");
        Then::Close
    });
    assert!(
        view.contains("unhealthy (the answer is not valid HTTP)"),
        "{view}"
    );
    let view = seen("5s", |_, peer| {
        peer.send("HTTP/1.1 301 Elsewhere\r\nlocation: /other\r\ncontent-length: 0\r\n\r\n");
        Then::Close
    });
    assert!(view.contains("unhealthy (answered 301)"), "{view}");
    let view = seen("5s", |_, _| Then::Close);
    assert!(view.contains("unhealthy (connection closed"), "{view}");
    let view = seen("5s", |_, peer| {
        peer.send("HTTP/1.1 200 OK\r\n");
        while peer.send(format!("x: {}\r\n", "y".repeat(1000))) {}
        Then::Close
    });
    assert!(view.contains("unhealthy ("), "an endless head: {view}");
}

#[test]
fn the_body_of_an_answer_is_read_but_not_forever() {
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&sent);
    let view = seen("5s", move |_, peer| {
        peer.send("HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n");
        while peer.send([0; 1024]) {
            counted.fetch_add(1024, SeqCst);
        }
        Then::Close
    });
    assert!(
        view.contains(" healthy "),
        "what came by then counts: {view}"
    );
    assert!(sent.load(SeqCst) < 50_000_000);
    let view = seen("100ms", |_, peer| {
        peer.send("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nhalf");
        peer.is_closed();
        Then::Close
    });
    assert!(
        view.contains("unhealthy (no answer within 100 ms)"),
        "{view}"
    );
}

#[test]
fn a_reload_keeps_the_checks_of_what_did_not_change() {
    let state = Arc::new(AtomicU16::new(503));
    let origin = app(&state);
    let rare = ", health_check: { http: /healthz, interval: 1h, interval_down: 1h, timeout: 2s }";
    let text = yaml(&origin.address().to_string(), rare);
    let proxy = Proxy::start(&text);
    eventually("it is known to be unhealthy", || {
        checks(&proxy, &origin, "failed") == 1.0
    });
    proxy.reload(&format!("{text}drain: {{ timeout: 7s }}\n"));
    assert_eq!(proxy.client().get("/").status(), 503);
    assert_eq!(origin.count(), 1, "nobody asked again");
    // Changed: asked anew, and until then what was known counts.
    proxy.reload(&text.replace("timeout: 2s", "timeout: 3s"));
    eventually("asked again", || checks(&proxy, &origin, "failed") == 2.0);
    assert_eq!(proxy.client().get("/").status(), 503);
    // Without checks nobody would ever find it well again.
    proxy.reload(&yaml(&origin.address().to_string(), ""));
    assert_eq!(proxy.client().get("/").status(), 200);
    let text = proxy.probe("/metrics").text();
    assert!(!text.contains("outrigger_endpoint_healthy{"), "{text}");
}

#[test]
fn the_checks_of_what_is_gone_end() {
    let state = Arc::new(AtomicU16::new(200));
    let apps = [app(&state), app(&state)];
    let (one, two) = (apps[0].address(), apps[1].address());
    let proxy = Proxy::start(&yaml(&format!("{one}, {two}"), FAST));
    eventually("both are checked", || {
        apps.iter().all(|app| app.count() > 2)
    });
    proxy.reload(&yaml(&two.to_string(), FAST));
    // One may be on its way.
    let (before, other) = (apps[0].count(), apps[1].count());
    eventually("the other goes on", || apps[1].count() > other + 10);
    assert!(apps[0].count() <= before + 1);
}

#[test]
fn the_proxy_is_ready_with_its_app_if_the_file_says_so() {
    let state = Arc::new(AtomicU16::new(503));
    let origin = app(&state);
    let more = ", health_check: { http: /healthz, interval: 20ms, interval_down: 20ms, timeout: 2s, readiness: true }";
    let proxy = Proxy::start(&yaml(&origin.address().to_string(), more));
    eventually("the app was asked", || {
        checks(&proxy, &origin, "failed") > 0.0
    });
    let answer = proxy.probe("/ready");
    assert_eq!(answer.status(), 503);
    let json = answer.json();
    assert_eq!(json["checks"]["app"], false);
    assert_eq!(
        json["reason"],
        format!(
            "no endpoint of upstream `app` is healthy: {} unhealthy (answered 503)",
            origin.address()
        )
    );
    state.store(200, SeqCst);
    eventually("ready", || proxy.probe("/ready").status() == 200);
    state.store(503, SeqCst);
    eventually("no longer", || proxy.probe("/ready").status() == 503);
    // Without the word, the app's health is its own affair.
    proxy.reload(&yaml(&origin.address().to_string(), FAST));
    let json = proxy.probe("/ready").json();
    assert!(
        json["ready"] == true && json["checks"].get("app").is_none(),
        "{json}"
    );
}

#[test]
fn endpoints_that_are_found_are_checked_and_those_that_left_are_not() {
    let state = Arc::new(AtomicU16::new(200));
    let apps = [app(&state), app(&state)];
    let text = yaml("", FAST).replace("endpoints: []", "discovery: { file: endpoints.yaml }");
    let proxy = Proxy::start(&text);
    let file = proxy.path().with_file_name("endpoints.yaml");
    std::fs::write(&file, format!("- {}\n", apps[0].address())).unwrap();
    eventually("the first is checked", || {
        checks(&proxy, &apps[0], "passed") > 1.0
    });
    std::fs::write(&file, format!("- {}\n", apps[1].address())).unwrap();
    eventually("the second is checked", || {
        checks(&proxy, &apps[1], "passed") > 1.0
    });
    let (before, other) = (apps[0].count(), apps[1].count());
    eventually("the second goes on", || apps[1].count() > other + 10);
    assert!(apps[0].count() <= before + 1);
    let gone = format!("endpoint=\"{}\"", apps[0].address());
    assert!(!proxy.probe("/metrics").text().contains(&gone));
}
