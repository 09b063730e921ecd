//! The main job: requests in, answers out, connections kept.

use crate::support::client::Client;
use crate::support::origin::{Origin, Then};
use crate::support::proxy::Proxy;

#[test]
fn a_request_goes_through_and_its_answer_comes_back() {
    let origin = Origin::fixed("hello");
    let proxy = Proxy::before(origin.address());
    let answer = proxy.client().get("/a/b?c=d");
    assert_eq!((answer.status(), answer.text().as_str()), (200, "hello"));
    let request = &origin.requests()[0];
    assert_eq!(request.line, "GET /a/b?c=d HTTP/1.1");
    assert_eq!(request.header("host"), Some("test"));
}

#[test]
fn a_thousand_requests_in_a_row_open_one_upstream_connection() {
    let origin = Origin::fixed("ok");
    let proxy = Proxy::before(origin.address());
    let mut client = proxy.client();
    for _ in 0..1000 {
        assert_eq!(client.get("/").status(), 200);
    }
    assert_eq!((origin.count(), origin.connections()), (1000, 1));
}

#[test]
fn a_body_goes_up_and_an_answer_down() {
    let origin = Origin::start(|request, peer| {
        let body = peer.body(request);
        peer.answer("201 Created", body);
        Then::KeepAlive
    });
    let proxy = Proxy::before(origin.address());
    let mut client = proxy.client();
    let body: Vec<u8> = (0..300_000u32).map(|n| n.to_le_bytes()[0]).collect();
    let answer = client.post("/", &body);
    assert_eq!(answer.status(), 201);
    assert!(answer.body == body);
    client.send("POST / HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
    assert_eq!(client.read().text(), "abcde");
    assert_eq!(origin.connections(), 1);
}

#[test]
fn an_answer_without_a_length_ends_with_its_connection() {
    let origin = Origin::start(|_, peer| {
        peer.send("HTTP/1.0 200 OK\r\n\r\nuntil the end");
        Then::Close
    });
    let proxy = Proxy::before(origin.address());
    let mut client = proxy.client();
    assert_eq!(client.get("/").text(), "until the end");
    assert_eq!(
        client.get("/").text(),
        "until the end",
        "the client's connection goes on"
    );
    assert_eq!(origin.connections(), 2);
}

#[test]
fn head_204_and_304_have_no_body_and_keep_both_connections() {
    let origin = Origin::start(|request, peer| {
        match request.target() {
            "/204" => peer.send("HTTP/1.1 204 No Content\r\n\r\n"),
            "/304" => peer.send("HTTP/1.1 304 Not Modified\r\ncontent-length: 7\r\n\r\n"),
            _ => peer.send("HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n"),
        };
        Then::KeepAlive
    });
    let proxy = Proxy::before(origin.address());
    let mut client = proxy.client();
    for (request, status) in [("GET /204", 204), ("GET /304", 304), ("HEAD /", 200)] {
        client.send(format!("{request} HTTP/1.1\r\nhost: test\r\n\r\n"));
        let head = client.read_head().unwrap();
        assert_eq!(head.status(), status, "{request}");
        if request.starts_with("HEAD") {
            assert_eq!(head.header("content-length"), Some("7"));
        }
    }
    assert_eq!(origin.connections(), 1);
}

#[test]
fn requests_sent_without_waiting_are_answered_in_order() {
    let origin = Origin::start(|request, peer| {
        peer.answer("200 OK", request.target())
            .then_some(Then::KeepAlive)
            .unwrap()
    });
    let proxy = Proxy::before(origin.address());
    let mut client = Client::connect(proxy.address());
    client.send("GET /1 HTTP/1.1\r\nhost: a\r\n\r\nGET /2 HTTP/1.1\r\nhost: a\r\n\r\nGET /3 HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!([(); 3].map(|()| client.read().text()), ["/1", "/2", "/3"]);
}
