//! `routes[].rate_limit`

use std::num::NonZeroU32;
use std::time::Duration;

use super::Located;

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateLimit {
    /// `name`: shown in metrics, answers and `RateLimit` fields. Default: its place in the list, from 1.
    pub name: Located<String>,
    /// `requests`: so many are allowed in the time of `per`. 1 to 1,000,000. Required.
    pub requests: NonZeroU32,
    /// `per`: 1 ms to 24 h. Default 1 s.
    pub per: Duration,
    /// `burst`: so many at once after a quiet time. 1 to 1,000,000; default: as `requests`.
    pub burst: NonZeroU32,
    /// `key`: whatever has its own count; several parts make one key. Default `client_ip`.
    pub key: Vec<RateKey>,
    /// `when_exceeded`. Default `reject`.
    pub when_exceeded: WhenExceeded,
    /// `max_wait`: with `when_exceeded: wait`, a request that would wait longer is refused at once. Default 1 s.
    pub max_wait: Located<Duration>,
    /// `max_waiting`: with `when_exceeded: wait`, so many wait at once. 1 to 100,000; default 100.
    pub max_waiting: NonZeroU32,
    /// `headers`. Default `off`.
    pub headers: RateHeaders,
    /// `max_keys`: keys counted at once; further ones push out those whose count is nearest to none. 1 to 1,000,000;
    /// default 65,536; some 50 bytes each.
    pub max_keys: NonZeroU32,
    /// `mode`. Default `enforce`.
    pub mode: LimitMode,
}

/// Part of `key`
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RateKey {
    /// `client_ip`: the client's address, as far as trusted proxies tell; of IPv6 its /64.
    ClientIp,
    /// `client_identity`: who the client is by its certificate; those without one have one count.
    ClientIdentity,
    /// `route`: all requests of the route have one count.
    Route,
    /// `method`: the request's method.
    Method,
    /// `{ header: NAME }`: the first field of this name; those without have one count.
    Header(String),
    /// `{ cookie: NAME }`: the first cookie of this name; those without have one count.
    Cookie(String),
    /// `{ query: NAME }`: the first parameter of this name; those without have one count.
    Query(String),
}

/// `when_exceeded`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenExceeded {
    /// `reject`: answer 429 at once.
    #[default]
    Reject,
    /// `wait`: let it wait for its turn, within `max_wait` and `max_waiting`.
    Wait,
}

/// `headers`: what answers say about the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RateHeaders {
    /// `off`: nothing but `Retry-After` where one is refused.
    #[default]
    Off,
    /// `standard`: `RateLimit` and `RateLimit-Policy` (IETF draft `ratelimit-headers`).
    Standard,
    /// `legacy`: `X-RateLimit-Limit`, `X-RateLimit-Remaining`, `X-RateLimit-Reset` (seconds from now).
    Legacy,
    /// `both`.
    Both,
}

/// `mode` of a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LimitMode {
    /// `enforce`.
    #[default]
    Enforce,
    /// `observe`: count what would have been refused, and let it pass.
    Observe,
}
