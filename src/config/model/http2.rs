//! `upstreams.*.protocol` and `upstreams.*.http2`

use std::time::Duration;

/// `upstreams.*.protocol`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// `auto`: HTTP/1.1 in cleartext, but gRPC calls by HTTP/2.
    #[default]
    Auto,
    /// `http1`: HTTP/1.1.
    Http1,
    /// `http2`: HTTP/2, in cleartext by prior knowledge.
    Http2,
}

/// `upstreams.*.http2`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Http2 {
    /// `max_streams`: requests on one connection at once, if the endpoint takes as many. 1 to 10,000; default 100.
    pub max_streams: u32,
    /// `window`: bytes of one answer that an endpoint may send before they are passed on, 64 KiB to 16 MiB; a connection
    /// has sixteen times as many. Default 256 KiB.
    pub window: u32,
    /// `keepalive_interval`: silence after which an endpoint is pinged while it owes an answer, 1 s to 1 h; `None`
    /// (`off`): never. Default off.
    pub keepalive_interval: Option<Duration>,
    /// `keepalive_timeout`: how long the answer to a ping may take, 1 ms to 24 h. Default 10 s.
    pub keepalive_timeout: Duration,
}

impl Default for Http2 {
    fn default() -> Self {
        Self {
            max_streams: 100,
            window: 256 * 1024,
            keepalive_interval: None,
            keepalive_timeout: Duration::from_secs(10),
        }
    }
}
