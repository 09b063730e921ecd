//! What the app is told about the trace that a request belongs to.
//!
//! Path: [`super::stack`] begins the trace, [`super::headers`] clears the head, [`super::attempt`] writes every attempt's
//! own span into it. Without the section `tracing` each of them returns at once, and what came is passed on as it is.

use http::HeaderMap;

use super::exchange::Exchange;
use crate::snapshot::Snapshot;
use crate::telemetry::trace::Trace;
use crate::telemetry::trace::ids::SpanId;

/// The trace of the request with these headers.
pub fn begin(snapshot: &Snapshot, headers: &HeaderMap) -> Option<Trace> {
    let tracing = snapshot.tracing.as_ref()?;
    Some(tracing.begin(headers))
}

/// Takes what the client said about its trace out of the head, as far as the app must not hear it.
pub fn clear(exchange: &Exchange, headers: &mut HeaderMap) {
    if let (Some(tracing), Some(trace)) = (&exchange.snapshot.tracing, &exchange.trace) {
        tracing.clear(headers, trace);
    }
}

/// Makes the request's own span the parent of whoever gets `headers`.
pub fn tell(exchange: &Exchange, headers: &mut HeaderMap) {
    if let (Some(tracing), Some(trace)) = (&exchange.snapshot.tracing, &exchange.trace) {
        tracing.tell(headers, trace, trace.span);
    }
}

/// Makes a new span the parent of whoever gets `headers`, and gives its id.
pub fn tell_attempt(exchange: &Exchange, headers: Option<&mut HeaderMap>) -> Option<SpanId> {
    let (tracing, trace) = (exchange.snapshot.tracing.as_ref()?, exchange.trace?);
    let span = SpanId::random();
    tracing.tell(headers?, &trace, span);
    Some(span)
}
