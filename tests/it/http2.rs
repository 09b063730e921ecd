//! HTTP/2 without TLS, by prior knowledge, on the port of HTTP/1.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::channel;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, FuturesUnordered};
use http::Request;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};

use crate::support::http2::{Http2, collect, empty, full, request};
use crate::support::origin::{Origin, Then};
use crate::support::proxy::Proxy;
use crate::support::{PATIENCE, eventually};

#[test]
fn both_protocols_are_served_on_one_port() {
    let origin = Origin::fixed("ok");
    let proxy = Proxy::before(origin.address());
    let client = Http2::connect(proxy.address());
    for _ in 0..3 {
        let answer = client.get("http://shop:81/a?b=c");
        assert_eq!((answer.status, &answer.body[..]), (200, &b"ok"[..]));
        assert_eq!(proxy.client().get("/").status(), 200);
    }
    let request = &origin.requests()[0];
    assert_eq!(request.line, "GET /a?b=c HTTP/1.1");
    assert_eq!(request.all("host"), ["shop:81"]);
    assert_eq!(request.all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(origin.connections(), 1);
}

#[test]
fn many_streams_are_under_way_at_once() {
    // No stream is answered before all have arrived.
    const STREAMS: usize = 90;
    let all = std::sync::Barrier::new(STREAMS);
    let origin = Origin::start(move |request, peer| {
        all.wait();
        peer.answer("200 OK", request.target())
            .then_some(Then::KeepAlive)
            .unwrap()
    });
    let proxy = Proxy::before(origin.address());
    let client = Http2::connect(proxy.address());
    for _ in 0..2 {
        client.run(async {
            let mut streams: FuturesUnordered<_> = (0..STREAMS)
                .map(|number| {
                    let mut sender = client.sender.clone();
                    async move {
                        let request = request("GET", &format!("http://a/{number}"), empty());
                        let answer = collect(sender.send_request(request).await.unwrap())
                            .await
                            .unwrap();
                        assert_eq!(answer.body, format!("/{number}"));
                    }
                })
                .collect();
            while streams.next().await.is_some() {}
        });
    }
    assert_eq!(origin.connections(), STREAMS, "connections are used again");
}

#[test]
fn bodies_go_both_ways() {
    let origin = Origin::start(|request, peer| {
        let body = peer.body(request);
        peer.answer("201 Created", body);
        Then::KeepAlive
    });
    let proxy = Proxy::before(origin.address());
    let client = Http2::connect(proxy.address());
    let body: Vec<u8> = (0..3_000_000u32).map(|n| n.to_le_bytes()[1]).collect();
    let answer = client
        .send(request("POST", "http://a/", full(body.clone())))
        .unwrap();
    assert_eq!(answer.status, 201);
    assert!(answer.body == body);
    let parts = stream::iter((0..10).map(|n| Ok(Frame::data(Bytes::from(n.to_string())))));
    let answer = client
        .send(request(
            "POST",
            "http://a/",
            BodyExt::boxed(StreamBody::new(parts)),
        ))
        .unwrap();
    assert_eq!(answer.body, "0123456789");
    let request = &origin.requests()[1];
    assert_eq!(request.header("transfer-encoding"), Some("chunked"));
    assert_eq!(origin.connections(), 1);
}

#[test]
fn trailers_of_an_answer_arrive() {
    let origin = Origin::start(|_, peer| {
        peer.send(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n2\r\nok\r\n0\r\nx-sum: 7\r\n\r\n",
        );
        Then::KeepAlive
    });
    let proxy = Proxy::before(origin.address());
    let client = Http2::connect(proxy.address());
    for _ in 0..3 {
        let answer = client.get("http://a/");
        assert_eq!(answer.body, "ok");
        assert_eq!(answer.trailers.unwrap()["x-sum"], "7");
        assert_eq!(answer.headers.get("transfer-encoding"), None);
    }
    assert_eq!(proxy.access_line("/").get("reason"), None);
    assert_eq!(origin.connections(), 1);
}

#[test]
fn errors_are_answered_per_stream() {
    let origin = Origin::start(|request, peer| {
        if request.target() == "/bad" {
            return Then::Close;
        }
        peer.answer("200 OK", "ok");
        Then::KeepAlive
    });
    let proxy = Proxy::before(origin.address());
    let client = Http2::connect(proxy.address());
    let answer = client.get("http://a/bad");
    assert_eq!(answer.status, 502);
    let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(body["code"], "UPSTREAM_RESET");
    assert_eq!(client.get("http://a/good").status, 200);
    let answer = client
        .send(
            Request::builder()
                .uri("http://a/")
                .header("host", "a")
                .header("host", "b")
                .body(empty())
                .unwrap(),
        )
        .unwrap();
    assert_eq!(answer.status, 400);
    assert_eq!(client.get("http://a/good").status, 200);
}

#[test]
fn crumbs_of_a_cookie_are_put_together() {
    let origin = Origin::fixed("ok");
    let proxy = Proxy::before(origin.address());
    let client = Http2::connect(proxy.address());
    let request = Request::builder()
        .uri("http://a/")
        .header("cookie", "a=1")
        .header("cookie", "b=2; c=3")
        .body(empty())
        .unwrap();
    assert_eq!(client.send(request).unwrap().status, 200);
    assert_eq!(origin.requests()[0].all("cookie"), ["a=1; b=2; c=3"]);
}

#[test]
fn a_reset_stream_cancels_its_request_at_the_app_and_no_other() {
    let (closed, told) = channel();
    let origin = Origin::start(move |request, peer| {
        if request.target() == "/x" {
            peer.is_closed();
            closed.send(()).unwrap();
            return Then::Close;
        }
        peer.answer("200 OK", "ok");
        Then::KeepAlive
    });
    let proxy = Proxy::before(origin.address());
    let client = Http2::connect(proxy.address());
    let mut sender = client.sender.clone();
    let pending = client.spawn(async move {
        drop(
            sender
                .send_request(request("GET", "http://a/x", empty()))
                .await,
        );
    });
    eventually("it has arrived", || origin.count() == 1);
    pending.abort();
    told.recv_timeout(PATIENCE).unwrap();
    assert_eq!(proxy.access_line("/x")["reason"], "client_gone");
    assert_eq!(client.get("http://a/").status, 200);
}

#[test]
fn an_answer_that_the_app_breaks_off_resets_its_stream() {
    let origin = Origin::start(|_, peer| {
        peer.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n");
        Then::Close
    });
    let proxy = Proxy::before(origin.address());
    let client = Http2::connect(proxy.address());
    assert!(client.send(request("GET", "http://a/x", empty())).is_err());
    assert_eq!(proxy.access_line("/x")["reason"], "upstream_body_reset");
    assert!(client.send(request("GET", "http://a/y", empty())).is_err());
    assert_eq!(origin.count(), 2, "the connection goes on");
}

#[test]
fn one_connection_spreads_its_requests_over_all_endpoints() {
    let origins: Vec<Origin> = (0..8).map(|_| Origin::fixed("ok")).collect();
    let endpoints: Vec<String> = origins
        .iter()
        .map(|origin| origin.address().to_string())
        .collect();
    // The second one shares what is under way, and so depends on how fast each answers.
    for (balance, within) in [("round_robin", 95..=105), ("least_connections", 60..=140)] {
        let proxy = Proxy::start(&format!(
            "listeners:\n  inbound: {{ address: 127.0.0.1:0, forward: app }}\n\
             upstreams:\n  app: {{ endpoints: [{}], balance: {balance} }}\n",
            endpoints.join(", ")
        ));
        let before: Vec<usize> = origins.iter().map(Origin::count).collect();
        let client = Http2::connect(proxy.address());
        client.run(async {
            stream::iter(0..800)
                .for_each_concurrent(20, |_| {
                    let mut sender = client.sender.clone();
                    async move {
                        let request = request("GET", "http://a/", empty());
                        let response = sender.send_request(request).await.unwrap();
                        assert_eq!(collect(response).await.unwrap().status, 200);
                    }
                })
                .await;
        });
        for (origin, before) in origins.iter().zip(before) {
            let share = origin.count() - before;
            assert!(within.contains(&share), "{balance}: {share} of 800");
        }
    }
}

#[test]
fn a_preface_in_small_pieces_is_understood() {
    let origin = Origin::fixed("ok");
    let proxy = Proxy::before(origin.address());
    let mut stream = TcpStream::connect(proxy.address()).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    // Empty SETTINGS; HEADERS of stream 1: GET, http, /, authority `test` (RFC 7541).
    bytes.extend([0, 0, 0, 4, 0, 0, 0, 0, 0]);
    bytes.extend([0, 0, 9, 1, 5, 0, 0, 0, 1, 0x82, 0x86, 0x84, 0x41, 4]);
    bytes.extend(b"test");
    for byte in bytes {
        stream.write_all(&[byte]).unwrap();
        // Long enough for the proxy to see each byte alone.
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    let mut frames = HashMap::new();
    while !frames.contains_key(&1) {
        let mut head = [0; 9];
        stream.read_exact(&mut head).unwrap();
        let length = usize::from(head[1]) << 8 | usize::from(head[2]);
        let mut payload = vec![0; length];
        stream.read_exact(&mut payload).unwrap();
        frames.insert(head[3], payload);
    }
    assert_eq!(frames[&1][0], 0x88, ":status 200");
    assert_eq!(origin.requests()[0].header("host"), Some("test"));
}

#[test]
fn a_preface_that_never_ends_is_closed() {
    let origin = Origin::fixed("ok");
    let proxy = Proxy::start(&format!(
        "listeners:\n  inbound: {{ address: 127.0.0.1:0, forward: app, timeouts: {{ request_header: 100ms, idle: 300ms }} }}\n\
         upstreams:\n  app: {{ endpoints: [{}] }}\n",
        origin.address()
    ));
    for part in ["P", "PRI * HTTP/2.0", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut client = proxy.client();
        client.send(part);
        let mut stream = client.stream();
        let mut rest = Vec::new();
        drop(stream.read_to_end(&mut rest));
        eventually("it is not counted anymore", || {
            proxy.app().connections() == [0]
        });
    }
}

#[test]
fn a_connection_without_a_request_idles_as_long_as_any() {
    let origin = Origin::fixed("ok");
    let proxy = Proxy::start(&format!(
        "listeners:\n  inbound: {{ address: 127.0.0.1:0, forward: app, timeouts: {{ request_header: 100ms, idle: 60s }} }}\n\
         upstreams:\n  app: {{ endpoints: [{}] }}\n",
        origin.address()
    ));
    let client = Http2::connect(proxy.address());
    // One that came later and never sent a head is closed by now.
    assert!(proxy.client().is_closed());
    assert_eq!(client.get("http://a/").status, 200);
}
