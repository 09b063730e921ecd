//! The players of every test: an origin that does what it is told, a client that speaks raw bytes, and the proxy,
//! started from YAML on free ports. Each ends with its test, and a panic in an origin fails it.

pub mod binary;
pub mod client;
pub mod http2;
pub mod origin;
pub mod proxy;

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
