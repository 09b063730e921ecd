//! Connections that stop speaking HTTP.

use std::io::Read;
use std::net::Shutdown;

use crate::support::eventually;
use crate::support::origin::{Origin, Then};
use crate::support::proxy::Proxy;

const ASK: &str = "GET /chat HTTP/1.1\r\nhost: a\r\nconnection: keep-alive, Upgrade\r\nupgrade: websocket\r\nsec-websocket-key: x\r\n\r\n";

/// Switches, then echoes in upper case until its peer's end, and says goodbye.
fn echo() -> Origin {
    Origin::start(|request, peer| {
        assert_eq!(request.header("upgrade"), Some("websocket"));
        assert_eq!(request.header("connection"), Some("upgrade"));
        assert_eq!(request.header("sec-websocket-key"), Some("x"));
        peer.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-Hop: 1\r\n\r\nready");
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = peer.reader.read(&mut bytes) {
            peer.send(bytes[..count].to_ascii_uppercase());
        }
        peer.send("bye");
        Then::Close
    })
}

#[test]
fn both_sides_talk_freely_after_a_switch() {
    let origin = echo();
    let proxy = Proxy::before(origin.address());
    let mut client = proxy.client();
    client.send(ASK);
    let head = client.read_head().unwrap();
    assert_eq!(head.status(), 101);
    assert_eq!(head.header("upgrade"), Some("websocket"));
    assert_eq!(head.header("connection"), Some("upgrade"));
    assert_eq!(head.header("x-hop"), Some("1"));
    assert_eq!(client.bytes(5), b"ready", "bytes that came with the head");
    for word in ["hello", "world"] {
        client.send(word);
        assert_eq!(client.bytes(5), word.to_ascii_uppercase().as_bytes());
    }
    drop(client);
    let line = proxy.access_line("/chat");
    assert_eq!(line["status"], 101);
    assert_eq!(line.get("reason"), None);
    assert!(line["bytes_out"].as_u64().unwrap() >= 15, "{line}");
}

#[test]
fn bytes_sent_before_the_switch_was_confirmed_are_not_lost() {
    let origin = echo();
    let proxy = Proxy::before(origin.address());
    let mut client = proxy.client();
    client.send(format!("{ASK}early"));
    assert_eq!(client.read_head().unwrap().status(), 101);
    assert_eq!(client.bytes(10), b"readyEARLY");
}

#[test]
fn one_side_may_end_while_the_other_still_talks() {
    let origin = echo();
    let proxy = Proxy::before(origin.address());
    let mut client = proxy.client();
    client.send(ASK);
    assert_eq!(client.read_head().unwrap().status(), 101);
    client.send("last");
    client.stream().shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.bytes(12), b"readyLASTbye");
    assert!(client.is_closed());
}

#[test]
fn much_data_goes_both_ways() {
    let origin = echo();
    let proxy = Proxy::before(origin.address());
    let mut client = proxy.client();
    client.send(ASK);
    assert_eq!(client.read_head().unwrap().status(), 101);
    client.bytes(5);
    let mut sender = client.stream().try_clone().unwrap();
    let writer = std::thread::spawn(move || {
        std::io::Write::write_all(&mut sender, &vec![b'a'; 8 << 20]).unwrap();
    });
    let back = client.bytes(8 << 20);
    assert!(back.iter().all(|&byte| byte == b'A'));
    writer.join().unwrap();
}

#[test]
fn a_client_that_goes_away_ends_the_apps_side() {
    let (ended, told) = std::sync::mpsc::channel();
    let origin = Origin::start(move |_, peer| {
        peer.send("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n");
        peer.is_closed();
        ended.send(()).unwrap();
        Then::Close
    });
    let proxy = Proxy::before(origin.address());
    let mut client = proxy.client();
    client.send(ASK);
    assert_eq!(client.read_head().unwrap().status(), 101);
    drop(client);
    told.recv_timeout(crate::support::PATIENCE).unwrap();
    eventually("no connection is left", || proxy.app().connections() == [0]);
}

#[test]
fn an_app_that_does_not_switch_answers_as_usual() {
    let origin = Origin::fixed("no");
    let proxy = Proxy::before(origin.address());
    let mut client = proxy.client();
    for _ in 0..3 {
        client.send(ASK);
        let answer = client.read();
        assert_eq!((answer.status(), answer.text().as_str()), (200, "no"));
    }
    assert_eq!(origin.connections(), 1);
}

#[test]
fn a_switch_that_nobody_asked_for_is_a_fault_of_the_app() {
    let origin = Origin::start(|_, peer| {
        peer.send(
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
        );
        peer.is_closed();
        Then::Close
    });
    let proxy = Proxy::before(origin.address());
    let answer = proxy.client().get("/");
    assert_eq!(answer.status(), 502);
    assert_eq!(answer.json()["code"], "UPSTREAM_PROTOCOL_ERROR");
    let line = proxy.access_line("/");
    assert_eq!(line["reason"], "upstream_protocol_error");
}

#[test]
fn a_drain_ends_a_switched_connection_at_its_time_limit() {
    let origin = echo();
    let proxy = Proxy::with(origin.address(), "drain: { timeout: 200ms }");
    let mut client = proxy.client();
    client.send(ASK);
    assert_eq!(client.read_head().unwrap().status(), 101);
    client.bytes(5);
    proxy.drain();
    assert!(client.is_closed());
}
