//! `upstreams.*.health_check`, `upstreams.*.outlier`

use std::num::{NonZeroU8, NonZeroU32};
use std::ops::RangeInclusive;
use std::time::Duration;

use super::Located;

/// `upstreams.*.health_check`: `tcp`, `grpc`, or a mapping with `http`, `grpc` or `tcp`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// `http`, `grpc` or `tcp`: what is asked.
    pub question: HealthQuestion,
    /// `interval`: from one check to the next while the endpoint is healthy, ± 10 %. Default 5 s.
    pub interval: Located<Duration>,
    /// `interval_down`: the same while it is not. Default 1 s, or `interval` if that is shorter.
    pub interval_down: Option<Duration>,
    /// `timeout`: limit of a check, from connecting to the end of the answer. Default 1 s.
    pub timeout: Located<Duration>,
    /// `rise`: passed checks in a row until an unhealthy endpoint is healthy. 1 to 100; default 2.
    pub rise: NonZeroU32,
    /// `fall`: failed checks in a row until a healthy endpoint is unhealthy. 1 to 100; default 3. The very first check
    /// of an endpoint decides alone.
    pub fall: NonZeroU32,
    /// `readiness`: whether `/ready` of this proxy waits for an endpoint to pass a check, and turns false while none is
    /// healthy. Default `false`.
    pub readiness: bool,
}

/// What a health check asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HealthQuestion {
    /// `tcp`: whether a connection can be opened.
    Tcp,
    /// `http`: what a GET is answered with.
    Http {
        /// `path`. Required; `http: /healthz` is the same as `http: { path: /healthz }`.
        path: String,
        /// `host`: the `Host` header. Default: the endpoint's address.
        host: Option<String>,
        /// `expect`: good statuses, each a number or a range. Default `[200-299]`.
        expect: Vec<RangeInclusive<u16>>,
    },
    /// `grpc`: what `grpc.health.v1.Health/Check` says, over HTTP/2 without TLS.
    Grpc {
        /// `service`: the one asked about, at most 255 characters. Default: empty, the server as a whole.
        service: String,
        /// `host`: the `:authority`. Default: the endpoint's address.
        host: Option<String>,
    },
}

/// `upstreams.*.outlier`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outlier {
    /// `consecutive_failures`: failures in a row that eject. 1 to 10,000, `None` (`off`): they do not count. Default 5.
    pub consecutive_failures: Option<NonZeroU32>,
    /// `success_rate`. Default: it does not count.
    pub success_rate: Option<SuccessRate>,
    /// `eject_for`: length of the first ejection; the n-th in a row lasts n times as long. Default 30 s.
    pub eject_for: Located<Duration>,
    /// `max_eject_for`: no ejection lasts longer. Default 5 min.
    pub max_eject_for: Located<Duration>,
    /// `max_ejected`: at most this share of the endpoints is ejected, in per cent. 1 to 100; default 50.
    pub max_ejected: NonZeroU8,
}

/// `upstreams.*.outlier.success_rate`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SuccessRate {
    /// `below`: ejected when fewer succeed, in per cent. 1 to 100; default 50.
    pub below: NonZeroU8,
    /// `min_requests`: with fewer in the window nothing follows. 1 to 100,000; default 20.
    pub min_requests: NonZeroU32,
    /// `window`: length of the time in which requests are counted. 1 s to 1 h; default 30 s.
    pub window: Duration,
}
