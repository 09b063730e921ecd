//! HTTP/1.0 clients.

use crate::support::client::Answer;
use crate::support::origin::{Origin, Then};
use crate::support::proxy::Proxy;

fn chunked() -> Origin {
    Origin::start(|_, peer| {
        peer.send(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
        );
        Then::KeepAlive
    })
}

fn assert_plain(answer: &Answer) {
    assert_eq!(answer.status_line, "HTTP/1.0 200 OK");
    assert_eq!(answer.header("transfer-encoding"), None);
}

#[test]
fn a_connection_ends_after_the_answer_unless_it_is_to_be_kept() {
    let origin = Origin::fixed("ok");
    let proxy = Proxy::before(origin.address());
    let mut client = proxy.client();
    client.send("GET / HTTP/1.0\r\n\r\n");
    let answer = client.read();
    assert_plain(&answer);
    assert_eq!(answer.text(), "ok");
    assert!(client.is_closed());
    let request = &origin.requests()[0];
    assert_eq!(request.line, "GET / HTTP/1.1");
    assert_eq!(request.all("host"), [""]);
}

#[test]
fn a_connection_is_kept_when_the_client_asks_for_it() {
    let origin = Origin::fixed("ok");
    let proxy = Proxy::before(origin.address());
    let mut client = proxy.client();
    for _ in 0..3 {
        client.send("GET / HTTP/1.0\r\nhost: a\r\nconnection: keep-alive\r\n\r\n");
        let answer = client.read();
        assert_plain(&answer);
        assert_eq!(answer.header("connection"), Some("keep-alive"));
        assert_eq!(answer.text(), "ok");
    }
    assert_eq!(origin.connections(), 1);
}

#[test]
fn a_chunked_answer_ends_with_the_connection() {
    let origin = chunked();
    let proxy = Proxy::before(origin.address());
    for keep in ["", "connection: keep-alive\r\n"] {
        let mut client = proxy.client();
        client.send(format!("GET / HTTP/1.0\r\n{keep}\r\n"));
        let answer = client.read();
        assert_plain(&answer);
        assert_eq!(answer.text(), "abcde", "{keep}");
        assert_ne!(answer.header("connection"), Some("keep-alive"));
        assert!(client.is_closed());
    }
    assert_eq!(origin.connections(), 1, "the app's connection is kept");
}

#[test]
fn an_error_is_answered_in_the_clients_version() {
    let origin = Origin::start(|_, _| Then::Close);
    let proxy = Proxy::before(origin.address());
    let mut client = proxy.client();
    client.send("GET / HTTP/1.0\r\n\r\n");
    let answer = client.read();
    assert_eq!(answer.status_line, "HTTP/1.0 502 Bad Gateway");
    assert_eq!(answer.json()["code"], "UPSTREAM_RESET");
    assert!(client.is_closed());
}

#[test]
fn a_chunked_request_is_refused() {
    let origin = Origin::fixed("ok");
    let proxy = Proxy::before(origin.address());
    let mut client = proxy.client();
    client.send("POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n");
    assert_eq!(client.read().status(), 400);
    assert_eq!(origin.count(), 0);
}

#[test]
fn a_body_with_a_length_goes_up() {
    let origin = Origin::start(|request, peer| {
        let body = peer.body(request);
        peer.answer("200 OK", body);
        Then::KeepAlive
    });
    let proxy = Proxy::before(origin.address());
    let mut client = proxy.client();
    client.send("POST / HTTP/1.0\r\ncontent-length: 3\r\n\r\nabc");
    assert_eq!(client.read().text(), "abc");
}
