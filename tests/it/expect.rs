//! `Expect: 100-continue`, and other bodies that the proxy does not want: who is asked for a body, when, and what the
//! client reads that is not.

use std::io::Read;
use std::net::Shutdown;
use std::sync::Mutex;
use std::sync::mpsc::channel;

use http::Request;

use crate::support::client::Client;
use crate::support::http2::{Http2, empty, full};
use crate::support::origin::{Origin, Then};
use crate::support::proxy::Proxy;
use crate::support::{PATIENCE, eventually, free_address};

fn ask(path: &str, length: usize) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: {length}\r\n\r\n"
    )
}

/// One route with `policy` to `origin`, and some that answer by themselves.
fn yaml(origin: std::net::SocketAddr, policy: &str, upstream: &str) -> String {
    format!(
        "listeners:\n  inbound: {{ address: 127.0.0.1:0 }}\nroutes:\n  - {{ name: app, match: {{ path: /app }}, forward: app{policy} }}\n  \
         - {{ name: no, match: {{ path: /no }}, respond: {{ status: 403 }} }}\n  \
         - {{ name: who, match: {{ path: /who }}, respond: {{ status: 401 }} }}\n\
         upstreams:\n  app: {{ endpoints: [{origin}]{upstream} }}\n"
    )
}

fn echo() -> Origin {
    Origin::start(|request, peer| {
        let body = peer.body(request);
        peer.answer("200 OK", body);
        Then::KeepAlive
    })
}

/// The first head that comes is this final answer, which announces the end, and the end comes.
#[track_caller]
fn assert_refused(proxy: &Proxy, path: &str, status: u16) {
    let mut client = proxy.client();
    client.send(ask(path, 10));
    let answer = client.read();
    assert_eq!(answer.status(), status, "{path}: no 100 before it");
    assert_eq!(answer.header("connection"), Some("close"), "{path}");
    assert!(client.is_closed(), "{path}");
}

#[test]
fn a_refusal_by_policy_comes_before_any_100() {
    let origin = echo();
    let policy = ", rate_limit: { requests: 1, per: 1h }";
    let proxy = Proxy::start(&yaml(origin.address(), policy, ""));
    assert_refused(&proxy, "/none", 404);
    assert_refused(&proxy, "/no", 403);
    assert_refused(&proxy, "/who", 401);
    assert_eq!(proxy.client().get("/app").status(), 200);
    assert_refused(&proxy, "/app", 429);
    assert_eq!(origin.count(), 1);

    let breaker = ", circuit_breaker: { consecutive_failures: 1, open_for: 1h }";
    let proxy = Proxy::start(&yaml(free_address(), ", retry: off", breaker));
    assert_refused(&proxy, "/app", 502);
    assert_refused(&proxy, "/app", 503);
}

#[test]
fn a_refusal_for_want_of_room_comes_before_any_100() {
    let (open, gate) = channel::<()>();
    let gate = Mutex::new(gate);
    let origin = Origin::start(move |request, peer| {
        peer.body(request);
        gate.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        peer.answer("200 OK", "");
        Then::KeepAlive
    });
    for limits in [", limits: { in_flight: 1 }", ""] {
        let upstream = if limits.is_empty() {
            ", limits: { endpoint_in_flight: 1 }"
        } else {
            ""
        };
        let proxy = Proxy::start(&yaml(origin.address(), limits, upstream));
        let before = origin.count();
        let mut first = proxy.client();
        first.send("GET /app HTTP/1.1\r\nhost: a\r\n\r\n");
        eventually("the first is there", || origin.count() > before);
        assert_refused(&proxy, "/app", 503);
        open.send(()).unwrap();
        assert_eq!(first.read().status(), 200);
    }
}

#[test]
fn whoever_waits_for_its_turn_is_asked_when_it_has_come() {
    let (open, gate) = channel::<()>();
    let gate = Mutex::new(gate);
    let origin = Origin::start(move |request, peer| {
        let body = peer.body(request);
        if body.is_empty() {
            gate.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        }
        peer.answer("200 OK", body);
        Then::KeepAlive
    });
    let limits = ", limits: { in_flight: 1, pending: 1, pending_wait: 20s }";
    let proxy = Proxy::start(&yaml(origin.address(), limits, ""));
    let mut first = proxy.client();
    first.send("GET /app HTTP/1.1\r\nhost: a\r\n\r\n");
    eventually("the first is there", || origin.count() == 1);
    let mut second = proxy.client();
    second.send(ask("/app", 3));
    eventually("the second waits", || {
        proxy.metric("outrigger_pending{name=\"app\",scope=\"route\"}") == 1.0
    });
    second.stream().set_nonblocking(true).unwrap();
    let early = second.stream().peek(&mut [0; 1]);
    assert!(early.is_err(), "asked before its turn: {early:?}");
    second.stream().set_nonblocking(false).unwrap();
    open.send(()).unwrap();
    assert_eq!(first.read().status(), 200);
    assert_eq!(second.read_head().unwrap().status(), 100);
    second.send("abc");
    assert_eq!(second.read().text(), "abc");
}

#[test]
fn a_client_that_sends_without_waiting_reads_why_it_was_refused() {
    let proxy = Proxy::start(&yaml(free_address(), "", ""));
    for length in [10, 4 << 20] {
        let mut client = proxy.client();
        client.send(ask("/no", length));
        client.send(vec![b'x'; length]);
        assert_eq!(client.read().status(), 403, "{length}");
        assert!(client.is_closed());
    }
}

#[test]
fn a_long_upload_that_is_refused_ends_with_the_reason_and_not_with_a_reset() {
    let origin = Origin::fixed("ok");
    let policy = ", rate_limit: { requests: 1, per: 1h }";
    let proxy = Proxy::start(&yaml(origin.address(), policy, ""));
    assert_eq!(proxy.client().get("/app").status(), 200);
    for path in ["/app", "/none", "/no"] {
        let mut client = proxy.client();
        let length = 8 << 20;
        client.send(format!(
            "POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n"
        ));
        // More than the sockets hold: somebody has to read it.
        client.send(vec![b'x'; length]);
        let answer = client.read();
        assert!([429, 404, 403].contains(&answer.status()), "{path}");
        assert!(client.is_closed());
    }
}

#[test]
fn a_short_body_that_nobody_wants_costs_the_client_no_connection() {
    let proxy = Proxy::start(&yaml(free_address(), "", ""));
    let mut client = proxy.client();
    for path in ["/none", "/no", "/none"] {
        client.send(format!(
            "POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n"
        ));
        let answer = client.read();
        assert!([404, 403].contains(&answer.status()));
        assert_eq!(answer.header("connection"), None);
        client.send("abcde");
    }
}

#[test]
fn a_client_that_never_ends_its_refused_upload_is_not_waited_for() {
    let proxy = Proxy::start(&yaml(free_address(), "", ""));
    let mut client = proxy.client();
    client.send(ask("/no", 1 << 30));
    assert_eq!(client.read().status(), 403);
    let begun = std::time::Instant::now();
    eventually("it is closed", || {
        let refused = client.try_send([b'x'; 1024]).is_err();
        refused || begun.elapsed() > PATIENCE
    });
    assert!(begun.elapsed() < PATIENCE / 2, "{:?}", begun.elapsed());
    eventually("no connection is left", || proxy.app().connections() == [0]);
}

#[test]
fn one_100_is_enough_for_several_attempts() {
    let origin = echo();
    let dead = free_address();
    let both = format!("{dead}, {}", origin.address());
    let yaml = format!(
        "listeners:\n  inbound: {{ address: 127.0.0.1:0, forward: app }}\nupstreams:\n  app: {{ endpoints: [{both}] }}\n"
    );
    let proxy = Proxy::start(&yaml);
    for _ in 0..4 {
        let mut client = proxy.client();
        client.send(ask("/", 3));
        assert_eq!(client.read_head().unwrap().status(), 100);
        client.send("abc");
        assert_eq!(client.read().text(), "abc");
    }
}

#[test]
fn an_app_that_reads_slowly_gets_all_of_it() {
    let origin = Origin::start(|request, peer| {
        let length: usize = request.header("content-length").unwrap().parse().unwrap();
        let mut taken = 0;
        let mut bytes = vec![0; 256 * 1024];
        while taken < length {
            // Longer than `idle` in all, but never silent for so long.
            std::thread::sleep(std::time::Duration::from_millis(20));
            taken += peer.reader.read(&mut bytes).unwrap();
        }
        peer.answer("200 OK", taken.to_string());
        Then::KeepAlive
    });
    let proxy = Proxy::start(&yaml(origin.address(), "", ", timeouts: { idle: 300ms }"));
    let mut client = proxy.client();
    let length = 16 << 20;
    client.send(ask("/app", length));
    assert_eq!(client.read_head().unwrap().status(), 100);
    client.send(vec![b'x'; length]);
    assert_eq!(client.read().text(), length.to_string());
}

#[test]
fn a_timeout_after_the_100_is_still_a_504() {
    let silent = Origin::start(|request, peer| {
        peer.body(request);
        peer.is_closed();
        Then::Close
    });
    let deaf = Origin::start(|_, _| {
        std::thread::sleep(std::time::Duration::from_secs(2));
        Then::Close
    });
    for (origin, length) in [(&silent, 3), (&deaf, 16 << 20)] {
        let proxy = Proxy::start(&yaml(origin.address(), ", timeout: 300ms, retry: off", ""));
        let mut client = proxy.client();
        client.send(ask("/app", length));
        assert_eq!(client.read_head().unwrap().status(), 100);
        let _ = client.try_send(vec![b'x'; length]);
        let answer = client.read();
        assert_eq!(answer.status(), 504);
        assert_eq!(answer.json()["code"], "REQUEST_TIMEOUT");
    }
}

#[test]
fn a_client_that_was_asked_and_sends_nothing_gets_a_408() {
    let origin = Origin::start(|_, peer| {
        peer.is_closed();
        Then::Close
    });
    let proxy = Proxy::start(&yaml(origin.address(), "", ", timeouts: { idle: 100ms }"));
    let mut client = proxy.client();
    client.send(ask("/app", 3));
    assert_eq!(client.read_head().unwrap().status(), 100);
    let answer = client.read();
    assert_eq!(answer.status(), 408);
    assert_eq!(answer.json()["code"], "CLIENT_IDLE_TIMEOUT");
}

#[test]
fn an_app_that_answers_without_reading_is_heard() {
    for length in [3, 4 << 20] {
        let origin = Origin::start(|_, peer| {
            peer.send("HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno");
            // It has said its last word, and reads on until the other side has understood.
            peer.reader.get_ref().shutdown(Shutdown::Write).unwrap();
            peer.is_closed();
            Then::Close
        });
        let proxy = Proxy::start(&yaml(origin.address(), "", ""));
        let mut client = proxy.client();
        client.send(ask("/app", length));
        assert_eq!(client.read_head().unwrap().status(), 100);
        let _ = client.try_send(vec![b'x'; length]);
        let answer = client.read();
        assert_eq!(
            (answer.status(), answer.text().as_str()),
            (413, "no"),
            "{length}"
        );
    }
}

#[test]
fn http10_knows_no_100() {
    let origin = echo();
    let proxy = Proxy::start(&yaml(origin.address(), "", ""));
    let mut client = proxy.client();
    client.send("POST /app HTTP/1.0\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\nabc");
    let answer = client.read();
    assert_eq!((answer.status(), answer.text().as_str()), (200, "abc"));
}

#[test]
fn over_http2_a_body_comes_anyway() {
    let origin = echo();
    let proxy = Proxy::start(&yaml(origin.address(), "", ""));
    let client = Http2::connect(proxy.address());
    let ask = |path: &str| {
        let request = Request::post(format!("http://a{path}")).header("expect", "100-continue");
        client.send(request.body(full("abc")).unwrap()).unwrap()
    };
    let answer = ask("/app");
    assert_eq!((answer.status, &answer.body[..]), (200, &b"abc"[..]));
    assert_eq!(ask("/none").status, 404);
    assert_eq!(ask("/app").status, 200, "the connection serves on");
    assert_eq!(origin.requests()[0].header("expect"), None);
}

#[test]
fn a_tunnel_is_refused_over_http2_and_in_every_form() {
    let proxy = Proxy::start(&yaml(free_address(), "", ""));
    let client = Http2::connect(proxy.address());
    let request = Request::connect("shop:443").body(empty()).unwrap();
    assert_eq!(client.send(request).unwrap().status, 405);
    assert_eq!(
        client.get("http://a/none").status,
        404,
        "the connection serves on"
    );
    for head in [
        "CONNECT shop:443 HTTP/1.1\r\nhost: shop:443\r\ncontent-length: 3\r\n\r\nabc",
        "CONNECT /app HTTP/1.1\r\nhost: a\r\n\r\n",
        "CONNECT shop:443 HTTP/1.0\r\n\r\n",
    ] {
        let mut client = Client::connect(proxy.address());
        client.send(head);
        let answer = client.read();
        assert!(
            [400, 405].contains(&answer.status()),
            "{head}: {}",
            answer.status()
        );
    }
    eventually("it is told", || !proxy.access_log().is_empty());
    assert_eq!(proxy.access_log()[0]["reason"], "method_not_allowed");
}
