//! Every wait has a limit.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use crate::support::origin::{Origin, Then};
use crate::support::proxy::Proxy;
use crate::support::{PATIENCE, eventually};

/// Limits: `listener` and `upstream` are the inner parts of their `timeouts`, `route` is the route's.
fn limited(origin: SocketAddr, listener: &str, upstream: &str, route: &str) -> Proxy {
    Proxy::start(&format!(
        "listeners:\n  inbound: {{ address: 127.0.0.1:0, timeouts: {{ {listener} }} }}\n\
         routes:\n  - {{ name: all, forward: app, timeout: {route} }}\n\
         upstreams:\n  app: {{ endpoints: [{origin}], timeouts: {{ {upstream} }} }}\n"
    ))
}

/// An app that reads the head and then says nothing.
fn silent() -> Origin {
    Origin::start(|_, peer| {
        peer.is_closed();
        Then::Close
    })
}

#[test]
fn an_app_that_does_not_accept_costs_the_connect_timeout() {
    // A full queue of a listening socket makes the kernel ignore further connections.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    socket.bind(&any.into()).unwrap();
    socket.listen(0).unwrap();
    let listener = TcpListener::from(socket);
    let address = listener.local_addr().unwrap();
    let mut queue = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
        queue.push(stream);
    }
    let proxy = limited(address, "idle: 60s", "connect: 100ms", "10s");
    let begun = Instant::now();
    let answer = proxy.client().get("/");
    assert_eq!(answer.status(), 504);
    assert_eq!(answer.json()["code"], "CONNECT_TIMEOUT");
    assert_eq!(
        answer.json()["details"]["limit"]["key"],
        "upstreams.app.timeouts.connect"
    );
    assert!(begun.elapsed() >= Duration::from_millis(100));
    assert!(begun.elapsed() < Duration::from_secs(3));
    assert_eq!(proxy.access_line("/")["reason"], "connect_timeout");
}

#[test]
fn an_app_that_refuses_is_told_at_once() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = gone.local_addr().unwrap();
    drop(gone);
    let proxy = Proxy::before(address);
    let mut client = proxy.client();
    for _ in 0..2 {
        let answer = client.get("/");
        assert_eq!(answer.status(), 502);
        assert_eq!(answer.json()["code"], "CONNECT_REFUSED");
    }
}

#[test]
fn a_head_that_is_not_complete_in_time_is_answered_408() {
    let origin = Origin::fixed("ok");
    let proxy = limited(
        origin.address(),
        "request_header: 150ms",
        "idle: 60s",
        "10s",
    );
    for first in [true, false] {
        let mut client = proxy.client();
        if !first {
            assert_eq!(client.get("/").status(), 200);
        }
        let mut slow = client.stream().try_clone().unwrap();
        let writer = std::thread::spawn(move || {
            // Bytes that keep coming do not extend the limit.
            for byte in b"GET / HTTP/1.1\r\nx-slow: "
                .iter()
                .chain(std::iter::repeat(&b'a'))
            {
                if slow.write_all(&[*byte]).is_err() {
                    return;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        let answer = client.read();
        assert_eq!(answer.status(), 408);
        assert_eq!(answer.json()["code"], "REQUEST_HEADER_TIMEOUT");
        assert!(client.is_closed());
        writer.join().unwrap();
    }
}

#[test]
fn a_connection_on_which_nothing_is_sent_is_closed() {
    let origin = Origin::fixed("ok");
    let proxy = limited(
        origin.address(),
        "request_header: 100ms",
        "idle: 60s",
        "10s",
    );
    let mut client = proxy.client();
    assert!(client.is_closed());
    eventually("it is not counted anymore", || {
        proxy.app().connections() == [0]
    });
}

#[test]
fn an_idle_connection_is_closed() {
    let origin = Origin::fixed("ok");
    let proxy = limited(
        origin.address(),
        "request_header: 10s, idle: 100ms",
        "idle: 60s",
        "10s",
    );
    let mut client = proxy.client();
    assert_eq!(client.get("/").status(), 200);
    assert!(client.is_closed());
}

#[test]
fn a_request_that_takes_longer_than_its_route_allows_is_answered_504() {
    let origin = silent();
    let proxy = limited(origin.address(), "idle: 60s", "idle: 60s", "100ms");
    let mut client = proxy.client();
    for _ in 0..2 {
        let answer = client.get("/slow");
        assert_eq!(answer.status(), 504);
        assert_eq!(answer.json()["code"], "REQUEST_TIMEOUT");
    }
    assert_eq!(proxy.access_line("/slow")["reason"], "request_timeout");
}

/// Long ones get their timer only when somebody has looked at what waits.
#[test]
fn a_limit_that_is_long_enough_to_have_no_timer_at_first_is_kept_all_the_same() {
    let origin = silent();
    let proxy = limited(origin.address(), "idle: 60s", "idle: 60s", "1100ms");
    let begun = Instant::now();
    assert_eq!(proxy.client().get("/long").status(), 504);
    let taken = begun.elapsed();
    assert!(taken >= Duration::from_millis(1100), "{taken:?}");
    assert!(taken < Duration::from_secs(10), "{taken:?}");
    assert_eq!(proxy.access_line("/long")["reason"], "request_timeout");
}

#[test]
fn an_answer_that_is_not_complete_within_the_routes_time_is_cut() {
    let origin = Origin::start(|_, peer| {
        peer.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
        while peer.send("1\r\na\r\n") {
            std::thread::sleep(Duration::from_millis(10));
        }
        Then::Close
    });
    let proxy = limited(origin.address(), "idle: 60s", "idle: 60s", "200ms");
    let mut client = proxy.client();
    client.send("GET /drip HTTP/1.1\r\nhost: a\r\n\r\n");
    assert!(client.try_read().is_err());
    let line = proxy.access_line("/drip");
    assert_eq!(line["reason"], "request_timeout");
    assert!(
        line["limit"]["key"].as_str().unwrap().ends_with(".timeout"),
        "{line}"
    );
}

#[test]
fn an_answer_that_a_slow_client_takes_too_long_to_read_is_cut() {
    let origin = Origin::start(|_, peer| {
        peer.send("HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n");
        while peer.send([b'a'; 65536]) {}
        Then::Close
    });
    let proxy = limited(origin.address(), "idle: 60s", "idle: 60s", "300ms");
    let mut client = proxy.client();
    client.send("GET /big HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(client.read_head().unwrap().status(), 200);
    let mut stream = client.stream();
    let mut part = vec![0; 256 * 1024];
    let begun = Instant::now();
    while let Ok(1..) = stream.read(&mut part) {
        assert!(begun.elapsed() < PATIENCE, "it is never cut");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(proxy.access_line("/big")["reason"], "request_timeout");
}

#[test]
fn an_app_that_says_nothing_for_too_long_is_answered_504() {
    let origin = silent();
    let proxy = limited(origin.address(), "idle: 60s", "idle: 100ms", "10s");
    let mut client = proxy.client();
    for body in [&b""[..], b"body"] {
        let answer = client.post("/quiet", body);
        assert_eq!(answer.status(), 504);
        assert_eq!(answer.json()["code"], "UPSTREAM_IDLE_TIMEOUT");
        assert_eq!(
            answer.json()["details"]["limit"]["key"],
            "upstreams.app.timeouts.idle"
        );
    }
    assert_eq!(
        proxy.access_line("/quiet")["reason"],
        "upstream_idle_timeout"
    );
}

#[test]
fn an_app_that_does_not_take_the_body_is_answered_504() {
    let (release, held) = channel::<()>();
    let held = std::sync::Mutex::new(held);
    let origin = Origin::start(move |_, _| {
        let _ = held.lock().unwrap().recv_timeout(PATIENCE);
        Then::Close
    });
    let proxy = limited(origin.address(), "idle: 60s", "idle: 150ms", "10s");
    let mut client = proxy.client();
    let mut sender = client.stream().try_clone().unwrap();
    let writer = std::thread::spawn(move || {
        drop(
            sender
                .write_all(b"POST /full HTTP/1.1\r\nhost: a\r\ncontent-length: 100000000\r\n\r\n"),
        );
        while sender.write_all(&[b'a'; 65536]).is_ok() {}
    });
    let line = proxy.access_line("/full");
    assert_eq!(line["reason"], "upstream_idle_timeout", "{line}");
    assert_eq!(line["status"], 504);
    drop(client.try_read());
    drop(client);
    release.send(()).unwrap();
    writer.join().unwrap();
}

#[test]
fn a_client_that_stops_in_the_middle_of_its_body_is_answered_408() {
    let origin = Origin::start(|_, peer| {
        peer.is_closed();
        Then::Close
    });
    let proxy = limited(origin.address(), "idle: 60s", "idle: 100ms", "10s");
    let mut client = proxy.client();
    client.send("POST /half HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nhalf");
    let answer = client.read();
    assert_eq!(answer.status(), 408);
    assert_eq!(answer.json()["code"], "CLIENT_IDLE_TIMEOUT");
    assert_eq!(
        answer.json()["details"]["limit"]["key"],
        "upstreams.app.timeouts.idle"
    );
    assert!(client.is_closed());
    assert_eq!(proxy.access_line("/half")["reason"], "client_idle_timeout");
}

#[test]
fn an_app_that_stops_in_the_middle_of_its_answer_is_cut() {
    let (closed, told) = channel();
    let origin = Origin::start(move |_, peer| {
        peer.send("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf");
        peer.is_closed();
        closed.send(()).unwrap();
        Then::Close
    });
    let proxy = limited(origin.address(), "idle: 60s", "idle: 100ms", "10s");
    let mut client = proxy.client();
    client.send("GET /half HTTP/1.1\r\nhost: a\r\n\r\n");
    assert!(client.try_read().is_err());
    told.recv_timeout(PATIENCE).unwrap();
    assert_eq!(
        proxy.access_line("/half")["reason"],
        "upstream_idle_timeout"
    );
}

#[test]
fn a_client_that_does_not_read_is_cut() {
    let (closed, told) = channel();
    let origin = Origin::start(move |_, peer| {
        peer.send("HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n");
        while peer.send([b'a'; 65536]) {}
        closed.send(()).unwrap();
        Then::Close
    });
    let proxy = limited(origin.address(), "idle: 150ms", "idle: 60s", "off");
    let mut client = proxy.client();
    client.send("GET /deaf HTTP/1.1\r\nhost: a\r\n\r\n");
    told.recv_timeout(PATIENCE).unwrap();
    let line = proxy.access_line("/deaf");
    assert_eq!(line["reason"], "client_gone", "{line}");
    eventually("it is not counted anymore", || {
        proxy.app().connections() == [0]
    });
}

#[test]
fn a_slow_upload_after_an_early_head_is_not_taken_for_silence() {
    let origin = Origin::start(|request, peer| {
        peer.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n");
        assert_eq!(peer.body(request).len(), 20);
        peer.send("ok");
        Then::KeepAlive
    });
    let proxy = limited(origin.address(), "idle: 60s", "idle: 200ms", "10s");
    let mut client = proxy.client();
    client.send("POST /early HTTP/1.1\r\nhost: a\r\ncontent-length: 20\r\n\r\n");
    assert_eq!(client.read_head().unwrap().status(), 200);
    for _ in 0..20 {
        std::thread::sleep(Duration::from_millis(40));
        client.send("a");
    }
    assert_eq!(client.bytes(2), b"ok");
    assert_eq!(proxy.access_line("/early").get("reason"), None);
}

#[test]
fn an_upload_that_trickles_in_keeps_the_request_alive() {
    let origin = Origin::start(|request, peer| {
        let body = peer.body(request);
        peer.answer("200 OK", body);
        Then::KeepAlive
    });
    let proxy = limited(origin.address(), "idle: 60s", "idle: 200ms", "10s");
    let mut client = proxy.client();
    client.send("POST /drip HTTP/1.1\r\nhost: a\r\ncontent-length: 20\r\n\r\n");
    for _ in 0..20 {
        std::thread::sleep(Duration::from_millis(40));
        client.send("a");
    }
    assert_eq!(client.read().text(), "a".repeat(20));
}
