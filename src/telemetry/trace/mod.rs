//! Traces: which one a request belongs to, what the app is told about it, and which are recorded.
//!
//! Path: `proxy::exchange` calls [`Tracing::begin`] when a head has arrived; `proxy::trace` lets every attempt have a
//! span of its own, whose id the app gets as its parent. A request that is not recorded costs its ids and its header,
//! nothing else. Source: W3C Trace Context; the sidecar is one more hop of the trace.

pub mod b3;
pub mod collector;
pub mod context;
pub mod copied;
pub mod export;
pub mod finished;
pub mod ids;
pub mod propagation;
pub mod queue;
pub mod sample;
pub mod w3c;

use std::sync::Arc;
use std::time::SystemTime;

use http::HeaderMap;

use super::record::RequestRecord;
use collector::Target;
use context::{Flags, Remote};
use copied::Copied;
use finished::Finished;
use ids::{SpanId, TraceId};
use propagation::Format;
use queue::{Entry, Queue, SpanCounters};
use sample::Sampler;

/// The section `tracing`, ready to use.
#[derive(Debug)]
pub struct Tracing {
    /// The formats that are read, in order; the first is the one that is written. Never empty.
    formats: Box<[Format]>,
    sampler: Sampler,
    export: Option<Export>,
}

/// Where spans go.
#[derive(Debug)]
struct Export {
    queue: Arc<Queue>,
    target: Target,
}

/// The trace of one request, and the request's own span in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trace {
    /// The trace.
    pub id: TraceId,
    /// The caller's span; `None`: the trace begins here.
    pub parent: Option<SpanId>,
    /// The span of this request.
    pub span: SpanId,
    /// Whether it is recorded, and what else the caller said.
    pub flags: Flags,
    /// How the caller told it.
    from: Option<Format>,
}

impl Tracing {
    /// `formats` are read in this order; the first is written, W3C if there is none.
    pub fn new(formats: Vec<Format>, sampler: Sampler) -> Self {
        Self {
            formats: formats.into(),
            sampler,
            export: None,
        }
    }

    /// Sends what is recorded to `target`; see [`Self::export`].
    pub fn with_export(mut self, target: Target, counters: SpanCounters) -> Self {
        let queue = Arc::new(Queue::new(counters));
        self.export = Some(Export { queue, target });
        self
    }

    /// What [`export::run`] needs, if spans are sent at all. To be run once.
    pub fn export(&self) -> Option<(Arc<Queue>, Target)> {
        let export = self.export.as_ref()?;
        Some((Arc::clone(&export.queue), export.target.clone()))
    }

    /// Lets the spans of a request that is over be sent, if its trace is recorded.
    pub fn finish(&self, record: &RequestRecord) {
        if let (Some(export), Some(trace)) = (&self.export, record.trace)
            && trace.flags.sampled
        {
            let finished = Finished::of(record, trace, SystemTime::now());
            export.queue.push(Entry::Request(finished));
        }
    }

    fn finish_copy(&self, copy: Copied) {
        if let Some(export) = &self.export {
            export.queue.push(Entry::Copy(copy));
        }
    }

    /// The trace of the request with these headers: its caller's, or a new one. `None`: they are known to tell of none.
    pub fn begin(&self, headers: Option<&HeaderMap>) -> Trace {
        let told = headers.and_then(|headers| {
            let mut formats = self.formats.iter();
            formats.find_map(|format| Some((*format, format.read(headers)?)))
        });
        let incoming = told.map(|(_, incoming)| incoming);
        let remote = incoming.and_then(|incoming| incoming.remote);
        let id = remote.map_or_else(TraceId::random, |remote: Remote| remote.trace);
        let decided = incoming.and_then(|incoming| incoming.sampled);
        let flags = incoming.map(|incoming| incoming.flags).unwrap_or_default();
        Trace {
            id,
            parent: remote.map(|remote| remote.span),
            span: SpanId::random(),
            flags: Flags {
                sampled: decided.unwrap_or_else(|| self.sampler.takes(id)),
                random: flags.random || remote.is_none(),
                ..flags
            },
            from: remote.and(told).map(|(format, _)| format),
        }
    }

    /// The trace of a copy of the request of `trace`: another one, recorded if that one is.
    pub fn copy(&self, trace: &Trace) -> Trace {
        Trace {
            id: TraceId::random(),
            parent: None,
            span: SpanId::random(),
            flags: Flags {
                random: true,
                ..trace.flags
            },
            from: None,
        }
    }

    /// Takes out of the client's head what would contradict the header to come: the other formats that are read, and
    /// the state of a trace that is not continued (W3C Trace Context §3.3).
    pub fn clear(&self, headers: &mut HeaderMap, trace: &Trace) {
        for format in &self.formats {
            // Only here something remains: the state, which belongs to the trace and not to its caller's span.
            let goes_on = *format == Format::W3c && trace.from == Some(*format);
            if !goes_on || *format != self.written() {
                format.remove(headers);
            }
        }
    }

    /// Tells the app that `span` is its parent.
    pub fn tell(&self, headers: &mut HeaderMap, trace: &Trace, span: SpanId) {
        self.written().write(headers, trace.id, span, trace.flags);
    }

    fn written(&self) -> Format {
        self.formats.first().copied().unwrap_or(Format::W3c)
    }
}

impl Drop for Tracing {
    fn drop(&mut self) {
        // The last request of its configuration is over: the exporter sends what waits, and ends.
        if let Some(export) = &self.export {
            export.queue.close();
        }
    }
}

#[cfg(test)]
mod tests;
