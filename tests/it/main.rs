//! Integration tests over real sockets: one file per behaviour, YAML in, bytes out.

#![allow(
    unreachable_pub,
    missing_docs,
    dead_code,
    clippy::disallowed_methods,
    clippy::too_many_lines,
    clippy::zero_repeat_side_effects,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test binary has no users, its helpers are read where they are called, its clock is the wall's, and a \
              panic is how it fails"
)]

mod support;

mod access_log;
mod access_log_format;
mod admin;
mod bad_start;
mod balancing;
mod body_limit;
mod cancel;
mod circuit_breaker;
mod config_files;
mod config_mistakes;
mod deadlines;
mod direct;
mod dns;
mod endpoints_file;
mod events;
mod expect;
mod failure_classifier;
mod forwarding;
mod grpc_errors;
mod grpc_health;
mod header_rules;
mod headers;
mod health_checks;
mod hostile;
mod http10;
mod http2;
mod http2_abuse;
mod http2_upstream;
mod layering;
mod lifecycle;
mod limits;
mod memory;
mod metrics;
mod mirror;
mod normalize;
mod openmetrics;
mod outage;
mod outlier;
mod panic_threshold;
mod panics;
mod pool;
mod protocol_pairs;
mod proxy_protocol;
mod rate_limit;
mod reasons;
mod redirect;
mod reload;
mod reload_under_load;
mod retries;
mod rewrite;
mod routes;
mod slow_bodies;
mod smuggling;
mod split;
mod stale_connections;
mod streaming;
mod tcp;
mod timeouts;
mod tls;
mod tls_identity;
mod tls_reload;
mod tls_upstream;
mod toxics;
mod tracing;
mod tracing_export;
mod tunnel;
mod unix_listener;
mod unix_upstream;
mod upgrade;
mod upstream_garbage;
