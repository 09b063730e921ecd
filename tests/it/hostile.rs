//! Clients and apps that do not keep to the protocol.

use std::io::Write;
use std::net::Shutdown;
use std::sync::mpsc::channel;

use crate::support::client::Client;
use crate::support::origin::{Origin, Peer, Then};
use crate::support::proxy::Proxy;
use crate::support::{PATIENCE, eventually};

/// Sends `bytes` and expects a refusal with `status` that no app ever sees, an end, and service to the next client.
#[track_caller]
fn assert_refused(what: &str, bytes: &[u8], status: u16) {
    let origin = Origin::fixed("ok");
    let proxy = Proxy::before(origin.address());
    let mut client = proxy.client();
    drop(client.try_send(bytes));
    let answer = client.try_read();
    let answer = answer.unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(answer.status(), status, "{what}");
    assert!(client.is_closed(), "{what}");
    assert_eq!(origin.count(), 0, "{what}");
    assert_eq!(proxy.client().get("/next").status(), 200, "{what}");
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table")]
fn what_is_not_http_is_refused() {
    for (what, bytes) in [
        ("words", &b"hello there\r\n\r\n"[..]),
        (
            "TLS",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        ),
        ("zeros", &[0; 64]),
        ("a lone version", b"HTTP/1.1\r\n\r\n"),
        ("an unknown version", b"GET / HTTP/3.7\r\nhost: a\r\n\r\n"),
        (
            "a space in the target",
            b"GET /a b HTTP/1.1\r\nhost: a\r\n\r\n",
        ),
        (
            "NUL in the target",
            b"GET /a\0b HTTP/1.1\r\nhost: a\r\n\r\n",
        ),
        (
            "NUL in a value",
            b"GET / HTTP/1.1\r\nhost: a\r\nx: a\0b\r\n\r\n",
        ),
        (
            "NUL in a name",
            b"GET / HTTP/1.1\r\nhost: a\r\nx\0: a\r\n\r\n",
        ),
        (
            "a bare CR in a value",
            b"GET / HTTP/1.1\r\nhost: a\r\nx: a\rb\r\n\r\n",
        ),
        (
            "a space before a colon",
            b"GET / HTTP/1.1\r\nhost: a\r\ncontent-length : 3\r\n\r\nabc",
        ),
        (
            "a line without a colon",
            b"GET / HTTP/1.1\r\nhost: a\r\nnothing\r\n\r\n",
        ),
        (
            "a folded line",
            b"GET / HTTP/1.1\r\nhost: a\r\nx: a\r\n b\r\n\r\n",
        ),
        (
            "a length that is no number",
            b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1x\r\n\r\na",
        ),
        (
            "a signed length",
            b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: +1\r\n\r\na",
        ),
        (
            "a negative length",
            b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n",
        ),
        (
            "a huge length",
            b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999999999999999\r\n\r\n",
        ),
        (
            "an unknown coding",
            b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: cow\r\n\r\n",
        ),
        (
            "chunked not last",
            b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
        ),
    ] {
        assert_refused(what, bytes, 400);
    }
}

#[test]
fn lines_that_end_with_a_bare_lf_are_read_alike_on_both_sides_or_refused() {
    let origin = Origin::fixed("ok");
    let proxy = Proxy::before(origin.address());
    let mut client = proxy.client();
    client.send("GET /lf HTTP/1.1\nhost: a\nx: 1\n\n");
    let status = client.read().status();
    assert!(status == 400 || status == 200, "{status}");
    for request in origin.requests() {
        assert_eq!(request.line, "GET /lf HTTP/1.1");
        assert_eq!(request.header("x"), Some("1"));
    }
}

#[test]
fn a_head_beyond_its_limits_is_answered_431() {
    let long = format!(
        "GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n",
        "a".repeat(70_000)
    );
    assert_refused("a long field", long.as_bytes(), 431);
    let many = format!(
        "GET / HTTP/1.1\r\nhost: a\r\n{}\r\n",
        "x: 1\r\n".repeat(200)
    );
    assert_refused("many fields", many.as_bytes(), 431);
}

#[test]
fn the_limits_of_a_head_are_those_of_the_listener() {
    let origin = Origin::fixed("ok");
    let proxy = Proxy::start(&format!(
        "listeners:\n  inbound: {{ address: 127.0.0.1:0, forward: app, limits: {{ header_bytes: 16KiB, headers: 20 }} }}\n\
         upstreams:\n  app: {{ endpoints: [{}] }}\n",
        origin.address()
    ));
    for (fields, status) in [
        (format!("x: {}\r\n", "a".repeat(15_000)), 200),
        (format!("x: {}\r\n", "a".repeat(17_000)), 431),
        ("x: 1\r\n".repeat(19), 200),
        ("x: 1\r\n".repeat(20), 431),
    ] {
        let mut client = proxy.client();
        client.send(format!("GET / HTTP/1.1\r\nhost: a\r\n{fields}\r\n"));
        assert_eq!(client.read().status(), status, "{}", fields.len());
    }
}

#[test]
fn a_target_that_is_too_long_is_refused() {
    let bytes = format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "a".repeat(70_000));
    let origin = Origin::fixed("ok");
    let proxy = Proxy::before(origin.address());
    let mut client = proxy.client();
    drop(client.try_send(bytes));
    let status = client.read().status();
    assert!(status == 414 || status == 431, "{status}");
    assert_eq!(origin.count(), 0);
}

#[test]
fn a_bad_chunk_never_completes_a_request() {
    for part in [
        "zz\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "-1\r\n",
        "fffffffffffffffff\r\n",
    ] {
        let (broken, told) = channel();
        let origin = Origin::start(move |_, peer| {
            let complete = loop {
                match peer.chunk() {
                    Ok(Some(_)) => {}
                    Ok(None) => break true,
                    Err(_) => break false,
                }
            };
            broken.send(complete).unwrap();
            Then::Close
        });
        let proxy = Proxy::before(origin.address());
        let mut client = proxy.client();
        client.send("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n");
        eventually("the head has arrived", || origin.count() == 1);
        client.send(part);
        assert_eq!(client.read().status(), 400, "{part}");
        assert!(client.is_closed());
        assert!(!told.recv_timeout(PATIENCE).unwrap(), "{part}");
    }
}

#[test]
fn clients_that_leave_early_leave_nothing_behind() {
    let origin = Origin::start(|_, peer| {
        peer.answer("200 OK", "ok");
        Then::KeepAlive
    });
    let proxy = Proxy::before(origin.address());
    for part in [
        "",
        "G",
        "PRI",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "GET / HTTP/1.1\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nab",
    ] {
        for reset in [false, true] {
            let mut client = proxy.client();
            client.send(part);
            if reset {
                let socket = socket2::SockRef::from(client.stream());
                socket.set_linger(Some(std::time::Duration::ZERO)).unwrap();
            }
        }
        eventually("nothing is left", || proxy.app().connections() == [0]);
    }
    assert_eq!(proxy.client().get("/next").status(), 200);
}

#[test]
fn a_client_that_ends_its_side_and_waits_is_not_left_hanging() {
    let origin = Origin::fixed("ok");
    let proxy = Proxy::before(origin.address());
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    client.stream().shutdown(Shutdown::Write).unwrap();
    // Whether it is answered or taken for gone: it ends.
    drop(client.try_read());
    assert!(client.is_closed());
    eventually("nothing is left", || proxy.app().connections() == [0]);
}

#[test]
fn two_hundred_silent_clients_keep_nobody_from_being_served() {
    let origin = Origin::fixed("ok");
    let proxy = Proxy::before(origin.address());
    let silent: Vec<Client> = (0..200).map(|_| proxy.client()).collect();
    eventually("all are accepted", || proxy.app().connections() == [200]);
    let mut client = proxy.client();
    for _ in 0..50 {
        assert_eq!(client.get("/").status(), 200);
    }
    drop(silent);
    eventually("nothing is left of them", || {
        proxy.app().connections() == [1]
    });
}

#[test]
fn connections_beyond_the_limit_wait_for_room() {
    let origin = Origin::fixed("ok");
    let proxy = Proxy::start(&format!(
        "listeners:\n  inbound: {{ address: 127.0.0.1:0, forward: app, limits: {{ connections: 2 }} }}\n\
         upstreams:\n  app: {{ endpoints: [{}] }}\n",
        origin.address()
    ));
    let mut first = proxy.client();
    let mut second = proxy.client();
    assert_eq!(first.get("/").status(), 200);
    assert_eq!(second.get("/").status(), 200);
    let mut third = proxy.client();
    third.send("GET /third HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(first.get("/").status(), 200);
    assert_eq!(proxy.app().connections(), [2]);
    drop(first);
    assert_eq!(third.read().status(), 200);
}

/// How the proxy answers when the app does `act` with a connection, which it then leaves open.
#[track_caller]
fn assert_fault(what: &str, act: impl Fn(&mut Peer) + Send + Sync + 'static, code: &str) {
    let origin = Origin::start(move |request, peer| {
        if request.target() == "/next" {
            peer.answer("200 OK", "ok");
            return Then::KeepAlive;
        }
        act(peer);
        peer.is_closed();
        Then::Close
    });
    let proxy = Proxy::without_retries(origin.address());
    let mut client = proxy.client();
    let answer = client.get("/x");
    assert_eq!(answer.status(), 502, "{what}");
    assert_eq!(answer.json()["code"], code, "{what}: {}", answer.text());
    assert_eq!(client.get("/next").status(), 200, "{what}");
    assert_eq!(origin.connections(), 2, "{what}");
    assert_eq!(proxy.access_line("/x")["reason"], code.to_lowercase());
}

#[test]
fn an_app_that_does_not_speak_http_is_answered_502() {
    for (what, bytes) in [
        ("words", &b"hello there\r\n\r\n"[..]),
        ("zeros", &[0; 64]),
        ("TLS", b"\x15\x03\x01\x00\x02\x02\x16\r\n\r\n"),
        ("SSH", b"SSH-2.0-OpenSSH_9.2\r\n"),
        ("no status", b"HTTP/1.1 \r\n\r\n"),
        ("a status of two digits", b"HTTP/1.1 20 OK\r\n\r\n"),
        ("an unknown version", b"HTTP/4.2 200 OK\r\n\r\n"),
        ("NUL in a value", b"HTTP/1.1 200 OK\r\nx: a\0b\r\n\r\n"),
        (
            "a length that is no number",
            b"HTTP/1.1 200 OK\r\ncontent-length: 1x\r\n\r\na",
        ),
        (
            "two lengths",
            b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        ),
    ] {
        let act = move |peer: &mut Peer| {
            peer.send(bytes);
        };
        assert_fault(what, act, "UPSTREAM_PROTOCOL_ERROR");
    }
}

#[test]
fn a_head_that_the_app_breaks_off_is_answered_502() {
    for part in [
        "H",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n",
        "HTTP/1.1 100 Continue\r\n\r\n",
    ] {
        let act = move |peer: &mut Peer| {
            peer.send(part);
            peer.reader.get_ref().shutdown(Shutdown::Write).unwrap();
        };
        assert_fault(part, act, "UPSTREAM_RESET");
    }
}

#[test]
fn a_head_of_the_app_that_never_ends_is_answered_502() {
    let act = |peer: &mut Peer| {
        peer.send("HTTP/1.1 200 OK\r\n");
        let line = format!("x: {}\r\n", "a".repeat(1000));
        while peer.send(&line) {}
    };
    assert_fault("endless fields", act, "UPSTREAM_HEADERS_TOO_LARGE");
    let act = |peer: &mut Peer| {
        peer.send("HTTP/1.1 200 OK\r\n");
        while peer.send("x:1\r\n") {}
    };
    assert_fault("endless small fields", act, "UPSTREAM_HEADERS_TOO_LARGE");
    let act = |peer: &mut Peer| {
        peer.send("HTTP/1.1 200 OK\r\nx: ");
        while peer.send([b'a'; 4096]) {}
    };
    assert_fault("an endless field", act, "UPSTREAM_HEADERS_TOO_LARGE");
    let act = |peer: &mut Peer| {
        peer.send("HTTP/1.1 200 ");
        while peer.send([b'a'; 4096]) {}
    };
    assert_fault("an endless reason", act, "UPSTREAM_HEADERS_TOO_LARGE");
}

#[test]
fn provisional_answers_are_swallowed() {
    let origin = Origin::start(|_, peer| {
        peer.send("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n");
        peer.answer("200 OK", "ok");
        Then::KeepAlive
    });
    let proxy = Proxy::before(origin.address());
    let mut client = proxy.client();
    for _ in 0..3 {
        assert_eq!(client.get("/").text(), "ok");
    }
    assert_eq!(origin.connections(), 1);
}

#[test]
fn a_flood_of_provisional_answers_ends_with_the_routes_timeout() {
    let origin = Origin::start(|request, peer| {
        if request.target() == "/flood" {
            while peer.send("HTTP/1.1 100 Continue\r\n\r\n".repeat(100)) {}
            return Then::Close;
        }
        peer.answer("200 OK", "ok");
        Then::KeepAlive
    });
    let proxy = Proxy::start(&format!(
        "listeners:\n  inbound: {{ address: 127.0.0.1:0 }}\n\
         routes:\n  - {{ name: all, forward: app, timeout: 300ms }}\n\
         upstreams:\n  app: {{ endpoints: [{}] }}\n",
        origin.address()
    ));
    let mut flooded = proxy.client();
    flooded.send("GET /flood HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(flooded.read().status(), 504);
    assert_eq!(proxy.client().get("/").status(), 200);
}

#[test]
fn a_body_longer_than_announced_does_not_reach_the_next_answer() {
    let origin = Origin::start(|_, peer| {
        peer.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok and more");
        peer.is_closed();
        Then::Close
    });
    let proxy = Proxy::before(origin.address());
    let mut client = proxy.client();
    for _ in 0..10 {
        let answer = client.get("/");
        assert_eq!((answer.status(), answer.text().as_str()), (200, "ok"));
    }
    assert_eq!(origin.connections(), 10);
}

#[test]
fn a_body_that_must_not_be_there_does_not_reach_the_next_answer() {
    let origin = Origin::start(|request, peer| {
        match request.target() {
            "/204" => peer.send("HTTP/1.1 204 No Content\r\n\r\nbody"),
            "/304" => peer.send("HTTP/1.1 304 Not Modified\r\ncontent-length: 4\r\n\r\nbody"),
            "/head" => peer.send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nbody"),
            _ => {
                return if peer.answer("200 OK", "ok") {
                    Then::KeepAlive
                } else {
                    Then::Close
                };
            }
        };
        peer.is_closed();
        Then::Close
    });
    let proxy = Proxy::before(origin.address());
    let mut client = proxy.client();
    for request in ["GET /204", "GET /304", "HEAD /head"] {
        client.send(format!("{request} HTTP/1.1\r\nhost: a\r\n\r\n"));
        client.read_head().unwrap();
        assert_eq!(client.get("/").text(), "ok", "{request}");
    }
}

#[test]
fn a_request_behind_a_refused_one_is_not_read() {
    let origin = Origin::fixed("ok");
    let proxy = Proxy::before(origin.address());
    let mut client = proxy.client();
    let mut bytes = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1x\r\n\r\n".to_vec();
    bytes
        .write_all(b"GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n")
        .unwrap();
    client.send(bytes);
    assert_eq!(client.read().status(), 400);
    assert!(client.is_closed());
    assert_eq!(origin.count(), 0);
}
