//! Limits of connections that workers cannot share.

use crate::config::diagnostics::{Diagnostic, Diagnostics};
use crate::config::model::{Config, Protocol};

/// A connection belongs to one worker, so each needs one.
pub(super) fn http2(config: &Config, out: &mut Diagnostics) {
    let Some(workers) = config.workers else {
        return;
    };
    for upstream in &config.upstreams {
        let connections = upstream.limits.connections;
        let Some(connections) = connections.filter(|connections| *connections < workers) else {
            continue;
        };
        if upstream.protocol != Protocol::Http2 {
            continue;
        }
        let message = format!(
            "upstream `{}` allows {connections} connections to an endpoint, for {workers} workers",
            upstream.name.value
        );
        out.push(
            Diagnostic::warning(message)
                .at(upstream.name.at)
                .label(format!("write `connections: {workers}` or more"))
                .note("HTTP/2 connections are kept busy and not shared among workers: some requests would be refused"),
        );
    }
}
