//! What a caller says about the trace that its request belongs to.

use super::ids::{SpanId, TraceId};

/// Spelled-out flags of a trace. Only these are ever passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags {
    /// Somebody records this trace.
    pub sampled: bool,
    /// The trace's id is random in its last 7 bytes (W3C Trace Context level 2, §3.2.2.5).
    pub random: bool,
    /// B3 only: recorded whatever a sampler says.
    pub debug: bool,
}

/// The caller's span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remote {
    /// The trace.
    pub trace: TraceId,
    /// The span.
    pub span: SpanId,
}

/// What a well-formed header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Incoming {
    /// The caller's span; `None`: only a decision is told (B3).
    pub remote: Option<Remote>,
    /// Whether the caller records; `None`: it leaves that to us (B3).
    pub sampled: Option<bool>,
    /// The other flags.
    pub flags: Flags,
}
