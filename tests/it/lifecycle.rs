//! The life of the real program: signals, the drain, exit codes, and that no line of the log is lost on the way out.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::support::binary::Binary;
use crate::support::client::Client;
use crate::support::eventually;
use crate::support::origin::{Origin, Then};
use crate::support::proxy::minimal;

/// An origin that answers `/slow` only when it is told to, and everything else at once.
fn waiting() -> (Origin, Sender<()>) {
    let (go, wait) = channel::<()>();
    let wait = Mutex::new(wait);
    let origin = Origin::start(move |request, peer| {
        if request.target() == "/slow" {
            // The test may end without a word; then the answer does not matter.
            let _ = wait.lock().unwrap().recv();
        }
        peer.body(request);
        peer.answer("200 OK", "done");
        Then::KeepAlive
    });
    (origin, go)
}

fn begin(client: &mut Client, origin: &Origin) {
    let before = origin.count();
    client.send("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n");
    eventually("the request is under way", || origin.count() > before);
}

#[test]
fn a_terminated_process_finishes_what_is_under_way_and_exits_with_0() {
    let (origin, go) = waiting();
    let mut binary = Binary::start(&minimal(origin.address()));
    let (mut busy, mut idle) = (binary.client(), binary.client());
    assert_eq!(idle.get("/").header("connection"), None);
    begin(&mut busy, &origin);
    assert_eq!(binary.probe("/ready").status(), 200);
    binary.signal("TERM");
    eventually("it is not ready anymore", || {
        binary.probe("/ready").status() == 503
    });
    let ready = binary.probe("/ready").json();
    assert_eq!(
        (&ready["ready"], &ready["checks"]["serving"]),
        (&false.into(), &false.into())
    );
    assert_eq!(binary.probe("/live").status(), 200, "draining is not dying");
    assert!(idle.is_closed(), "an idle connection is closed");
    go.send(()).unwrap();
    let answer = busy.read();
    assert_eq!(
        (answer.status(), answer.header("connection")),
        (200, Some("close"))
    );
    assert!(busy.is_closed());
    assert_eq!(binary.wait().code(), Some(0));
}

#[test]
fn a_request_that_was_on_its_way_when_the_drain_began_is_answered_and_told_to_go() {
    let (origin, _go) = waiting();
    let mut binary = Binary::start(&minimal(origin.address()));
    let mut client = binary.client();
    client.get("/");
    let mut busy = binary.client();
    begin(&mut busy, &origin);
    binary.signal("TERM");
    eventually("it drains", || binary.probe("/ready").status() == 503);
    let answer = client.get("/");
    assert_eq!(
        (answer.status(), answer.header("connection")),
        (200, Some("close"))
    );
    drop((_go, busy));
    assert_eq!(binary.wait().code(), Some(0));
}

#[test]
fn a_request_longer_than_the_drain_is_cut() {
    let (origin, _go) = waiting();
    let yaml = format!("drain: {{ timeout: 300ms }}\n{}", minimal(origin.address()));
    let mut binary = Binary::start(&yaml);
    let mut busy = binary.client();
    begin(&mut busy, &origin);
    let begun = Instant::now();
    binary.signal("TERM");
    assert_eq!(binary.wait().code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(15));
    assert!(busy.is_closed(), "without an answer");
    assert_eq!(binary.event("stopped").unwrap()["cut"], 1);
    let lines = binary.access_log();
    assert!(
        lines.len() == 1 && lines[0].contains("\"/slow\""),
        "what was cut is told, too: {lines:?}"
    );
}

#[test]
fn a_second_signal_ends_at_once() {
    for (second, code) in [("TERM", 143), ("INT", 130)] {
        let (origin, _go) = waiting();
        let mut binary = Binary::start(&minimal(origin.address()));
        let mut busy = binary.client();
        begin(&mut busy, &origin);
        binary.signal("INT");
        eventually("it drains", || binary.event("draining").is_some());
        let begun = Instant::now();
        binary.signal(second);
        assert_eq!(binary.wait().code(), Some(code), "{second}");
        assert!(begun.elapsed() < Duration::from_secs(15));
    }
}

#[test]
fn every_request_has_its_line_when_the_process_has_ended() {
    let origin = Origin::fixed("ok");
    let yaml = format!("workers: 2\n{}", minimal(origin.address()));
    let mut binary = Binary::start(&yaml);
    let address = binary.address();
    let clients: Vec<_> = (0..4)
        .map(|_| {
            std::thread::spawn(move || {
                let mut client = Client::connect(address);
                for _ in 0..250 {
                    assert_eq!(client.get("/counted").status(), 200);
                }
            })
        })
        .collect();
    clients
        .into_iter()
        .for_each(|client| client.join().unwrap());
    binary.signal("TERM");
    assert_eq!(binary.wait().code(), Some(0));
    assert_eq!(binary.access_log().len(), 1000);
}

#[test]
fn standard_output_has_access_lines_and_standard_error_the_own_log_all_json() {
    let origin = Origin::fixed("ok");
    let yaml = format!("access_log: stdout\n{}", minimal(origin.address()));
    let mut binary = Binary::start(&yaml);
    for _ in 0..10 {
        assert_eq!(binary.client().get("/a").status(), 200);
    }
    binary.signal("TERM");
    assert_eq!(binary.wait().code(), Some(0));
    eventually("both pipes are read to their ends", || {
        binary.out.lock().unwrap().len() == 10 && binary.event("stopped").is_some()
    });
    for lines in [&binary.out, &binary.err] {
        for line in &*lines.lock().unwrap() {
            let json: serde_json::Value =
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            for key in ["time", "level", "msg"] {
                assert!(json[key].is_string(), "{key} in {line}");
            }
            let time = json["time"].as_str().unwrap();
            assert!(time.len() == 24 && time.ends_with('Z'), "{time}");
        }
    }
    let out = binary.out.lock().unwrap();
    assert!(out.iter().all(|line| line.contains("\"msg\":\"request\"")));
}

#[test]
fn an_http_2_client_is_told_to_go() {
    let (origin, go) = waiting();
    let mut binary = Binary::start(&minimal(origin.address()));
    let address = binary.address();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let (mut sender, connection) = runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        hyper::client::conn::http2::handshake(
            hyper_util::rt::TokioExecutor::new(),
            hyper_util::rt::TokioIo::new(stream),
        )
        .await
        .unwrap()
    });
    let connection = runtime.spawn(connection);
    let request = http::Request::get(format!("http://{address}/slow"))
        .body(http_body_util::Empty::<bytes::Bytes>::new())
        .unwrap();
    let answer = runtime.spawn(sender.send_request(request));
    eventually("the stream is under way", || origin.count() == 1);
    binary.signal("TERM");
    eventually("it drains", || binary.event("draining").is_some());
    go.send(()).unwrap();
    let answer = runtime.block_on(answer).unwrap().unwrap();
    assert_eq!(answer.status(), 200);
    let body = runtime
        .block_on(http_body_util::BodyExt::collect(answer.into_body()))
        .unwrap();
    assert_eq!(body.to_bytes(), "done");
    // Only GOAWAY ends a connection in peace whose client still wants it.
    runtime.block_on(connection).unwrap().unwrap();
    drop(sender);
    assert_eq!(binary.wait().code(), Some(0));
}

#[test]
fn a_draining_process_lets_nobody_wait_at_its_door() {
    let (origin, go) = waiting();
    let mut binary = Binary::start(&minimal(origin.address()));
    let address = binary.address();
    let mut busy = binary.client();
    begin(&mut busy, &origin);
    binary.signal("TERM");
    eventually("new connections are refused", || {
        std::net::TcpStream::connect(address).is_err()
    });
    go.send(()).unwrap();
    assert_eq!(busy.read().status(), 200);
    assert_eq!(binary.wait().code(), Some(0));
}

#[test]
fn connections_are_still_accepted_for_the_time_of_the_delay() {
    let origin = Origin::fixed("ok");
    let yaml = format!("drain: {{ delay: 2s }}\n{}", minimal(origin.address()));
    let mut binary = Binary::start(&yaml);
    let address = binary.address();
    binary.signal("TERM");
    eventually("it is not ready", || binary.probe("/ready").status() == 503);
    let answer = Client::connect(address).get("/");
    assert_eq!(
        (answer.status(), answer.header("connection")),
        (200, Some("close"))
    );
    assert_eq!(binary.wait().code(), Some(0));
}

/// Sends requests until told to stop, on one connection for as long as it is offered. Nothing is sent twice.
fn demanding(address: SocketAddr, stop: &AtomicBool, count: &AtomicUsize) {
    let mut client = Client::connect(address);
    while !stop.load(Ordering::SeqCst) {
        let answer = client.get("/");
        assert_eq!(answer.status(), 200);
        count.fetch_add(1, Ordering::SeqCst);
        if answer.header("connection") == Some("close") {
            client = Client::connect(address);
        }
    }
}

#[test]
fn a_rolling_restart_on_a_shared_port_fails_no_request() {
    let origin = Origin::fixed("ok");
    let address = crate::support::free_address();
    for workers in [1, 2] {
        let yaml = format!(
            "workers: {workers}\nlisteners:\n  inbound: {{ address: {address}, forward: app, reuse_port: true }}\nupstreams:\n  app: {{ endpoints: [{}] }}\n",
            origin.address()
        );
        let mut old = Binary::start(&yaml);
        let (stop, count) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicUsize::new(0)),
        );
        let clients: Vec<_> = (0..4)
            .map(|_| {
                let (stop, count) = (Arc::clone(&stop), Arc::clone(&count));
                std::thread::spawn(move || demanding(address, &stop, &count))
            })
            .collect();
        for _ in 0..3 {
            let new = Binary::start(&yaml);
            let before = count.load(Ordering::SeqCst);
            eventually("requests go on", || {
                count.load(Ordering::SeqCst) > before + 100
            });
            old.signal("TERM");
            assert_eq!(old.wait().code(), Some(0));
            old = new;
        }
        stop.store(true, Ordering::SeqCst);
        clients
            .into_iter()
            .for_each(|client| client.join().unwrap());
    }
}
