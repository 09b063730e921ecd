//! Nothing is kept back, and nothing is kept.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{channel, sync_channel};
use std::time::{Duration, Instant};

use crate::support::client::Client;
use crate::support::origin::{Origin, Then};
use crate::support::proxy::Proxy;
use crate::support::{PATIENCE, eventually};

/// What a large transfer moves.
const LARGE: u64 = 1 << 30;

/// What memory may grow by under a large transfer.
const FLAT: u64 = 5 << 20;

#[test]
fn the_first_event_is_passed_on_before_the_next_is_sent() {
    let (next, asked) = channel::<()>();
    let asked = Mutex::new(asked);
    let origin = Origin::start(move |_, peer| {
        peer.send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n");
        for number in 0..5 {
            asked.lock().unwrap().recv_timeout(PATIENCE).unwrap();
            peer.send(format!("9\r\ndata: {number}\n\n\r\n"));
        }
        peer.send("0\r\n\r\n");
        Then::KeepAlive
    });
    let proxy = Proxy::before(origin.address());
    let mut client = proxy.client();
    client.send("GET /events HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(client.read_head().unwrap().status(), 200);
    for number in 0..5 {
        next.send(()).unwrap();
        assert_eq!(
            client.chunk().unwrap().unwrap(),
            format!("data: {number}\n\n").as_bytes()
        );
    }
    assert_eq!(client.chunk().unwrap(), None);
}

#[test]
fn the_first_byte_of_an_upload_is_passed_on_before_the_next_is_sent() {
    let (arrived, told) = channel();
    let origin = Origin::start(move |_, peer| {
        while let Some(chunk) = peer.chunk().unwrap() {
            arrived.send(chunk).unwrap();
        }
        peer.answer("200 OK", "ok");
        Then::KeepAlive
    });
    let proxy = Proxy::before(origin.address());
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n");
    for letter in ["a", "b", "c"] {
        client.send(format!("1\r\n{letter}\r\n"));
        assert_eq!(told.recv_timeout(PATIENCE).unwrap(), letter.as_bytes());
    }
    client.send("0\r\n\r\n");
    assert_eq!(client.read().text(), "ok");
}

#[test]
fn a_stream_of_events_outlives_the_routes_timeout() {
    let origin = Origin::start(|request, peer| {
        let kind = request.header("accept").unwrap();
        peer.send(format!(
            "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n"
        ));
        for _ in 0..20 {
            std::thread::sleep(Duration::from_millis(20));
            if !peer.send("1\r\na\r\n") {
                return Then::Close;
            }
        }
        peer.send("0\r\n\r\n");
        Then::KeepAlive
    });
    let proxy = Proxy::start(&format!(
        "listeners:\n  inbound: {{ address: 127.0.0.1:0 }}\n\
         routes:\n  - {{ name: all, forward: app, timeout: 150ms }}\n\
         upstreams:\n  app: {{ endpoints: [{}] }}\n",
        origin.address()
    ));
    for (kind, outlives) in [
        ("text/event-stream", true),
        ("text/event-stream; charset=utf-8", true),
        ("Text/Event-Stream", true),
        ("text/plain", false),
    ] {
        let mut client = proxy.client();
        client.send(format!(
            "GET / HTTP/1.1\r\nhost: a\r\naccept: {kind}\r\n\r\n"
        ));
        assert_eq!(client.try_read().is_ok(), outlives, "{kind}");
    }
}

#[test]
fn a_client_that_does_not_read_stops_the_app_from_sending() {
    let written = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&written);
    let origin = Origin::start(move |_, peer| {
        peer.send("HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n");
        while peer.send([b'a'; 65536]) {
            count.fetch_add(65536, Ordering::SeqCst);
        }
        Then::Close
    });
    let proxy = Proxy::before(origin.address());
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(client.read_head().unwrap().status(), 200);
    let stopped = settled(&written);
    // The kernel's buffers of two loopback connections, and little of ours.
    assert!(stopped < 64 << 20, "{stopped} bytes were taken");
    client.bytes(usize::try_from(stopped).unwrap());
    eventually("it goes on", || written.load(Ordering::SeqCst) > stopped);
}

#[test]
fn an_app_that_does_not_read_stops_the_client_from_sending() {
    let (release, held) = sync_channel::<()>(0);
    let held = Mutex::new(held);
    let origin = Origin::start(move |request, peer| {
        let _ = held.lock().unwrap().recv_timeout(PATIENCE);
        let body = peer.body(request);
        peer.answer("200 OK", body.len().to_string());
        Then::KeepAlive
    });
    let proxy = Proxy::before(origin.address());
    let mut client = proxy.client();
    const LENGTH: u64 = 100_000_000;
    client.send(format!(
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {LENGTH}\r\n\r\n"
    ));
    let written = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let mut sender = client.stream().try_clone().unwrap();
        let written = &written;
        scope.spawn(move || {
            let part = [b'a'; 50_000];
            for _ in 0..LENGTH / 50_000 {
                sender.write_all(&part).unwrap();
                written.fetch_add(50_000, Ordering::SeqCst);
            }
        });
        let stopped = settled(written);
        assert!(stopped < 64 << 20, "{stopped} bytes were taken");
        release.send(()).unwrap();
    });
    assert_eq!(client.read().text(), LENGTH.to_string());
}

/// The number at which `counter` has stopped for a while.
fn settled(counter: &AtomicU64) -> u64 {
    let (mut last, mut since) = (0, Instant::now());
    eventually("the counter has stopped", || {
        let now = counter.load(Ordering::SeqCst);
        if now != last {
            (last, since) = (now, Instant::now());
        }
        last > 0 && since.elapsed() > Duration::from_millis(300)
    });
    last
}

/// The program itself, for its memory is measured.
struct Program {
    child: Child,
    address: SocketAddr,
    _directory: tempfile::TempDir,
}

impl Program {
    fn before(origin: SocketAddr) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let address = crate::support::free_address();
        let path = directory.path().join("outrigger.yaml");
        let log = directory.path().join("access.log");
        std::fs::write(
            &path,
            format!(
                "listeners:\n  inbound: {{ address: {address} }}\n\
                 routes:\n  - {{ name: all, forward: app, timeout: off }}\n\
                 upstreams:\n  app: {{ endpoints: [{origin}] }}\n\
                 admin: {{ probes: off, control: off }}\nworkers: 1\naccess_log: {{ file: {} }}\n",
                log.display()
            ),
        )
        .unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_outrigger"))
            .args(["run", "--config"])
            .arg(&path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        eventually("it listens", || TcpStream::connect(address).is_ok());
        Self {
            child,
            address,
            _directory: directory,
        }
    }

    /// Resident memory in bytes.
    fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .unwrap();
        let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
        kilobytes * 1024
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Takes and gives as many bytes as it is asked for.
fn large() -> Origin {
    Origin::start(|request, peer| {
        let length: u64 = request.target()[1..].parse().unwrap();
        if request.method() == "POST" {
            let taken = std::io::copy(&mut (&mut peer.reader).take(length), &mut std::io::sink());
            assert_eq!(taken.unwrap(), length);
            peer.answer("200 OK", "taken");
        } else {
            peer.send(format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n"
            ));
            let part = vec![b'a'; 1 << 20];
            for _ in 0..length >> 20 {
                peer.send(&part);
            }
        }
        Then::KeepAlive
    })
}

/// Runs `transfer`, and returns by how much memory was above `before` at most.
fn growth(program: &Program, before: u64, transfer: impl FnOnce() + Send) -> u64 {
    let most = AtomicU64::new(0);
    let running = AtomicUsize::new(1);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while running.load(Ordering::SeqCst) == 1 {
                most.fetch_max(program.memory(), Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(transfer));
        running.store(0, Ordering::SeqCst);
        ended.unwrap();
    });
    most.into_inner().saturating_sub(before)
}

fn download(address: SocketAddr, length: u64) {
    let mut client = Client::connect(address);
    client.send(format!("GET /{length} HTTP/1.1\r\nhost: a\r\n\r\n"));
    assert_eq!(client.read_head().unwrap().status(), 200);
    let mut part = vec![0; 1 << 20];
    let mut left = length - u64::try_from(client.buffered().len()).unwrap();
    let mut stream = client.stream();
    while left > 0 {
        let count = stream.read(&mut part).unwrap();
        assert_ne!(count, 0, "it ends early");
        left -= count as u64;
    }
}

fn upload(address: SocketAddr, length: u64) {
    let mut client = Client::connect(address);
    client.send(format!(
        "POST /{length} HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n"
    ));
    let part = vec![b'a'; 1 << 20];
    for _ in 0..length >> 20 {
        client.send(&part);
    }
    assert_eq!(client.read().text(), "taken");
}

#[test]
fn memory_stays_flat_under_a_large_download() {
    let origin = large();
    let program = Program::before(origin.address());
    download(program.address, 4 << 20);
    let before = program.memory();
    let grown = growth(&program, before, || download(program.address, LARGE));
    assert!(grown < FLAT, "{grown} bytes for {LARGE}");
}

#[test]
fn memory_stays_flat_under_a_large_upload() {
    let origin = large();
    let program = Program::before(origin.address());
    upload(program.address, 4 << 20);
    let before = program.memory();
    let grown = growth(&program, before, || upload(program.address, LARGE));
    assert!(grown < FLAT, "{grown} bytes for {LARGE}");
}

#[test]
fn an_answer_in_the_middle_of_a_large_upload_reaches_a_client_that_goes_on_sending() {
    let origin = Origin::start(|_, peer| {
        peer.send("HTTP/1.1 413 Payload Too Large\r\nconnection: close\r\ncontent-length: 7\r\n\r\nno more");
        peer.is_closed();
        Then::Close
    });
    let proxy = Proxy::before(origin.address());
    for _ in 0..200 {
        let mut client = proxy.client();
        client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 8000000\r\n\r\n");
        // It may be cut off here, but not before it can know why.
        drop(client.try_send(vec![b'a'; 8_000_000]));
        let answer = client.read();
        assert_eq!((answer.status(), answer.text().as_str()), (413, "no more"));
    }
}

#[test]
fn a_request_that_waits_behind_a_streamed_answer_is_served() {
    let origin = Origin::start(|_, peer| {
        peer.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
        peer.send("5\r\nhello\r\n");
        peer.send("0\r\n\r\n");
        Then::KeepAlive
    });
    let proxy = Proxy::before(origin.address());
    let mut client = proxy.client();
    for _ in 0..300 {
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n".repeat(5));
        for _ in 0..5 {
            assert_eq!(client.read().text(), "hello");
        }
    }
}

#[test]
fn an_upload_goes_on_while_the_answer_that_has_begun_is_not_read() {
    const SIZE: usize = 64 * 1024 * 1024;
    let origin = Origin::start(|_, peer| {
        let mut writer = peer.reader.get_ref().try_clone().unwrap();
        let writing = std::thread::spawn(move || {
            writer
                .write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {SIZE}\r\n\r\n").as_bytes())
                .unwrap();
            writer.write_all(&vec![b'a'; SIZE]).unwrap();
        });
        let mut upload = vec![0; SIZE];
        peer.reader.read_exact(&mut upload).unwrap();
        writing.join().unwrap();
        Then::Close
    });
    let proxy = Proxy::before(origin.address());
    let mut client = proxy.client();
    client.send(format!(
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {SIZE}\r\n\r\n"
    ));
    client.send(vec![b'u'; SIZE]);
    let answer = client.read();
    assert_eq!((answer.status(), answer.body.len()), (200, SIZE));
}
