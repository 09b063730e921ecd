//! Integration tests over real sockets: one file per behaviour, YAML in, bytes out.

#![allow(
    unreachable_pub,
    missing_docs,
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test binary has no users, its helpers are read where they are called, a panic is how it fails, and time is real here"
)]

mod support;

mod access_log;
mod admin;
mod bad_start;
mod forwarding;
mod layering;
mod lifecycle;
mod metrics;
mod panics;
mod reload;
mod reload_under_load;
mod routes;
