//! Somebody leaves in the middle.

use std::sync::mpsc::{Receiver, channel};

use crate::support::origin::{Origin, Peer, Request, Then};
use crate::support::proxy::Proxy;
use crate::support::{PATIENCE, eventually};

/// An app that calls `begin` for `/x` and then tells when the proxy has closed its connection; all else is answered.
fn watching(begin: impl Fn(&Request, &mut Peer) + Send + Sync + 'static) -> (Origin, Receiver<()>) {
    let (closed, told) = channel();
    let origin = Origin::start(move |request, peer| {
        if request.target() != "/x" {
            peer.body(request);
            peer.answer("200 OK", "ok");
            return Then::KeepAlive;
        }
        begin(request, peer);
        peer.is_closed();
        closed.send(()).unwrap();
        Then::Close
    });
    (origin, told)
}

/// Whether the next request opens a connection of its own.
fn assert_fresh_next(proxy: &Proxy, origin: &Origin) {
    let before = origin.connections();
    assert_eq!(proxy.client().get("/next").status(), 200);
    assert_eq!(origin.connections(), before + 1, "nothing was pooled");
}

#[test]
fn a_client_that_leaves_before_the_head_ends_its_request_at_the_app() {
    let (origin, closed) = watching(|_, _| {});
    let proxy = Proxy::before(origin.address());
    let mut client = proxy.client();
    client.send("GET /x HTTP/1.1\r\nhost: a\r\n\r\n");
    eventually("the request has arrived", || origin.count() == 1);
    drop(client);
    closed.recv_timeout(PATIENCE).unwrap();
    let line = proxy.access_line("/x");
    assert_eq!(line["reason"], "client_gone");
    assert_eq!(line.get("status"), None);
    assert_eq!(line["attempts"][0]["outcome"], "client_gone");
    assert_fresh_next(&proxy, &origin);
}

#[test]
fn a_client_that_leaves_in_the_middle_of_an_answer_ends_it_at_the_app() {
    for head in ["content-length: 100", "transfer-encoding: chunked"] {
        let (origin, closed) = watching(move |_, peer| {
            peer.send(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n5\r\nhello\r\n"));
        });
        let proxy = Proxy::before(origin.address());
        let mut client = proxy.client();
        client.send("GET /x HTTP/1.1\r\nhost: a\r\n\r\n");
        assert_eq!(client.read_head().unwrap().status(), 200);
        client.bytes(3);
        drop(client);
        closed.recv_timeout(PATIENCE).unwrap();
        let line = proxy.access_line("/x");
        assert_eq!(line["reason"], "client_gone", "{head}");
        assert_eq!(line["status"], 200);
        assert_fresh_next(&proxy, &origin);
    }
}

#[test]
fn a_client_that_leaves_while_the_app_keeps_sending_ends_it_at_the_app() {
    let (origin, closed) = watching(|_, peer| {
        peer.send("HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n");
        while peer.send([b'a'; 65536]) {}
    });
    let proxy = Proxy::before(origin.address());
    let mut client = proxy.client();
    client.send("GET /x HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(client.read_head().unwrap().status(), 200);
    client.bytes(1_000_000);
    drop(client);
    closed.recv_timeout(PATIENCE).unwrap();
    assert_eq!(proxy.access_line("/x")["reason"], "client_gone");
    assert_fresh_next(&proxy, &origin);
}

#[test]
fn a_client_that_leaves_in_the_middle_of_its_body_ends_it_at_the_app() {
    for (head, part) in [
        ("content-length: 100", "some"),
        ("transfer-encoding: chunked", "4\r\nsome\r\n"),
    ] {
        let (origin, closed) = watching(|_, _| {});
        let proxy = Proxy::before(origin.address());
        let mut client = proxy.client();
        client.send(format!(
            "POST /x HTTP/1.1\r\nhost: a\r\n{head}\r\n\r\n{part}"
        ));
        eventually("the request has arrived", || origin.count() == 1);
        drop(client);
        closed.recv_timeout(PATIENCE).unwrap();
        let line = proxy.access_line("/x");
        let reason = line["reason"].as_str().unwrap();
        assert!(
            ["client_body_aborted", "client_gone"].contains(&reason),
            "{line}"
        );
        assert_fresh_next(&proxy, &origin);
    }
}

#[test]
fn an_upload_with_a_broken_chunk_is_never_completed_at_the_app() {
    let (origin, closed) = watching(|_, peer| {
        assert_eq!(peer.chunk().unwrap(), Some(b"some".to_vec()));
        assert!(peer.chunk().is_err(), "no end of the body");
    });
    let proxy = Proxy::before(origin.address());
    let mut client = proxy.client();
    client.send("POST /x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n4\r\nsome\r\n");
    eventually("the request has arrived", || origin.count() == 1);
    client.send("not hex\r\n");
    let answer = client.read();
    assert_eq!(answer.status(), 400);
    assert_eq!(answer.json()["code"], "CLIENT_BODY_ABORTED");
    assert!(client.is_closed());
    closed.recv_timeout(PATIENCE).unwrap();
    assert_eq!(proxy.access_line("/x")["reason"], "client_body_aborted");
    assert_fresh_next(&proxy, &origin);
}

#[test]
fn an_answer_that_the_app_breaks_off_is_never_ended_cleanly() {
    for (head, part, reset) in [
        ("content-length: 100", "hello", false),
        ("content-length: 100", "hello", true),
        ("transfer-encoding: chunked", "5\r\nhello\r\n", false),
        ("transfer-encoding: chunked", "5\r\nhello\r\n", true),
        ("transfer-encoding: chunked", "5\r\nhello\r\n5\r\nwo", false),
        ("transfer-encoding: chunked", "5\r\nhello\r\nzz\r\n", false),
    ] {
        let origin = Origin::start(move |request, peer| {
            if request.target() != "/x" {
                peer.answer("200 OK", "ok");
                return Then::KeepAlive;
            }
            peer.send(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{part}"));
            if reset {
                peer.reset();
            }
            Then::Close
        });
        let proxy = Proxy::before(origin.address());
        let mut client = proxy.client();
        client.send("GET /x HTTP/1.1\r\nhost: a\r\n\r\n");
        let outcome = client.try_read();
        if let Ok(answer) = &outcome {
            assert!(
                reset && answer.status() == 502,
                "{head} {part:?}: {answer:?}"
            );
        }
        let line = proxy.access_line("/x");
        let reason = line["reason"].as_str().unwrap();
        assert!(
            reason == "upstream_body_reset" || (outcome.is_ok() && reason == "upstream_reset"),
            "{head} {part:?}: {line}"
        );
        assert_fresh_next(&proxy, &origin);
    }
}

#[test]
fn a_broken_off_answer_to_an_http_10_client_says_how_long_it_should_have_been() {
    let origin = Origin::start(|_, peer| {
        peer.send("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhello");
        Then::Close
    });
    let proxy = Proxy::before(origin.address());
    let mut client = proxy.client();
    client.send("GET /x HTTP/1.0\r\n\r\n");
    let head = client.read_head().unwrap();
    assert_eq!(head.header("content-length"), Some("100"));
    assert_eq!(client.bytes(5), b"hello");
    assert!(client.is_closed());
    assert_eq!(proxy.access_line("/x")["reason"], "upstream_body_reset");
}

#[test]
fn an_app_that_answers_before_the_upload_ends_is_heard() {
    let origin = Origin::start(|_, peer| {
        peer.answer("413 Payload Too Large", "no more");
        Then::Close
    });
    let proxy = Proxy::before(origin.address());
    let mut client = proxy.client();
    client.send("POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\nfirst");
    let answer = client.read();
    assert_eq!((answer.status(), answer.text().as_str()), (413, "no more"));
    assert_eq!(proxy.client().get("/next").status(), 413);
}

#[test]
fn what_arrived_before_the_app_broke_off_is_passed_on() {
    // Head, part and end come in one go.
    let origin = Origin::start(|_, peer| {
        peer.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n");
        Then::Close
    });
    let proxy = Proxy::before(origin.address());
    for _ in 0..50 {
        let mut client = proxy.client();
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        assert_eq!(client.read_head().unwrap().status(), 200);
        assert_eq!(client.chunk().unwrap().unwrap(), b"hello");
        assert!(client.is_closed());
    }
}
