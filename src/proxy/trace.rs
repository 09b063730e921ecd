//! What the app is told about the trace that a request belongs to.
//!
//! Path: [`super::stack`] begins the trace, [`super::headers`] clears the head, [`super::attempt`] writes every attempt's
//! own span into it. Without the section `tracing` each of them returns at once, and what came is passed on as it is.

use std::sync::Arc;

use http::HeaderMap;
use http::request::Parts;

use super::exchange::Exchange;
use super::seen::{Field, Seen};
use crate::snapshot::Snapshot;
use crate::telemetry::trace::copied::Copied;
use crate::telemetry::trace::ids::SpanId;
use crate::telemetry::trace::{Trace, Tracing};

/// The trace of the request with these headers.
pub fn begin(snapshot: &Snapshot, headers: &HeaderMap, seen: Seen) -> Option<Trace> {
    let tracing = snapshot.tracing.as_ref()?;
    Some(tracing.begin(Some(headers).filter(|_| seen.has(Field::Trace))))
}

/// Takes what the client said about its trace out of the head, as far as the app must not hear it.
pub fn clear(exchange: &Exchange, headers: &mut HeaderMap, seen: Seen) {
    if seen.has(Field::Trace)
        && let (Some(tracing), Some(trace)) = (&exchange.snapshot.tracing, &exchange.trace)
    {
        tracing.clear(headers, trace);
    }
}

/// Lets a copy of the request, whose headers these are, begin a trace of its own. What is given back is its span, if that
/// is recorded.
pub fn tell_copy(exchange: &Exchange, head: &mut Parts, upstream: &Arc<str>) -> Option<CopySpan> {
    let (tracing, trace) = (exchange.snapshot.tracing.as_ref()?, exchange.trace?);
    let copy = tracing.copy(&trace);
    tracing.clear(&mut head.headers, &copy);
    tracing.tell(&mut head.headers, &copy, copy.span);
    copy.flags.sampled.then(|| CopySpan {
        copied: Copied::begin(copy, trace, (&head.method, &head.uri), upstream),
        tracing: Arc::clone(tracing),
    })
}

/// The span of a copy under way.
#[derive(Debug)]
pub struct CopySpan {
    copied: Copied,
    tracing: Arc<Tracing>,
}

impl CopySpan {
    /// The copy is over, with an answer or an `error`.
    pub fn end(self, error: Option<&'static str>) {
        self.copied.end(&self.tracing, error);
    }
}

/// Makes a new span the parent of whoever gets `headers`, and gives its id.
pub fn tell_attempt(exchange: &Exchange, headers: &mut HeaderMap) -> Option<SpanId> {
    let (tracing, trace) = (exchange.snapshot.tracing.as_ref()?, exchange.trace?);
    let span = SpanId::random();
    tracing.tell(headers, &trace, span);
    Some(span)
}
