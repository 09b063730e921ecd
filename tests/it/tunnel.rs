//! CONNECT: refused unless a route allows it, and then it leads to that route's upstream and nowhere else.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener};

use bytes::Bytes;
use http_body_util::Empty;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::client::Client;
use crate::support::eventually;
use crate::support::proxy::Proxy;

/// Says hello, and everything back in upper case until its peer has said all.
fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut bytes = [0; 4096];
                while let Ok(count @ 1..) = stream.read(&mut bytes) {
                    stream
                        .write_all(&bytes[..count].to_ascii_uppercase())
                        .unwrap();
                }
                let _ = stream.write_all(b"bye");
            });
        }
    });
    address
}

fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}

fn before(endpoints: &[SocketAddr], route: &str) -> Proxy {
    let endpoints: Vec<String> = endpoints.iter().map(ToString::to_string).collect();
    Proxy::start(&format!(
        "listeners: {{ inbound: {{ address: 127.0.0.1:0 }}, other: {{ address: 127.0.0.1:0, forward: app }} }}\n\
         routes: [{{ name: tunnels, listeners: [inbound], match: {{ host: db.test }}, forward: app, {route} }}, \
         {{ name: rest, listeners: [inbound], forward: app }}]\n\
         upstreams: {{ app: {{ endpoints: [{}] }} }}\n",
        endpoints.join(", ")
    ))
}

fn connect(address: SocketAddr, target: &str) -> Client {
    let mut client = Client::connect(address);
    client.send(format!(
        "CONNECT {target} HTTP/1.1\r\nhost: {target}\r\n\r\n"
    ));
    client
}

#[test]
fn bytes_go_both_ways_to_the_upstream_of_the_route() {
    let proxy = before(&[echo()], "tunnel: true");
    let mut client = connect(proxy.address(), "db.test:5432");
    // With the head, before the answer is known.
    client.send("early ");
    let head = client.read_head().unwrap();
    assert_eq!(head.status(), 200);
    assert_eq!(
        (
            head.header("content-length"),
            head.header("transfer-encoding")
        ),
        (None, None)
    );
    client.send("and late");
    assert_eq!(client.bytes(14), b"EARLY AND LATE");
    client.stream().shutdown(Shutdown::Write).unwrap();
    assert_eq!(
        client.bytes(3),
        b"bye",
        "the end of one direction leaves the other open"
    );
    assert!(client.is_closed());
    eventually("the tunnel has its line", || {
        proxy.access_log().iter().any(|line| {
            line["route"] == "tunnels"
                && line["status"] == 200
                && line["bytes_in"] == 14
                && line["bytes_out"] == 17
        })
    });
    assert_eq!(proxy.app().connections(), [0]);
}

#[test]
fn it_is_refused_where_no_route_allows_it() {
    let proxy = before(&[echo()], "tunnel: true");
    for (address, target) in [
        (proxy.address(), "elsewhere.test:443"),
        (proxy.listener("other"), "db.test:5432"),
    ] {
        let answer = connect(address, target).read();
        assert_eq!(answer.status(), 405, "{target}");
        assert_eq!(answer.json()["code"], "METHOD_NOT_ALLOWED");
    }
    let proxy = before(&[echo()], "tunnel: false");
    assert_eq!(
        connect(proxy.address(), "db.test:5432").read().status(),
        405
    );
}

#[test]
fn what_could_be_read_in_two_ways_is_no_tunnel() {
    let proxy = before(&[echo()], "tunnel: true");
    for (head, status) in [
        (
            "CONNECT db.test:1 HTTP/1.1\r\nhost: db.test:1\r\ncontent-length: 3\r\n\r\nabc",
            400,
        ),
        (
            "CONNECT db.test:1 HTTP/1.1\r\nhost: db.test:1\r\ntransfer-encoding: chunked\r\n\r\n",
            400,
        ),
        ("CONNECT /app HTTP/1.1\r\nhost: db.test\r\n\r\n", 400),
        (
            "CONNECT http://db.test/ HTTP/1.1\r\nhost: db.test\r\n\r\n",
            400,
        ),
        ("CONNECT db.test:1 HTTP/1.0\r\n\r\n", 405),
    ] {
        let mut client = Client::connect(proxy.address());
        client.send(head);
        assert_eq!(client.read().status(), status, "{head}");
    }
    // A GET is what it always was.
    assert_eq!(proxy.client().get("/").status(), 502);
}

#[test]
fn another_endpoint_is_tried_and_a_dead_upstream_is_told() {
    let proxy = before(&[free(), echo()], "tunnel: true");
    for _ in 0..4 {
        let mut client = connect(proxy.address(), "db.test:1");
        assert_eq!(client.read_head().unwrap().status(), 200);
        client.send("a");
        assert_eq!(client.bytes(1), b"A");
    }
    let proxy = before(&[free()], "tunnel: true");
    let answer = connect(proxy.address(), "db.test:1").read();
    assert_eq!(
        (answer.status(), &answer.json()["code"]),
        (502, &"CONNECT_REFUSED".into())
    );
}

#[test]
fn a_stream_of_http_2_can_be_a_tunnel() {
    let proxy = before(&[echo()], "tunnel: true");
    let address = proxy.address();
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let io = TokioIo::new(stream);
        let (mut sender, driver) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
            .await
            .unwrap();
        tokio::spawn(driver);
        let request = http::Request::connect("db.test:5432")
            .body(Empty::<Bytes>::new())
            .unwrap();
        let answer = sender.send_request(request).await.unwrap();
        assert_eq!(answer.status(), 200);
        let mut tunnel = TokioIo::new(hyper::upgrade::on(answer).await.unwrap());
        tunnel.write_all(b"hello").await.unwrap();
        let mut bytes = [0; 5];
        tunnel.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"HELLO");
    });
}
