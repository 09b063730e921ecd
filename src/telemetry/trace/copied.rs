//! The span of a request's copy for another upstream.
//!
//! A copy begins a trace of its own, so that what a shadow does is not taken for the request's work; a link leads to the
//! request. Path: `proxy::mirror` reports it once, when the copy is over.

use std::sync::Arc;
use std::time::SystemTime;

use http::{Method, Uri};
use opentelemetry::trace::{Link, SpanKind, Status};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{SpanData, SpanLinks};

use super::finished::{blank, context, method_name, path};
use super::{Trace, Tracing};

/// A copy under way.
#[derive(Debug)]
pub struct Copied {
    pub(super) trace: Trace,
    pub(super) of: Trace,
    method: Method,
    path: Box<str>,
    upstream: Arc<str>,
    started: SystemTime,
    ended: SystemTime,
    /// Why there is no answer.
    error: Option<&'static str>,
}

impl Copied {
    /// The copy `trace` of the request `of` begins, on its way to `upstream`.
    pub fn begin(trace: Trace, of: Trace, head: (&Method, &Uri), upstream: &Arc<str>) -> Self {
        let now = SystemTime::now();
        Self {
            trace,
            of,
            method: head.0.clone(),
            path: path(head.1),
            upstream: Arc::clone(upstream),
            started: now,
            ended: now,
            error: None,
        }
    }

    /// It is over, with an answer or an `error`.
    pub fn end(mut self, tracing: &Tracing, error: Option<&'static str>) {
        self.ended = SystemTime::now();
        self.error = error;
        tracing.finish_copy(self);
    }

    pub(super) fn into_span(self, scope: &InstrumentationScope) -> SpanData {
        let mut attributes = vec![
            KeyValue::new("http.request.method", method_name(&self.method)),
            KeyValue::new("url.path", self.path.to_string()),
            KeyValue::new("outrigger.upstream", self.upstream.to_string()),
            KeyValue::new("outrigger.mirror", true),
        ];
        attributes.extend(self.error.map(|error| KeyValue::new("error.type", error)));
        let mut links = SpanLinks::default();
        let request = context(self.of.id, self.of.span);
        links.links.push(Link::new(request, Vec::new(), 0));
        SpanData {
            name: format!("mirror {}", self.upstream).into(),
            span_kind: SpanKind::Client,
            start_time: self.started,
            end_time: self.ended.max(self.started),
            attributes,
            links,
            status: self.error.map_or(Status::Unset, Status::error),
            ..blank(context(self.trace.id, self.trace.span), scope)
        }
    }
}
