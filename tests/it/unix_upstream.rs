//! Apps on unix sockets: requests, upgrades, health checks, and what is told when nobody listens.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::client::Answer;
use crate::support::eventually;
use crate::support::proxy::Proxy;

/// An app that answers every request with its head; how many connections it took.
fn app(path: &Path) -> Arc<AtomicUsize> {
    let listener = UnixListener::bind(path).unwrap();
    let taken = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&taken);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            count.fetch_add(1, Ordering::SeqCst);
            std::thread::spawn(move || while answer(&stream).is_some() {});
        }
    });
    taken
}

fn answer(mut stream: &UnixStream) -> Option<()> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let length = head.len();
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
    stream.write_all(answer.as_bytes()).ok()?;
    stream.write_all(&head).ok()
}

fn before(path: &Path, upstream: &str) -> Proxy {
    Proxy::start(&format!(
        "listeners: {{ inbound: {{ address: 127.0.0.1:0, forward: app }} }}\n\
         upstreams: {{ app: {{ endpoints: [\"unix:{}\"]{upstream} }} }}\n",
        path.display()
    ))
}

fn ok(answer: &Answer) -> String {
    assert_eq!(answer.status(), 200, "{}", answer.text());
    answer.text()
}

#[test]
fn requests_go_to_the_socket_on_a_kept_connection() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.sock");
    let taken = app(&path);
    let proxy = before(&path, "");
    let mut client = proxy.client();
    for _ in 0..20 {
        let head = ok(&client.get("/item?x=1"));
        assert!(head.starts_with("GET /item?x=1 HTTP/1.1\r\n"), "{head}");
        assert!(head.contains("host: test\r\n"), "{head}");
    }
    assert_eq!(taken.load(Ordering::SeqCst), 1);
    let line = proxy.access_line("/item");
    assert_eq!(line["endpoint"], format!("unix:{}", path.display()));
}

#[test]
fn a_socket_that_is_not_there_is_refused_with_its_path_and_served_once_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.sock");
    let proxy = before(&path, ", retry_budget: { percent: 0%, min_per_second: 0 }");
    let answer = proxy.client().get("/");
    assert_eq!(answer.status(), 502);
    let body = answer.json();
    let message = body["message"].as_str().unwrap();
    assert!(
        message.contains(&format!("unix:{}", path.display())),
        "{body}"
    );
    assert!(message.contains("No such file"), "{body}");
    let _taken = app(&path);
    ok(&proxy.client().get("/"));
}

#[test]
fn health_checks_ask_over_the_socket() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.sock");
    let check = ", health_check: { http: /healthz, interval: 100ms, timeout: 90ms, rise: 1, fall: 1, readiness: true }";
    let proxy = before(&path, check);
    eventually("it is found unhealthy", || {
        proxy.probe("/ready").status() == 503
    });
    let taken = app(&path);
    eventually("it is found healthy", || {
        proxy.probe("/ready").status() == 200
    });
    assert!(taken.load(Ordering::SeqCst) >= 1);
    ok(&proxy.client().get("/"));
}

#[test]
fn a_tcp_listener_may_lead_to_a_socket() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.sock");
    let _taken = app(&path);
    let proxy = Proxy::start(&format!(
        "listeners: {{ inbound: {{ address: 127.0.0.1:0, protocol: tcp, forward: app }} }}\n\
         upstreams: {{ app: {{ endpoints: [\"unix:{}\"] }} }}\n",
        path.display()
    ));
    assert!(ok(&proxy.client().get("/raw")).starts_with("GET /raw HTTP/1.1"));
}
