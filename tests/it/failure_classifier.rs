//! Which answers speak against their endpoint: seen by whether a breaker opens at the first failure.

use std::io::Read;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::client::Client;
use crate::support::eventually;
use crate::support::http2::Http2;
use crate::support::origin::{Origin, Peer, Then};
use crate::support::proxy::Proxy;

/// In front of `origin`, whose first failure opens the breaker for good.
fn strict(origin: &Origin, failure: &str) -> Proxy {
    with(origin, "{ consecutive_failures: 1, open_for: 1h }", failure)
}

fn with(origin: &Origin, breaker: &str, more: &str) -> Proxy {
    let address = origin.address();
    Proxy::start(&format!(
        "listeners:\n  inbound: {{ address: 127.0.0.1:0 }}\nroutes: [{{ name: inbound, forward: app, retry: off }}]\nupstreams:\n  app:\n    endpoints: [{address}]\n    \
         circuit_breaker: {breaker}\n{more}"
    ))
}

/// An app that sends the same bytes each time.
fn sending(bytes: &'static str) -> Origin {
    Origin::start(move |_, peer| {
        peer.send(bytes);
        Then::KeepAlive
    })
}

/// Whether the breaker is open.
fn is_open(proxy: &Proxy) -> bool {
    let mut control = Client::connect(proxy.app().control_address().unwrap());
    control.send("GET /upstreams HTTP/1.1\r\nhost: a\r\naccept: application/json\r\n\r\n");
    control.read().json()[0]["endpoints"][0]["breaker"]["state"] != "closed"
}

/// How many failures were counted for `reason`.
fn counted(proxy: &Proxy, origin: &Origin, reason: &str) -> f64 {
    let endpoint = origin.address();
    proxy.metric(&format!(
        r#"outrigger_upstream_failures_total{{endpoint="{endpoint}",reason="{reason}",upstream="app"}}"#
    ))
}

/// Whether one such answer opens the breaker.
#[track_caller]
fn opens(bytes: &'static str, failure: &str, expected: bool) {
    let origin = sending(bytes);
    let proxy = strict(&origin, failure);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nhost: a\r\nte: trailers\r\n\r\n");
    let head = client.read_head().unwrap();
    if head.header("transfer-encoding").is_some() {
        // Trailers, which this client does not know, end it, too.
        while let Ok(Some(_)) = client.chunk() {}
    }
    // The end is reported when the answer is over, which the client may see a moment before.
    eventually("the request is over", || proxy.access_log().len() == 1);
    assert_eq!(is_open(&proxy), expected, "{bytes:?} {failure}");
}

#[test]
fn errors_of_the_app_are_failures_and_refusals_of_a_request_are_not() {
    opens("HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n", "", true);
    opens("HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n", "", true);
    opens("HTTP/1.1 501 No\r\ncontent-length: 0\r\n\r\n", "", false);
    opens("HTTP/1.1 429 No\r\ncontent-length: 0\r\n\r\n", "", false);
    opens("HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n", "", false);
}

#[test]
fn the_file_says_which_statuses_are_failures() {
    let rules = "    failure: { statuses: [404, 410-420] }\n";
    opens("HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n", rules, true);
    opens("HTTP/1.1 415 No\r\ncontent-length: 0\r\n\r\n", rules, true);
    opens("HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n", rules, false);
    let none = "    failure: { statuses: [] }\n";
    opens("HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n", none, false);
}

#[test]
fn a_grpc_status_in_the_head_is_seen() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ngrpc-status: 14\r\ncontent-length: 0\r\n\r\n";
    opens(head, "", true);
    opens(head, "    failure: { grpc: [INTERNAL] }\n", false);
    let not_found = "HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ngrpc-status: 5\r\ncontent-length: 0\r\n\r\n";
    opens(not_found, "", false);
    opens(not_found, "    failure: { grpc: [NOT_FOUND] }\n", true);
}

#[test]
fn a_grpc_status_in_trailers_is_seen() {
    let message = "HTTP/1.1 200 OK\r\ncontent-type: application/grpc+proto\r\ntransfer-encoding: chunked\r\ntrailer: grpc-status\r\n\r\n5\r\nhello\r\n0\r\ngrpc-status: 14\r\n\r\n";
    opens(message, "", true);
    opens(message, "    failure: { grpc: [] }\n", false);
    let fine = "HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\ngrpc-status: 0\r\n\r\n";
    opens(fine, "", false);
    let deadline = "HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ntransfer-encoding: chunked\r\n\r\n0\r\ngrpc-status: 4\r\n\r\n";
    opens(deadline, "", false);
    opens(
        deadline,
        "    failure: { grpc: [DEADLINE_EXCEEDED] }\n",
        true,
    );
}

#[test]
fn a_grpc_call_without_a_status_is_a_failure() {
    let bare = "HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    opens(bare, "", true);
    let garbage = "HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ntransfer-encoding: chunked\r\n\r\n0\r\ngrpc-status: what\r\n\r\n";
    opens(garbage, "", true);
}

#[test]
fn what_is_not_grpc_is_not_asked_for_a_grpc_status() {
    let json = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ngrpc-status: 14\r\ncontent-length: 0\r\n\r\n";
    opens(json, "", false);
    let web = "HTTP/1.1 200 OK\r\ncontent-type: application/grpc-web+proto\r\ncontent-length: 5\r\n\r\nhello";
    opens(web, "", false);
}

#[test]
fn trailers_are_seen_and_passed_on_over_http2_too() {
    let origin = sending(
        "HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\ngrpc-status: 13\r\n\r\n",
    );
    let proxy = strict(&origin, "");
    let answer = Http2::connect(proxy.address()).get("http://a/");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.trailers.unwrap()["grpc-status"], "13");
    eventually("it is open", || is_open(&proxy));
    assert_eq!(counted(&proxy, &origin, "grpc"), 1.0);
}

#[test]
fn an_answer_that_is_too_slow_is_a_failure_where_the_file_says_so() {
    let slow = || {
        Origin::start(|_, peer| {
            std::thread::sleep(Duration::from_millis(50));
            peer.answer("200 OK", "ok");
            Then::KeepAlive
        })
    };
    for (rules, expected) in [
        ("    failure: { slow: 40ms }\n", true),
        ("    failure: { slow: 20s }\n", false),
        ("", false),
    ] {
        let origin = slow();
        let proxy = strict(&origin, rules);
        assert_eq!(proxy.client().get("/").status(), 200);
        eventually("the request is over", || proxy.access_log().len() == 1);
        assert_eq!(is_open(&proxy), expected, "{rules}");
    }
}

/// An app whose first answer is a 500 and all others what `then` makes.
fn failing_first(then: impl Fn(&mut Peer) + Send + Sync + 'static) -> Origin {
    let asked = AtomicUsize::new(0);
    Origin::start(move |_, peer| {
        if asked.fetch_add(1, Ordering::SeqCst) == 0 {
            peer.answer("500 No", "");
            return Then::KeepAlive;
        }
        then(peer);
        Then::Close
    })
}

const BRIEF: &str = "{ consecutive_failures: 1, open_for: 50ms }";

/// Asks until the answer is the app's and not the proxy's; gives the client, which has read the head.
fn probe(proxy: &Proxy) -> Client {
    let mut found = None;
    eventually("a probe passes", || {
        let mut client = proxy.client();
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        let passed = client.read_head().unwrap().status() == 200;
        found = passed.then_some(client);
        found.is_some()
    });
    found.unwrap()
}

#[test]
fn an_event_stream_that_breaks_off_is_no_failure_and_another_answer_is() {
    for (kind, expected) in [("text/event-stream", false), ("text/plain", true)] {
        let origin = Origin::start(move |_, peer| {
            peer.send(format!(
                "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n"
            ));
            Then::Close
        });
        let proxy = strict(&origin, "");
        let mut client = proxy.client();
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        client.read_head().unwrap();
        assert_eq!(client.chunk().unwrap().unwrap(), b"hello");
        assert!(client.is_closed());
        assert_eq!(proxy.access_line("/")["reason"], "upstream_body_reset");
        assert_eq!(is_open(&proxy), expected, "{kind}");
    }
}

#[test]
fn a_probe_that_streams_closes_the_breaker_before_its_end() {
    for head in [
        "content-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n",
        "content-type: application/grpc\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "content-length: 1000000000\r\n\r\n",
    ] {
        let origin = failing_first(move |peer| {
            peer.send(format!("HTTP/1.1 200 OK\r\n{head}"));
            peer.is_closed();
        });
        let proxy = with(&origin, BRIEF, "");
        proxy.client().get("/");
        let streaming = probe(&proxy);
        eventually("it is closed", || !is_open(&proxy));
        drop(streaming);
        eventually("the stream is over", || {
            proxy
                .access_log()
                .iter()
                .any(|line| line["reason"] == "client_gone")
        });
        assert!(!is_open(&proxy), "{head}");
    }
}

#[test]
fn a_switched_protocol_is_a_success_and_one_that_nobody_asked_for_is_not() {
    let switch = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";
    let origin = failing_first(move |peer| {
        peer.send(switch);
        peer.is_closed();
    });
    let proxy = with(&origin, BRIEF, "");
    proxy.client().get("/");
    eventually("the switch is made", || {
        let mut client = proxy.client();
        client.send("GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n");
        client.read_head().unwrap().status() == 101
    });
    eventually("it is closed", || !is_open(&proxy));
    let origin = sending(switch);
    let proxy = strict(&origin, "");
    assert_eq!(proxy.client().get("/").status(), 502);
    assert!(is_open(&proxy));
    assert_eq!(counted(&proxy, &origin, "protocol"), 1.0);
}

#[test]
fn an_app_that_breaks_off_because_its_client_did_is_not_to_blame() {
    let origin = Origin::start(|_, peer| {
        while let Ok(Some(_)) = peer.chunk() {}
        Then::Close
    });
    let proxy = strict(&origin, "");
    let mut client = proxy.client();
    client.send(
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n4\r\nsome\r\nnot hex\r\n",
    );
    assert_eq!(client.read().status(), 400);
    eventually("the request is over", || proxy.access_log().len() == 1);
    assert!(!is_open(&proxy));
}

#[test]
fn an_app_that_breaks_off_its_answer_because_its_client_broke_off_is_not_to_blame() {
    let origin = Origin::start(|_, peer| {
        peer.send("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhello");
        while let Ok(Some(_)) = peer.chunk() {}
        Then::Close
    });
    let proxy = strict(&origin, "");
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n4\r\nsome\r\n");
    assert_eq!(client.read_head().unwrap().status(), 200);
    assert_eq!(client.bytes(5), b"hello");
    client.send("not hex\r\n");
    assert!(client.is_closed());
    eventually("the request is over", || proxy.access_log().len() == 1);
    assert!(!is_open(&proxy), "{:?}", proxy.access_log());
}

#[test]
fn a_client_that_uploads_slowly_past_the_routes_timeout_is_not_held_against_the_app() {
    let origin = Origin::start(|_, peer| {
        peer.is_closed();
        Then::Close
    });
    let address = origin.address();
    let proxy = Proxy::start(&format!(
        "listeners: {{ inbound: {{ address: 127.0.0.1:0 }} }}\nroutes: [{{ name: a, forward: app, timeout: 200ms }}]\n\
         upstreams:\n  app:\n    endpoints: [{address}]\n    circuit_breaker: {{ consecutive_failures: 1, open_for: 1h }}\n"
    ));
    for _ in 0..3 {
        let mut client = proxy.client();
        client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nsome");
        assert_eq!(client.read().status(), 504);
        assert!(!is_open(&proxy));
    }
    assert_eq!(proxy.client().get("/").status(), 504);
    assert!(is_open(&proxy), "that one was its own fault");
}

#[test]
fn a_client_that_reads_slowly_past_the_routes_timeout_is_not_held_against_the_app() {
    let origin = Origin::start(|_, peer| {
        peer.send("HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n");
        while peer.send([b'a'; 65536]) {}
        Then::Close
    });
    let address = origin.address();
    let proxy = Proxy::start(&format!(
        "listeners: {{ inbound: {{ address: 127.0.0.1:0 }} }}\nroutes: [{{ name: a, forward: app, timeout: 300ms, retry: off }}]\n\
         upstreams:\n  app:\n    endpoints: [{address}]\n    circuit_breaker: {{ consecutive_failures: 1, open_for: 1h }}\n"
    ));
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    client.read_head().unwrap();
    eventually("the answer is cut", || {
        matches!(client.stream().read(&mut [0; 10_000]), Ok(0) | Err(_))
    });
    assert_eq!(proxy.access_line("/")["reason"], "request_timeout");
    assert!(!is_open(&proxy));
}
