//! How fast a client has to send a request's body.
//!
//! Each test lasts as long as the grace, for what must not happen would happen then.

use std::io::{BufRead, Write};
use std::net::SocketAddr;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::support::client::Client;
use crate::support::origin::{Origin, Peer, Then};
use crate::support::proxy::Proxy;

const GRACE: Duration = Duration::from_secs(5);

fn paced(origin: SocketAddr, rate: &str) -> Proxy {
    Proxy::start(&format!(
        "listeners:\n  inbound: {{ address: 127.0.0.1:0, forward: app, limits: {{ min_body_rate: {rate} }} }}\n\
         upstreams:\n  app: {{ endpoints: [{origin}], circuit_breaker: {{ consecutive_failures: 1 }} }}\n"
    ))
}

/// An app that answers when it has all of the body.
fn echo() -> Origin {
    Origin::start(|request, peer| {
        if let Ok(body) = try_body(request.header("content-length"), peer) {
            peer.answer("200 OK", body);
        }
        Then::Close
    })
}

fn try_body(length: Option<&str>, peer: &mut Peer) -> std::io::Result<Vec<u8>> {
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    std::io::Read::read_exact(&mut peer.reader, &mut body)?;
    Ok(body)
}

/// Sends pieces until it is dropped.
struct Drip {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drip {
    /// `piece` every 300 ms.
    fn start(client: &Client, piece: &'static str) -> Self {
        let mut stream = client.stream().try_clone().unwrap();
        let (stop, stopped) = channel();
        let thread = std::thread::spawn(move || {
            while stream.write_all(piece.as_bytes()).is_ok() {
                let pause = Duration::from_millis(300);
                if stopped.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        });
        Self {
            stop: Some(stop),
            thread: Some(thread),
        }
    }
}

impl Drop for Drip {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

#[test]
fn a_client_that_drips_its_body_is_answered_408_and_the_app_is_not_blamed() {
    let origin = echo();
    let proxy = paced(origin.address(), "1KiB");
    let mut client = proxy.client();
    client.send("PUT /drip HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\n");
    let begun = Instant::now();
    let _dripping = Drip::start(&client, "a");
    let answer = client.read();
    assert!(begun.elapsed() >= GRACE, "{:?}", begun.elapsed());
    assert!(begun.elapsed() < GRACE * 2, "{:?}", begun.elapsed());
    assert_eq!(answer.status(), 408);
    let told = answer.json();
    assert_eq!(told["code"], "CLIENT_BODY_TOO_SLOW");
    assert_eq!(told["details"]["side"], "downstream");
    assert_eq!(told["details"]["phase"], "body");
    let limit = &told["details"]["limit"];
    assert_eq!(limit["key"], "listeners.inbound.limits.min_body_rate");
    assert_eq!(limit["value"], "1KiB");
    assert!(
        told["message"]
            .as_str()
            .unwrap()
            .ends_with("`listeners.inbound.limits.min_body_rate` is 1KiB"),
        "{told}"
    );
    assert!(client.is_closed());
    let line = proxy.access_line("/drip");
    assert_eq!(line["reason"], "client_body_too_slow");
    assert_eq!(line["attempts"].as_array().unwrap().len(), 1, "{line}");
    // One failure would have opened the circuit breaker.
    assert_eq!(proxy.client().get("/after").status(), 200);
}

#[test]
fn a_client_that_drips_its_body_after_the_answers_head_is_cut() {
    let origin = Origin::start(|_, peer| {
        peer.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n");
        peer.is_closed();
        Then::Close
    });
    let proxy = paced(origin.address(), "1KiB");
    let mut client = proxy.client();
    client.send("POST /early HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\n");
    assert_eq!(client.read_head().unwrap().status(), 200);
    let _dripping = Drip::start(&client, "a");
    assert_eq!(
        proxy.access_line("/early")["reason"],
        "client_body_too_slow"
    );
    assert!(client.is_closed());
}

#[test]
fn a_stream_that_has_begun_may_be_as_slow_as_it_likes() {
    let origin = Origin::start(|request, peer| {
        peer.send(
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 2\r\n\r\n",
        );
        if try_body(request.header("content-length"), peer).is_ok() {
            peer.send("ok");
        }
        Then::Close
    });
    let proxy = paced(origin.address(), "1KiB");
    let mut client = proxy.client();
    client.send("POST /stream HTTP/1.1\r\nhost: a\r\ncontent-length: 20\r\n\r\n");
    assert_eq!(client.read_head().unwrap().status(), 200);
    // For longer than the grace.
    let _dripping = Drip::start(&client, "a");
    assert_eq!(client.bytes(2), b"ok");
}

#[test]
fn a_client_that_sends_fast_enough_may_take_its_time() {
    let origin = echo();
    let proxy = paced(origin.address(), "100B");
    let mut client = proxy.client();
    // Twenty pieces take longer than the grace.
    client.send("POST /steady HTTP/1.1\r\nhost: a\r\ncontent-length: 2000\r\n\r\n");
    let begun = Instant::now();
    let steady = "a".repeat(100).leak();
    let _sending = Drip::start(&client, steady);
    let answer = client.read();
    assert!(begun.elapsed() > GRACE, "{:?}", begun.elapsed());
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.text().len(), 2000);
}

#[test]
fn a_client_whose_app_reads_slowly_is_not_blamed() {
    const LENGTH: usize = 32 * 1024 * 1024;
    let origin = Origin::start(|_, peer| {
        // Reading in small steps, so that room appears again and again, until the grace would be long over.
        let (begun, mut read) = (Instant::now(), 0);
        while read < LENGTH {
            let Ok(part @ 1..) = peer.reader.fill_buf().map(<[u8]>::len) else {
                return Then::Close;
            };
            peer.reader.consume(part);
            read += part;
            if begun.elapsed() < GRACE + Duration::from_millis(500) {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        peer.answer("200 OK", "ok");
        Then::Close
    });
    // Over all of the time the average is far below this.
    let proxy = paced(origin.address(), "1GiB");
    let mut client = proxy.client();
    let mut sender = client.stream().try_clone().unwrap();
    let writer = std::thread::spawn(move || {
        let head = format!("POST /slow HTTP/1.1\r\nhost: a\r\ncontent-length: {LENGTH}\r\n\r\n");
        sender.write_all(head.as_bytes()).unwrap();
        sender.write_all(&vec![b'a'; LENGTH]).unwrap();
    });
    let begun = Instant::now();
    let answer = client.read();
    assert_eq!(answer.status(), 200);
    assert!(begun.elapsed() > GRACE, "{:?}", begun.elapsed());
    writer.join().unwrap();
}
