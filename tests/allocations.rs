//! How often a proxied request allocates: bare, with the access log, and with traces that are not recorded.
//!
//! The allocator of this process counts. The app and the client of this test use fixed buffers, so what is counted is
//! the proxy's. `cargo test --test allocations -- --nocapture` prints the figures.

#![allow(
    clippy::unwrap_used,
    reason = "a broken expectation is a panic that the runner reports"
)]

use std::alloc::System;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use outrigger::app::App;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const REQUEST: &[u8] =
    b"GET /item?id=7 HTTP/1.1\r\nhost: app.test\r\nuser-agent: test\r\naccept: */*\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\nok";
const WARM: usize = 500;
const COUNTED: usize = 5_000;

/// An app that answers whatever ends with an empty line, without allocating.
fn app() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || while exchange(&stream, b"", ANSWER, b"\r\n\r\n") {});
        }
    });
    address
}

/// Sends `first`, reads until `end` comes last, sends `then`; false at the end of the connection.
fn exchange(mut stream: &TcpStream, first: &[u8], then: &[u8], end: &[u8]) -> bool {
    stream.write_all(first).unwrap();
    let mut buffer = [0; 4096];
    let mut have = 0;
    while !buffer[..have].ends_with(end) {
        match stream.read(&mut buffer[have..]) {
            Ok(0) | Err(_) => return false,
            Ok(more) => have += more,
        }
    }
    stream.write_all(then).is_ok()
}

/// Allocations of one request with `lines` in the file.
fn per_request(lines: &str) -> f64 {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("outrigger.yaml");
    let text = format!(
        "listeners: {{ inbound: {{ address: 127.0.0.1:0, forward: app }} }}\nupstreams: {{ app: {{ endpoints: [{}] }} }}\n\
         admin: {{ probes: off, control: off }}\nworkers: 1\n{lines}\n",
        app()
    );
    std::fs::write(&path, text).unwrap();
    let proxy = App::start(&path).unwrap();
    let client = TcpStream::connect(proxy.listener_address("inbound").unwrap()).unwrap();
    client.set_nodelay(true).unwrap();
    let ask = || assert!(exchange(&client, REQUEST, b"", b"\r\n\r\nok"));
    (0..WARM).for_each(|_| ask());
    let region = Region::new(ALLOCATOR);
    (0..COUNTED).for_each(|_| ask());
    let change = region.change();
    let count = change.allocations + change.reallocations;
    drop(client);
    count as f64 / COUNTED as f64
}

#[test]
fn what_watches_a_request_does_not_allocate_for_it() {
    let bare = per_request("access_log: off");
    let logged = per_request("access_log: { file: /dev/null }");
    let passed_on = per_request("access_log: off\ntracing: {}");
    let unsampled =
        per_request("access_log: off\ntracing: { otlp: http://127.0.0.1:9, sample: 0% }");
    println!(
        "allocations per request: bare {bare:.2}, access log {logged:.2}, traces passed on {passed_on:.2}, \
         not sampled {unsampled:.2}"
    );
    assert!(bare < 30.0, "bare: {bare}");
    assert!(logged - bare < 0.2, "access log: {bare} → {logged}");
    assert!(
        passed_on - bare < 0.2,
        "traces passed on: {bare} → {passed_on}"
    );
    assert!(unsampled - bare < 0.2, "not sampled: {bare} → {unsampled}");
}
