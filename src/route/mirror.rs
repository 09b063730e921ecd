//! Copies of requests for another upstream, whose answers nobody waits for.
//!
//! Path: a route holds them; `proxy::mirror` makes and sends the copies. What is bounded is bounded here: how many
//! requests are copied, and how many copies may be under way.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;

use super::split::Shares;
use crate::telemetry::mirror::MirrorTelemetry;
use crate::upstream::Upstream;

/// Copies under way, at most, for each upstream and worker. With [`MAX_BODY`] it bounds what they hold.
pub const MAX_IN_FLIGHT: usize = 100;

/// Bytes of a request's body that are copied, at most; what has more is not mirrored.
pub const MAX_BODY: usize = 64 * 1024;

/// Parts of a percentage: hundredths of a per cent.
pub const WHOLE: u32 = 10_000;

/// Copies for one upstream.
#[derive(Debug)]
pub struct Mirror {
    /// Where they go.
    pub upstream: Arc<Upstream>,
    /// How long a copy may take.
    pub timeout: Duration,
    /// What became of the copies.
    pub telemetry: Arc<MirrorTelemetry>,
    /// Copied or not; none: never.
    shares: Option<Shares>,
}

impl Mirror {
    /// `parts` of [`WHOLE`] requests are copied.
    pub fn new(
        upstream: Arc<Upstream>,
        parts: u32,
        timeout: Duration,
        telemetry: Arc<MirrorTelemetry>,
    ) -> Self {
        let parts = parts.min(WHOLE);
        let shares = (parts > 0).then(|| Shares::new(&[parts, WHOLE - parts]));
        Self {
            upstream,
            timeout,
            telemetry,
            shares: shares.flatten(),
        }
    }

    /// Whether the next request is one of those to be copied.
    pub fn is_due(&self) -> bool {
        self.shares
            .as_ref()
            .is_some_and(|shares| shares.next() == 0)
    }

    /// The right to one more copy; held until its answer has been read.
    pub fn permit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.upstream.copies).try_acquire_owned().ok()
    }
}
