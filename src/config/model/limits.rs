//! `limits` of listeners, routes and upstreams, and `memory`.

use std::num::NonZeroU32;
use std::time::Duration;

/// `limits.in_flight` and the queue in front of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InFlightLimit {
    /// `in_flight`: requests under way at once, to the ends of their answers' bodies. 1 to 1,000,000; default `off`.
    pub in_flight: Option<NonZeroU32>,
    /// `pending`: further ones that wait for their turn. 0 to 1,000,000; default 0: they are refused at once.
    pub pending: u32,
    /// `pending_wait`: how long one waits at most. Default 500 ms.
    pub pending_wait: Duration,
}

impl Default for InFlightLimit {
    fn default() -> Self {
        Self {
            in_flight: None,
            pending: 0,
            pending_wait: Duration::from_millis(500),
        }
    }
}

/// `limits.body_bytes` of listeners and routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BodyLimit {
    /// Not written: none of a listener; of a route, that of the listener.
    #[default]
    Default,
    /// `off`: none.
    Off,
    /// So many bytes of a request's body. 1 B to 2 GiB.
    Bytes(NonZeroU32),
}

impl BodyLimit {
    /// What holds where `outer` would.
    pub fn within(self, outer: Self) -> Option<NonZeroU32> {
        match (self, outer) {
            (Self::Bytes(bytes), _) | (Self::Default, Self::Bytes(bytes)) => Some(bytes),
            (Self::Off, _) | (Self::Default, Self::Default | Self::Off) => None,
        }
    }
}

/// `upstreams.*.limits`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpstreamLimits {
    /// `in_flight`, `pending`, `pending_wait`: of all its endpoints together.
    pub in_flight: InFlightLimit,
    /// `endpoint_in_flight`: requests under way at one endpoint; a full one is passed over. 1 to 1,000,000; default `off`.
    pub endpoint_in_flight: Option<NonZeroU32>,
    /// `connections`: open to one endpoint, of all workers together. 1 to 1,000,000; default `off`.
    pub connections: Option<NonZeroU32>,
    /// `header_bytes`: size of an answer's head. 8 KiB to 1 MiB; default 64 KiB.
    pub header_bytes: u32,
    /// `headers`: number of an answer's header lines. 1 to 1,000; default 100.
    pub headers: u32,
}

impl Default for UpstreamLimits {
    fn default() -> Self {
        Self {
            in_flight: InFlightLimit::default(),
            endpoint_in_flight: None,
            connections: None,
            header_bytes: 64 * 1024,
            headers: 100,
        }
    }
}

/// `memory`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// `limit`. Default `auto`.
    pub limit: MemoryLimit,
    /// `replay_at`: from this share on no request's body is kept for a retry. 1 to 100 %; default 80 %.
    pub replay_at: u8,
    /// `shed_at`: from this share on new requests are refused. 1 to 100 %; default 90 %.
    pub shed_at: u8,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            limit: MemoryLimit::Auto,
            replay_at: 80,
            shed_at: 90,
        }
    }
}

/// `memory.limit`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MemoryLimit {
    /// `auto`: the cgroup's limit; none if it has none.
    #[default]
    Auto,
    /// So many bytes of the process.
    Bytes(u64),
    /// `off`: no budget.
    Off,
}
