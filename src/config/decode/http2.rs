//! `upstreams.*.protocol` and `upstreams.*.http2`

use std::time::Duration;

use super::super::diagnostics::Diagnostics;
use super::super::model::{Http2, Protocol, Upstream};
use super::fields::{Fields, Item};
use super::scalars::{MAX_TIME, MIN_TIME};
use super::{keys, scalars};

/// Reads both keys of an upstream.
pub(super) fn protocol(fields: &Fields<'_>, upstream: &mut Upstream, out: &mut Diagnostics) {
    let words = [
        ("auto", Protocol::Auto),
        ("http1", Protocol::Http1),
        ("http2", Protocol::Http2),
    ];
    let read = fields
        .get("protocol")
        .and_then(|item| scalars::word(&item, &words, out));
    upstream.protocol = read.unwrap_or_default();
    if let Some(item) = fields.get("http2") {
        http2(item, &mut upstream.http2, out);
    }
}

fn http2(item: Item<'_>, http2: &mut Http2, out: &mut Diagnostics) {
    let Some(fields) = Fields::of(item, keys::HTTP2, out) else {
        return;
    };
    let streams = fields
        .get("max_streams")
        .and_then(|item| scalars::integer(&item, 1..=10_000, out));
    http2.max_streams = streams.unwrap_or(http2.max_streams);
    let window = fields
        .get("window")
        .and_then(|item| scalars::bytes(&item, 64 * 1024..=16 * 1024 * 1024, out));
    http2.window = window.unwrap_or(http2.window);
    if let Some(item) = fields.get("keepalive_interval") {
        http2.keepalive_interval = interval(&item, out);
    }
    let timeout = fields
        .get("keepalive_timeout")
        .and_then(|item| scalars::duration(&item, MIN_TIME..=MAX_TIME, out));
    http2.keepalive_timeout = timeout.unwrap_or(http2.keepalive_timeout);
}

fn interval(item: &Item<'_>, out: &mut Diagnostics) -> Option<Duration> {
    if scalars::is_off(item, out)? {
        return None;
    }
    scalars::duration(
        item,
        Duration::from_secs(1)..=Duration::from_secs(3600),
        out,
    )
}
