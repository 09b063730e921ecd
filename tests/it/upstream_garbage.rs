//! Apps that break the protocol: 502 with a reason, and never a byte of theirs in another's answer.

use std::time::Duration;

use crate::support::eventually;
use crate::support::origin::{Origin, Peer, Then};
use crate::support::proxy::Proxy;

#[test]
fn a_whole_answer_behind_an_answer_is_never_taken_for_the_next() {
    for pause in [
        None,
        Some(Duration::from_millis(1)),
        Some(Duration::from_millis(20)),
    ] {
        let origin = Origin::start(move |request, peer| {
            let target = request.target().to_owned();
            let own = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{target}",
                target.len()
            );
            let poison = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison";
            match pause {
                None => {
                    peer.send(format!("{own}{poison}"));
                }
                Some(pause) => {
                    peer.send(own);
                    // Part of the scene: the poison comes when the connection rests in the pool.
                    std::thread::sleep(pause);
                    peer.send(poison);
                }
            }
            peer.is_closed();
            Then::Close
        });
        let proxy = Proxy::before(origin.address());
        let mut client = proxy.client();
        for number in 0..10 {
            let path = format!("/{number}");
            let answer = client.get(&path);
            assert_eq!((answer.status(), answer.text()), (200, path), "{pause:?}");
            if pause.is_some() {
                // Whoever waits until it has come meets a connection that is not used again.
                std::thread::sleep(Duration::from_millis(30));
            }
        }
        assert_eq!(origin.connections(), 10, "{pause:?}");
    }
}

#[test]
fn an_answer_before_the_request_costs_its_connection() {
    let origin = Origin::start(|request, peer| {
        peer.answer("200 OK", request.target());
        // The answer to a request that was not sent.
        peer.answer("200 OK", "early");
        Then::KeepAlive
    });
    let proxy = Proxy::before(origin.address());
    let mut clients = [proxy.client(), proxy.client()];
    for number in 0..20 {
        let path = format!("/{number}");
        for client in &mut clients {
            let answer = client.get(&path);
            assert_eq!(answer.text(), path);
            std::thread::sleep(Duration::from_millis(3));
        }
    }
}

/// What the client gets of an answer that goes wrong in its body: the head, and an end that cannot be taken for a good one.
#[track_caller]
fn assert_cut(what: &str, bytes: &'static [u8]) {
    let origin = Origin::start(move |request, peer: &mut Peer| {
        if request.target() == "/next" {
            peer.answer("200 OK", "ok");
            return Then::KeepAlive;
        }
        peer.send(bytes);
        peer.reader
            .get_ref()
            .shutdown(std::net::Shutdown::Write)
            .unwrap();
        peer.is_closed();
        Then::Close
    });
    let proxy = Proxy::before(origin.address());
    let mut client = proxy.client();
    client.send("GET /x HTTP/1.1\r\nhost: a\r\n\r\n");
    assert!(client.try_read().is_err(), "{what}");
    assert_eq!(proxy.client().get("/next").text(), "ok", "{what}");
    assert_eq!(origin.connections(), 2, "{what}");
    let line = proxy.access_line("/x");
    assert_eq!(line["reason"], "upstream_body_reset", "{what}");
}

#[test]
fn an_answer_that_breaks_in_its_body_is_cut() {
    let length = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc";
    assert_cut("too short", length);
    for (what, bytes) in [
        ("no last chunk", &b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n"[..]),
        ("half a chunk", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nabc"),
        ("no size", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n"),
        ("a signed size", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n+3\r\n"),
        ("a huge size", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\nfffffffffffffffff\r\n"),
        ("too long a chunk", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n"),
        ("LF alone", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n3\nabc\r\n0\r\n\r\n"),
    ] {
        assert_cut(what, bytes);
    }
}

#[test]
fn an_answer_that_says_in_several_ways_how_long_it_is_is_refused() {
    let origin = Origin::start(|request, peer| {
        if request.target() == "/next" {
            peer.answer("200 OK", "next");
            return Then::KeepAlive;
        }
        peer.send(match request.target() {
            "/both" => "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            "/twice" => "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 3\r\n\r\nabc",
            _ => "HTTP/1.1 200 OK\r\ncontent-length: 3, 3\r\n\r\nabc",
        });
        Then::KeepAlive
    });
    for path in ["/both", "/twice", "/list"] {
        let proxy = Proxy::before(origin.address());
        let before = origin.connections();
        let answer = proxy.client().get(path);
        assert_eq!(answer.status(), 502, "{path}");
        assert_eq!(answer.json()["code"], "UPSTREAM_PROTOCOL_ERROR");
        assert_eq!(proxy.client().get("/next").text(), "next");
        assert_eq!(origin.connections(), before + 2, "it is not used again");
    }
}

#[test]
fn the_limits_of_an_answers_head_are_those_of_the_upstream() {
    let origin = Origin::start(|request, peer| {
        let fields = match request.target() {
            "/long-ok" => format!("x: {}\r\n", "a".repeat(15_000)),
            "/long" => format!("x: {}\r\n", "a".repeat(17_000)),
            "/many-ok" => "x: 1\r\n".repeat(9),
            _ => "x: 1\r\n".repeat(10),
        };
        peer.send(format!(
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n{fields}\r\n"
        ));
        Then::KeepAlive
    });
    let proxy = Proxy::start(&format!(
        "listeners:\n  inbound: {{ address: 127.0.0.1:0, forward: app }}\n\
         upstreams:\n  app: {{ endpoints: [{}], limits: {{ header_bytes: 16KiB, headers: 10 }} }}\n",
        origin.address()
    ));
    for (path, status) in [
        ("/long-ok", 200),
        ("/long", 502),
        ("/many-ok", 200),
        ("/many", 502),
    ] {
        let answer = proxy.client().get(path);
        assert_eq!(answer.status(), status, "{path}");
        if status == 502 {
            let body = answer.json();
            assert_eq!(body["code"], "UPSTREAM_HEADERS_TOO_LARGE");
            assert_eq!(
                body["details"]["limit"]["key"],
                "upstreams.app.limits.header_bytes, .headers"
            );
            assert_eq!(body["details"]["limit"]["value"], "16KiB, 10");
        }
    }
    eventually("it is told", || {
        proxy.access_line("/long")["reason"] == "upstream_headers_too_large"
    });
}
