//! Spans that go to a collector, and collectors that do not want them.

use std::net::SocketAddr;
use std::time::Instant;

use crate::support::collector::{self, Grpc, hex, text};
use crate::support::origin::{Origin, Then};
use crate::support::proxy::{Proxy, minimal, without_retries};
use crate::support::{eventually, free_address};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

const OK: &str = r#"outrigger_trace_spans_exported_total{result="ok"}"#;
const FAILED: &str = r#"outrigger_trace_spans_exported_total{result="failed"}"#;
const DROPPED: &str = "outrigger_trace_spans_dropped_total";

fn section(collector: SocketAddr, more: &str) -> String {
    format!("tracing: {{ otlp: \"http://{collector}\", sample: 100%{more} }}")
}

fn proxy(origin: SocketAddr, collector: SocketAddr) -> Proxy {
    Proxy::with(origin, &section(collector, ""))
}

#[test]
fn a_request_is_a_span_of_the_server_and_one_for_each_attempt() {
    let (collector, received) = collector::http();
    let origin = Origin::start(|request, peer| {
        let first = request.connection == 1 && request.number == 1;
        peer.answer(if first { "503 No" } else { "200 OK" }, "");
        Then::KeepAlive
    });
    let proxy = Proxy::start(&format!(
        "listeners:\n  inbound: {{ address: 127.0.0.1:0 }}\nroutes: [{{ name: pay, forward: app, retry: {{ on: [503] }} }}]\nupstreams:\n  app: {{ endpoints: [{}] }}\n{}\n",
        origin.address(),
        section(collector.address(), ", service: shop"),
    ));
    let mut client = proxy.client();
    client.send(format!(
        "GET /a?secret=1 HTTP/1.1\r\nhost: a\r\ntraceparent: 00-{TRACE}-{SPAN}-01\r\n\r\n"
    ));
    assert_eq!(client.read().status(), 200);
    eventually("three spans", || received.spans().len() == 3);
    assert_eq!(collector.requests()[0].line, "POST /v1/traces HTTP/1.1");
    assert_eq!(received.services(), ["shop"]);
    let spans = received.spans();
    assert!(spans.iter().all(|span| hex(&span.trace_id) == TRACE));
    let (attempts, servers): (Vec<_>, Vec<_>) = spans.iter().partition(|span| span.kind == 3);
    let [server] = servers[..] else {
        panic!("{servers:?}")
    };
    assert_eq!((&*server.name, server.kind), ("GET pay", 2));
    assert_eq!(hex(&server.parent_span_id), SPAN);
    assert_eq!(text(&server.attributes, "url.path").unwrap(), "/a");
    assert_eq!(
        text(&server.attributes, "http.response.status_code").unwrap(),
        "200"
    );
    // What the app took for its parent is the attempt.
    let parents: Vec<_> = origin
        .requests()
        .iter()
        .map(|request| request.header("traceparent").unwrap()[36..52].to_owned())
        .collect();
    let told: Vec<_> = attempts.iter().map(|span| hex(&span.span_id)).collect();
    assert_eq!(told, parents);
    for (index, (attempt, status)) in attempts.iter().zip(["503", "200"]).enumerate() {
        assert_eq!(attempt.parent_span_id, server.span_id);
        let value = |key: &str| text(&attempt.attributes, key);
        assert_eq!(value("http.response.status_code").unwrap(), status);
        assert_eq!(
            value("server.port").unwrap(),
            origin.address().port().to_string()
        );
        assert_eq!(
            value("http.request.resend_count"),
            (index > 0).then(|| "1".to_owned())
        );
        assert!(attempt.start_time_unix_nano >= server.start_time_unix_nano);
        assert!(attempt.end_time_unix_nano <= server.end_time_unix_nano);
    }
    eventually("they are counted", || proxy.metric(OK) == 3.0);
    assert_eq!((proxy.metric(FAILED), proxy.metric(DROPPED)), (0.0, 0.0));
}

#[test]
fn what_fails_names_its_reason() {
    let (collector, received) = collector::http();
    let proxy = Proxy::start(&format!(
        "{}{}\n",
        without_retries(free_address()),
        section(collector.address(), "")
    ));
    let status = proxy.client().get("/").status();
    eventually("two spans", || received.spans().len() == 2);
    for span in received.spans() {
        assert_eq!(
            text(&span.attributes, "error.type").unwrap(),
            proxy.access_line("/")["reason"]
        );
        assert_eq!(span.status.as_ref().unwrap().code, 2, "{status} {span:?}");
    }
}

#[test]
fn what_is_not_sampled_is_not_sent() {
    let (collector, received) = collector::http();
    let origin = Origin::fixed("ok");
    let proxy = proxy(origin.address(), collector.address());
    let mut client = proxy.client();
    for flags in ["00", "01", "00"] {
        client.send(format!(
            "GET /{flags} HTTP/1.1\r\nhost: a\r\ntraceparent: 00-{TRACE}-{SPAN}-{flags}\r\n\r\n"
        ));
        assert_eq!(client.read().status(), 200);
    }
    proxy.drain();
    let paths: Vec<_> = received
        .spans()
        .iter()
        .map(|it| text(&it.attributes, "url.path").unwrap())
        .collect();
    assert_eq!(paths, ["/01", "/01"]);
}

#[test]
fn the_end_waits_for_what_is_not_sent_yet() {
    let (collector, received) = collector::http();
    let origin = Origin::fixed("ok");
    // By its name, too.
    let url = format!("http://localhost:{}", collector.address().port());
    let proxy = Proxy::with(
        origin.address(),
        &format!("tracing: {{ otlp: \"{url}\", sample: 100% }}"),
    );
    for _ in 0..3 {
        proxy.client().get("/");
    }
    proxy.drain();
    assert_eq!(received.spans().len(), 6);
}

#[test]
fn grpc_is_the_same_in_another_envelope() {
    let origin = Origin::fixed("ok");
    let collector = Grpc::start("0");
    let proxy = Proxy::with(
        origin.address(),
        &section(collector.address, ", protocol: grpc"),
    );
    proxy.client().get("/");
    eventually("two spans", || proxy.metric(OK) == 2.0);
    assert_eq!(collector.received.spans().len(), 2);
    assert_eq!(
        *collector.paths.lock().unwrap(),
        ["/opentelemetry.proto.collector.trace.v1.TraceService/Export"]
    );
    // Permission denied: said once, not asked again.
    let collector = Grpc::start("7");
    let proxy = Proxy::with(
        origin.address(),
        &section(collector.address, ", protocol: grpc"),
    );
    proxy.client().get("/");
    eventually("they failed", || proxy.metric(FAILED) == 2.0);
    assert_eq!(
        (collector.paths.lock().unwrap().len(), proxy.metric(OK)),
        (1, 0.0)
    );
}

#[test]
fn a_collector_that_is_down_or_refuses_costs_spans_and_no_request() {
    let origin = Origin::fixed("ok");
    let refusing = Origin::start(|request, peer| {
        peer.body(request);
        peer.answer("500 No", "");
        Then::KeepAlive
    });
    let rude = Origin::start(|_, peer| {
        peer.send("nonsense\r\n\r\n");
        Then::Close
    });
    for collector in [free_address(), refusing.address(), rude.address()] {
        let proxy = proxy(origin.address(), collector);
        let mut client = proxy.client();
        for _ in 0..20 {
            assert_eq!(client.get("/").text(), "ok");
        }
        eventually("all have failed", || proxy.metric(FAILED) == 40.0);
        assert_eq!(client.get("/").text(), "ok");
        assert_eq!(proxy.metric(OK), 0.0);
        let begun = Instant::now();
        drop(client);
        proxy.drain();
        assert!(begun.elapsed().as_secs() < 5, "{:?}", begun.elapsed());
    }
}

#[test]
fn a_slow_collector_fills_the_queue_and_then_spans_are_dropped() {
    let origin = Origin::fixed("ok");
    let slow = Origin::start(|_, peer| {
        peer.is_closed();
        Then::Close
    });
    let proxy = proxy(origin.address(), slow.address());
    let mut client = proxy.client();
    let mut sent = 0;
    while proxy.metric(DROPPED) == 0.0 {
        for _ in 0..200 {
            assert_eq!(client.get("/").text(), "ok");
            sent += 1;
        }
        assert!(sent < 20_000, "the queue has a bound");
    }
    let begun = Instant::now();
    drop(client);
    proxy.drain();
    assert!(
        begun.elapsed().as_secs() < 5,
        "the end has one, too: {:?}",
        begun.elapsed()
    );
}

#[test]
fn a_changed_section_takes_effect_and_loses_nothing() {
    let origin = Origin::fixed("ok");
    let ((first, at_first), (second, at_second)) = (collector::http(), collector::http());
    let yaml = |tracing: &str| format!("{}{tracing}\n", minimal(origin.address()));
    let proxy = Proxy::start(&yaml(&section(first.address(), "")));
    let mut client = proxy.client();
    client.get("/1");
    // Another section changes: the same exporter goes on.
    proxy.reload(&format!(
        "{}drain: {{ timeout: 7s }}\n",
        yaml(&section(first.address(), ""))
    ));
    client.get("/2");
    proxy.reload(&yaml(&section(second.address(), "")));
    client.get("/3");
    proxy.reload(&yaml(""));
    client.get("/4");
    assert!(origin.requests()[3].header("traceparent").is_none());
    eventually("each has its own", || {
        (at_first.spans().len(), at_second.spans().len()) == (4, 2)
    });
    proxy.drain();
    assert_eq!((at_first.spans().len(), at_second.spans().len()), (4, 2));
}

#[test]
fn a_copy_has_a_trace_of_its_own_that_leads_to_the_request() {
    let (collector, received) = collector::http();
    let (app, shadow) = (Origin::fixed("app"), Origin::fixed("shadow"));
    let proxy = Proxy::start(&format!(
        "listeners:\n  inbound: {{ address: 127.0.0.1:0 }}\nroutes: [{{ name: a, forward: app, mirror: [shadow, dead] }}]\nupstreams:\n  app: {{ endpoints: [{}] }}\n  shadow: {{ endpoints: [{}] }}\n  dead: {{ endpoints: [{}] }}\n{}\n",
        app.address(),
        shadow.address(),
        free_address(),
        section(collector.address(), ""),
    ));
    let mut client = proxy.client();
    client.send(format!(
        "GET / HTTP/1.1\r\nhost: a\r\ntraceparent: 00-{TRACE}-{SPAN}-01\r\ntracestate: a=1\r\n\r\n"
    ));
    assert_eq!(client.read().text(), "app");
    eventually("four spans", || received.spans().len() == 4);
    let spans = received.spans();
    let server = spans.iter().find(|span| span.kind == 2).unwrap();
    let copies: Vec<_> = spans
        .iter()
        .filter(|span| span.name.starts_with("mirror"))
        .collect();
    for copy in &copies {
        let [link] = &copy.links[..] else {
            panic!("{copy:?}")
        };
        assert_eq!(
            (&link.trace_id, &link.span_id),
            (&server.trace_id, &server.span_id)
        );
        assert!(copy.trace_id != server.trace_id && copy.parent_span_id.is_empty());
        let failed = copy.name == "mirror dead";
        assert_eq!(
            text(&copy.attributes, "error.type").is_some(),
            failed,
            "{copy:?}"
        );
    }
    let copy = copies
        .iter()
        .find(|copy| copy.name == "mirror shadow")
        .unwrap();
    let got = &shadow.requests()[0];
    let told = format!("00-{}-{}-03", hex(&copy.trace_id), hex(&copy.span_id));
    assert_eq!(
        (got.header("traceparent"), got.header("tracestate")),
        (Some(&*told), None)
    );
    assert_eq!(app.requests()[0].header("tracestate"), Some("a=1"));
}
