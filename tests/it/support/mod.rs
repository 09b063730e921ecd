//! The players of every test: an origin that does what it is told, a client that speaks raw bytes, and the proxy,
//! started from YAML on free ports. Each ends with its test, and a panic in an origin fails it.

pub mod binary;
pub mod client;
pub mod collector;
pub mod dns;
pub mod frames;
pub mod http2;
pub mod http2_origin;
pub mod origin;
pub mod proxy;
pub mod tls;
pub mod tls_front;
pub mod toxiproxy;

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

/// Longest wait for anything.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `condition` holds.
#[track_caller]
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(
            begun.elapsed() < PATIENCE,
            "not within {} s: {what}",
            PATIENCE.as_secs()
        );
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// An address on loopback where nobody listens, and where no client's connection will happen to begin: its port is below
/// those that the system gives to connections (32768 and up).
pub fn free_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Test processes beside this one begin elsewhere.
    let first = u16::try_from(std::process::id() % 1000).unwrap() * 20;
    for _ in 0..2000 {
        let port = 10_000 + (first + NEXT.fetch_add(1, Ordering::Relaxed)) % 22_000;
        if let Ok(socket) = TcpListener::bind(("127.0.0.1", port)) {
            return socket.local_addr().unwrap();
        }
    }
    panic!("no free port");
}
