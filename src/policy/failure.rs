//! What counts as a failure of an endpoint: one answer for retries, breakers, ejection and metrics.
//!
//! Path: `proxy::attempt` and the end of an answer's body ask; `upstream` passes the verdict on to whoever counts.
//! What the proxy refused by itself, and what a client broke off, is nobody's failure.

use http::StatusCode;

/// How an attempt speaks for its endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It did its work.
    Success,
    /// It did not.
    Failure(Failure),
    /// It says nothing about the endpoint: the client left, or the proxy refused.
    Ignored,
}

/// What went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// No connection was to be had.
    Connect,
    /// A timer ended the wait.
    Timeout,
    /// The connection broke.
    Reset,
    /// What came was not HTTP.
    Protocol,
    /// An answer with this status.
    Status(StatusCode),
    /// An answer with this `grpc-status`.
    Grpc(u16),
    /// An answer that took too long to count as good.
    Slow,
}
