//! What the user wrote, as types: the whole file after reading, before anything is resolved.
//!
//! Path: [`super::read`] makes it → `snapshot::compile` turns it into what the proxy runs on.
//! Wrong values cannot be held here (a duration is a duration, a weight is not zero), but names are still
//! names: whether an upstream exists is for `snapshot` to say. Two sections are equal when their values are;
//! where they stand in the file does not count, so a reload keeps the state of a section that only moved.

mod access_log;
mod actions;
mod circuit_breaker;
mod discovery;
mod health;
mod http2;
mod limits;
mod normalize;
mod pattern;
mod protocol;
mod rate_limit;
mod retry;
mod routes;
mod tls;
mod tracing;
mod upstreams;

use std::net::{Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU32;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

pub use super::places::Places;
use super::source::Span;
use crate::units::place::{FileRules, Place};
pub use access_log::*;
pub use actions::*;
pub use circuit_breaker::*;
pub use discovery::*;
pub use health::*;
pub use http2::*;
pub use limits::*;
pub use normalize::*;
pub use pattern::*;
pub use protocol::{ListenerProtocol, ProxyHeaderVersion, ProxyProtocol};
pub use rate_limit::*;
pub use retry::*;
pub use routes::*;
pub use tls::*;
pub use tracing::*;
pub use upstreams::*;

/// The default of `routes[].timeout`, and the limit of requests that a listener's `forward` takes.
pub const DEFAULT_REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// A value and the place where it stands in the file.
#[derive(Debug, Clone, Copy)]
pub struct Located<T> {
    /// What was written.
    pub value: T,
    /// Where it was written.
    pub at: Span,
}

impl<T: PartialEq> PartialEq for Located<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T: Eq> Eq for Located<T> {}

impl<T> Located<T> {
    /// Puts `value` at `at`.
    pub fn new(value: T, at: Span) -> Self {
        Self { value, at }
    }
}

/// The whole file. Sections keep the order in which they were written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `listeners`: the addresses to serve, by name.
    pub listeners: Vec<Listener>,
    /// `routes`: which request goes where, in the file's order.
    pub routes: Vec<Route>,
    /// `upstreams`: where requests can go, by name.
    pub upstreams: Vec<Upstream>,
    /// `dns`: who resolves the names of endpoints.
    pub dns: Dns,
    /// `admin`: probes, metrics, control.
    pub admin: Admin,
    /// `access_log`: one JSON line a request. On by default, to standard output.
    pub access_log: AccessLog,
    /// `tracing`: distributed traces. Default: none, what callers say about theirs is passed on untouched.
    pub tracing: Option<Tracing>,
    /// `drain`: how to stop.
    pub drain: Drain,
    /// `workers`: threads that serve requests, 1 to 512. `None`: from the cgroup's CPU quota.
    pub workers: Option<NonZeroU32>,
    /// `memory`: what happens when it runs short.
    pub memory: Memory,
    /// `trusted_proxies`: peers whose `X-Forwarded-*` and `Forwarded` are believed and appended to.
    /// Default: loopback only (`127.0.0.0/8`, `::1/128`).
    pub trusted_proxies: Vec<IpNet>,
    /// `forwarded_headers`: which headers tell the app about the client. Default `x_forwarded`.
    pub forwarded_headers: ForwardedHeaders,
    /// `request_id`: where a request's `X-Request-Id` comes from. Default `make`.
    pub request_id: RequestIds,
    /// `header_case`: whether header names keep their letters' case from HTTP/1 to HTTP/1. Default `lower`.
    pub header_case: HeaderCase,
    /// `deadline_header`: the header in which a client says how many milliseconds it will wait, and in which the app is
    /// told how many are left; lower-cased. Default: none (`grpc-timeout` is always read).
    pub deadline_header: Option<String>,
    /// `server_timing`: whether answers have a `Server-Timing` header that says where their time went. Default `off`.
    pub server_timing: bool,
    /// On which line each key stands; not a part of what is compared.
    pub places: Places,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listeners: Vec::new(),
            routes: Vec::new(),
            upstreams: Vec::new(),
            dns: Dns::default(),
            admin: Admin::default(),
            access_log: AccessLog::default(),
            tracing: None,
            drain: Drain::default(),
            workers: None,
            memory: Memory::default(),
            trusted_proxies: loopback(),
            forwarded_headers: ForwardedHeaders::default(),
            request_id: RequestIds::default(),
            header_case: HeaderCase::default(),
            deadline_header: None,
            server_timing: false,
            places: Places::default(),
        }
    }
}

/// `127.0.0.0/8` and `::1/128`.
fn loopback() -> Vec<IpNet> {
    let v4 = Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8);
    let v6 = Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128);
    vec![v4.into(), v6.into()]
}

/// One listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// The key in `listeners`: letters, digits, `-`, `_`, `.`; at most 64 characters.
    pub name: Located<String>,
    /// `address`: IP and port to bind, port 0 takes a free one; or `unix:/run/outrigger.sock`. Required.
    pub address: Located<Place>,
    /// `unix`: who may connect to a unix socket.
    pub unix: FileRules,
    /// `protocol`: what its clients speak. Default `http`.
    pub protocol: ListenerProtocol,
    /// `proxy_protocol`: whether connections begin with a PROXY header, version 1 or 2. Default `off`.
    pub proxy_protocol: ProxyProtocol,
    /// `direction`: a label for metrics and logs. Default: `outbound` if the listener is named so, else `inbound`.
    pub direction: Direction,
    /// `forward`: the upstream for requests that no route takes.
    pub forward: Option<Located<String>>,
    /// `reuse_port`: one listening socket per worker, the kernel spreads connections. Default `false`: one
    /// socket, connections go to the least loaded worker.
    pub reuse_port: bool,
    /// `timeouts`.
    pub timeouts: ListenerTimeouts,
    /// `limits`.
    pub limits: ListenerLimits,
    /// `normalize`.
    pub normalize: Normalize,
    /// `tls`. Default: none.
    pub tls: Option<ListenerTls>,
}

/// `listeners.*.timeouts`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenerTimeouts {
    /// `request_header`: from the first byte of a request (or the accept) to its complete head. Default 10 s.
    pub request_header: Duration,
    /// `idle`: a connection without a request, or a peer that neither sends nor reads. Default 60 s.
    pub idle: Duration,
    /// `tls_handshake`: from the accept to the end of the handshake, on listeners with `tls`. Default 10 s.
    pub tls_handshake: Duration,
}

impl Default for ListenerTimeouts {
    fn default() -> Self {
        Self {
            request_header: Duration::from_secs(10),
            idle: Duration::from_secs(60),
            tls_handshake: Duration::from_secs(10),
        }
    }
}

/// `listeners.*.limits`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenerLimits {
    /// `connections`: open connections at once; further ones wait in the kernel's queue. 1 to 1,000,000; default 10,000.
    pub connections: u32,
    /// `header_bytes`: size of a request's head. 1 KiB to 1 MiB; default 64 KiB.
    pub header_bytes: u32,
    /// `headers`: number of a request's header lines. 1 to 1,000; default 100.
    pub headers: u32,
    /// `min_body_rate`: bytes per second that a client must send of a request's body, on average over the time in which it
    /// was awaited. 1 B to 1 GiB; default `off`.
    pub min_body_rate: Option<NonZeroU32>,
    /// `body_bytes`: size of a request's body, where its route says nothing else. 1 B to 2 GiB; default `off`.
    pub body_bytes: BodyLimit,
    /// `in_flight`, `pending`, `pending_wait`: requests of all its connections under way.
    pub in_flight: InFlightLimit,
}

impl Default for ListenerLimits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            header_bytes: 64 * 1024,
            headers: 100,
            min_body_rate: None,
            body_bytes: BodyLimit::default(),
            in_flight: InFlightLimit::default(),
        }
    }
}

/// Which way the traffic of a listener flows, seen from the app.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Direction {
    /// Others → app.
    #[default]
    Inbound,
    /// App → others.
    Outbound,
}

impl Direction {
    /// The word used in YAML, metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
        }
    }
}

/// `forwarded_headers`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ForwardedHeaders {
    /// `x_forwarded`: `X-Forwarded-For`, `-Proto`, `-Host`.
    #[default]
    XForwarded,
    /// `forwarded`: `Forwarded` (RFC 7239).
    Forwarded,
    /// `both`.
    Both,
    /// `none`: none is added; those of untrusted peers are removed all the same.
    None,
}

/// `request_id`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RequestIds {
    /// `make`: the client's own if it is well-formed, else a new one.
    #[default]
    Make,
    /// `keep`: the client's own if it is well-formed, else none.
    Keep,
}

/// `header_case`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HeaderCase {
    /// `lower`: HTTP/1 header names are sent in lower case.
    #[default]
    Lower,
    /// `preserve`: HTTP/1 header names are sent as they were received.
    Preserve,
}

/// `admin`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// `probes`: address of `/live`, `/ready`, `/metrics`. Default `0.0.0.0:9900`; `None` (`off`): not served.
    pub probes: Option<Located<Place>>,
    /// `control`: address of views and changes; loopback or a unix socket only. Default `127.0.0.1:9901`; `None` (`off`): not served.
    pub control: Option<Located<Place>>,
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            probes: Some(Located::new(
                Place::Tcp((Ipv4Addr::UNSPECIFIED, 9900).into()),
                Span::default(),
            )),
            control: Some(Located::new(
                Place::Tcp((Ipv4Addr::LOCALHOST, 9901).into()),
                Span::default(),
            )),
        }
    }
}

/// `drain`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drain {
    /// `timeout`: how long requests in flight may go on after the signal. Default 30 s.
    pub timeout: Duration,
    /// `delay`: how long new connections are still accepted after readiness turned false. Default 0 s.
    pub delay: Duration,
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(30),
            delay: Duration::ZERO,
        }
    }
}
