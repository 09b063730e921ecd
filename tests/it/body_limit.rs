//! `limits.body_bytes`: what is longer is not for the app.

use std::sync::mpsc::channel;

use crate::support::eventually;
use crate::support::http2::{Http2, full, request};
use crate::support::origin::{Origin, Then};
use crate::support::proxy::Proxy;

fn echo() -> Origin {
    Origin::start(|request, peer| {
        let body = peer.body(request);
        peer.answer("200 OK", body.len().to_string());
        Then::KeepAlive
    })
}

fn limited(origin: &Origin) -> Proxy {
    Proxy::start(&format!(
        "listeners:\n  inbound: {{ address: 127.0.0.1:0, limits: {{ body_bytes: 1KiB }} }}\n\
         routes:\n  - {{ name: more, match: {{ path: /more }}, forward: app, limits: {{ body_bytes: 2KiB }} }}\n  \
         - {{ name: any, match: {{ path: /any }}, forward: app, limits: {{ body_bytes: off }} }}\n  \
         - {{ name: rest, forward: app }}\n\
         upstreams:\n  app: {{ endpoints: [{}] }}\n",
        origin.address()
    ))
}

#[test]
fn a_length_that_tells_is_enough_to_refuse() {
    let origin = echo();
    let proxy = limited(&origin);
    for (path, most, key) in [
        ("/", 1024, "listeners.inbound.limits.body_bytes"),
        ("/more", 2048, "routes.more.limits.body_bytes"),
    ] {
        let mut client = proxy.client();
        assert_eq!(client.post(path, &vec![0; most]).text(), most.to_string());
        let before = origin.count();
        let mut client = proxy.client();
        // Not a byte of it is awaited.
        client.send(format!(
            "POST {path}?x HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
            most + 1
        ));
        let answer = client.read();
        assert_eq!(answer.status(), 413);
        assert_eq!(answer.json()["code"], "BODY_TOO_LARGE");
        assert_eq!(answer.json()["details"]["limit"]["key"], key);
        assert!(client.is_closed());
        assert_eq!(origin.count(), before);
    }
    assert_eq!(proxy.client().post("/any", &[0; 9000]).text(), "9000");
    assert_eq!(proxy.access_line("/")["status"], 200);
}

#[test]
fn a_body_of_unknown_length_is_counted_as_it_comes() {
    let (told, broken) = channel();
    let origin = Origin::start(move |_, peer| {
        let complete = loop {
            match peer.chunk() {
                Ok(Some(_)) => {}
                Ok(None) => break true,
                Err(_) => break false,
            }
        };
        told.send(complete).unwrap();
        Then::Close
    });
    let proxy = limited(&origin);
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n");
    for _ in 0..4 {
        client.send(format!("100\r\n{}\r\n", "a".repeat(256)));
    }
    eventually("the head has arrived", || origin.count() == 1);
    client.send("1\r\na\r\n");
    assert_eq!(client.read().status(), 413);
    assert!(client.is_closed());
    assert!(
        !broken.recv().unwrap(),
        "the app is not told that it was all"
    );
    assert_eq!(origin.count(), 1, "it is not tried again");
}

#[test]
fn the_rest_of_a_body_that_grows_too_long_during_its_answer_is_cut() {
    let origin = Origin::start(|_, peer| {
        peer.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n");
        peer.is_closed();
        Then::Close
    });
    let proxy = limited(&origin);
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n");
    assert_eq!(client.read_head().unwrap().status(), 200);
    assert_eq!(client.chunk().unwrap().unwrap(), b"a");
    drop(client.try_send(format!("401\r\n{}\r\n", "a".repeat(1025))));
    assert!(client.is_closed());
    eventually("the app is left alone", || origin.open() == 0);
    assert_eq!(proxy.access_line("/")["reason"], "body_too_large");
}

#[test]
fn http2_bodies_are_limited_alike() {
    let origin = echo();
    let proxy = limited(&origin);
    let client = Http2::connect(proxy.address());
    let answer = |size: usize| {
        let sent = client.send(request("POST", "http://a/", full(vec![0; size])));
        sent.unwrap().status
    };
    assert_eq!(answer(1024), 200);
    assert_eq!(answer(1025), 413);
    assert_eq!(answer(1024), 200, "the connection goes on");
}
