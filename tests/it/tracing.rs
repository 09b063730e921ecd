//! Traces: what the app and the log are told about them.

use std::net::SocketAddr;

use crate::support::free_address;
use crate::support::origin::{Origin, Request, Then};
use crate::support::proxy::{Proxy, minimal};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

fn proxy(origin: SocketAddr, tracing: &str) -> Proxy {
    Proxy::with(origin, &format!("tracing: {tracing}"))
}

/// Sends a request with these header lines; what the app got.
fn through(proxy: &Proxy, origin: &Origin, headers: &str) -> Request {
    let mut client = proxy.client();
    client.send(format!("GET / HTTP/1.1\r\nhost: a\r\n{headers}\r\n"));
    assert_eq!(client.read().status(), 200);
    origin.requests().pop().unwrap()
}

#[test]
fn without_the_section_what_comes_is_passed_on_untouched() {
    let origin = Origin::fixed("ok");
    let proxy = Proxy::before(origin.address());
    let got = through(
        &proxy,
        &origin,
        "traceparent: junk\r\ntracestate: a=1\r\nb3: 0\r\nbaggage: k=v\r\n",
    );
    assert_eq!(got.header("traceparent"), Some("junk"));
    assert_eq!(
        (got.header("tracestate"), got.header("b3")),
        (Some("a=1"), Some("0"))
    );
    assert_eq!(got.header("baggage"), Some("k=v"));
    assert!(proxy.access_line("/").get("trace_id").is_none());
    assert!(through(&proxy, &origin, "").header("traceparent").is_none());
}

#[test]
fn a_trace_goes_on_to_the_app_with_a_span_in_between() {
    let origin = Origin::fixed("ok");
    let proxy = proxy(origin.address(), "{ sample: 0% }");
    let got = through(
        &proxy,
        &origin,
        &format!("traceparent: 00-{TRACE}-{SPAN}-01\r\ntracestate: a=1\r\nbaggage: k=v\r\n"),
    );
    let parent = got.header("traceparent").unwrap();
    assert!(
        parent.starts_with(&format!("00-{TRACE}-")) && parent.ends_with("-01"),
        "{parent}"
    );
    assert!(!parent.contains(SPAN), "{parent}");
    assert_eq!(
        (got.header("tracestate"), got.header("baggage")),
        (Some("a=1"), Some("k=v"))
    );
    assert_eq!(proxy.access_line("/")["trace_id"], TRACE);
}

#[test]
fn a_malformed_parent_begins_a_new_trace() {
    let origin = Origin::fixed("ok");
    let proxy = proxy(origin.address(), "{ sample: 0% }");
    for bad in [
        "traceparent: junk\r\n".to_owned(),
        format!("traceparent: 00-{TRACE}-{SPAN}-01\r\ntraceparent: 00-{TRACE}-{SPAN}-01\r\n"),
        format!("traceparent: 00-{}-{SPAN}-01\r\n", "0".repeat(32)),
        format!("traceparent: {}\r\n", "f".repeat(8000)),
        "traceparent: \u{e9}\r\n".to_owned(),
    ] {
        let got = through(
            &proxy,
            &origin,
            &format!("{bad}tracestate: a=1\r\nbaggage: k=v\r\n"),
        );
        let [parent] = got.all("traceparent")[..] else {
            panic!("{got:?}")
        };
        assert!(parent.len() == 55 && parent.ends_with("-02"), "{parent}");
        assert!(
            !parent.contains(TRACE) && !parent.contains(&"0".repeat(16)),
            "{parent}"
        );
        assert_eq!(
            (got.header("tracestate"), got.header("baggage")),
            (None, Some("k=v"))
        );
    }
}

#[test]
fn every_attempt_is_a_parent_of_its_own() {
    let origin = Origin::start(|request, peer| {
        let status = if request.target() == "/" && request.number + request.connection < 4 {
            "503 No"
        } else {
            "200 OK"
        };
        peer.answer(status, "");
        Then::KeepAlive
    });
    let yaml = format!(
        "listeners:\n  inbound: {{ address: 127.0.0.1:0 }}\nroutes: [{{ name: app, forward: app, retry: {{ attempts: 5, on: [502, 503], backoff: {{ base: 1ms }} }} }}]\nupstreams:\n  app: {{ endpoints: [{}] }}\ntracing: {{}}\n",
        origin.address()
    );
    let proxy = Proxy::start(&yaml);
    through(&proxy, &origin, "");
    let parents: Vec<_> = origin.requests();
    let parents: Vec<_> = parents
        .iter()
        .map(|it| it.header("traceparent").unwrap())
        .collect();
    assert!(parents.len() > 1, "{parents:?}");
    let distinct: std::collections::HashSet<_> = parents.iter().map(|it| &it[36..52]).collect();
    assert_eq!(distinct.len(), parents.len(), "{parents:?}");
    assert!(
        parents.iter().all(|it| it[..35] == parents[0][..35]),
        "{parents:?}"
    );
}

#[test]
fn b3_is_spoken_where_the_file_says_so() {
    let origin = Origin::fixed("ok");
    let single = proxy(origin.address(), "{ propagation: [b3, w3c] }");
    let got = through(
        &single,
        &origin,
        &format!("traceparent: 00-{TRACE}-{SPAN}-00\r\n"),
    );
    let b3 = got.header("b3").unwrap();
    assert!(b3.starts_with(TRACE) && b3.ends_with("-0"), "{b3}");
    assert_eq!(got.header("traceparent"), None);
    let multi = proxy(origin.address(), "{ propagation: b3_multi }");
    let got = through(
        &multi,
        &origin,
        &format!(
            "X-B3-TraceId: {TRACE}\r\nX-B3-SpanId: {SPAN}\r\nX-B3-ParentSpanId: {SPAN}\r\nX-B3-Sampled: 1\r\n"
        ),
    );
    assert_eq!(
        (got.header("x-b3-traceid"), got.header("x-b3-sampled")),
        (Some(TRACE), Some("1"))
    );
    assert_ne!(got.header("x-b3-spanid"), Some(SPAN));
    assert_eq!(got.header("x-b3-parentspanid"), None);
}

#[test]
fn an_error_names_the_trace_to_those_who_are_trusted() {
    let yaml = minimal(free_address());
    let trusted = Proxy::start(&format!("{yaml}tracing: {{}}\n"));
    let ask = |proxy: &Proxy| {
        let mut client = proxy.client();
        client.send(format!(
            "GET / HTTP/1.1\r\nhost: a\r\ntraceparent: 00-{TRACE}-{SPAN}-00\r\n\r\n"
        ));
        client.read().json()
    };
    assert_eq!(ask(&trusted)["details"]["trace_id"], TRACE);
    let stranger = Proxy::start(&format!("{yaml}tracing: {{}}\ntrusted_proxies: []\n"));
    assert!(ask(&stranger)["details"].get("trace_id").is_none());
}
