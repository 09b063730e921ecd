//! A request that is over, and its spans: one of the server, one of the client for each attempt.
//!
//! Path: [`Finished::of`] copies on the worker what spans need of the record, bounded in size and without holding the
//! client's buffers; [`Finished::into_spans`] does the rest on the control runtime. Names: OpenTelemetry semantic
//! conventions for HTTP 1.23 and later.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{Method, StatusCode, Uri};
use opentelemetry::trace::{SpanContext, SpanKind, Status, TraceFlags, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use super::Trace;
use super::ids::{SpanId, TraceId};
use crate::telemetry::reason::Reason;
use crate::telemetry::record::{AttemptRecord, Outcome, RequestRecord};
use crate::telemetry::route::{NO_ROUTE, RouteTelemetry};

/// Longest path told.
const PATH_LIMIT: usize = 1024;
/// Most attempts told; a route may not ask for more than a few.
const ATTEMPTS: usize = 32;

/// What spans need of a request's record.
#[derive(Debug)]
pub struct Finished {
    trace: Trace,
    ended: SystemTime,
    duration: Duration,
    method: Method,
    path: Box<str>,
    client: IpAddr,
    request_id: Option<Box<str>>,
    route: Arc<RouteTelemetry>,
    upstream: Option<Arc<str>>,
    status: Option<StatusCode>,
    reason: Option<&'static str>,
    not_retried: Option<&'static str>,
    bytes: (u64, u64),
    attempts: Vec<AttemptRecord>,
}

impl Finished {
    /// Of `record`, which belongs to `trace` and ended at `ended`.
    pub fn of(record: &RequestRecord, trace: Trace, ended: SystemTime) -> Self {
        let request_id = record.request_id.as_ref().and_then(|id| id.to_str().ok());
        Self {
            trace,
            ended,
            duration: record.duration,
            method: record.method.clone(),
            path: path(&record.uri),
            client: record.client,
            request_id: request_id.map(Into::into),
            route: Arc::clone(&record.route),
            upstream: record.upstream.clone(),
            status: record.status,
            reason: record.reason.map(Reason::as_str),
            not_retried: record.not_retried,
            bytes: (record.bytes_in, record.bytes_out),
            attempts: record.attempts.iter().take(ATTEMPTS).cloned().collect(),
        }
    }

    /// How many spans it has.
    pub fn spans(&self) -> usize {
        1 + self.attempts.len()
    }

    /// Its spans, added to `out`.
    pub fn into_spans(self, scope: &InstrumentationScope, out: &mut Vec<SpanData>) {
        let begun = self.ended.checked_sub(self.duration);
        let times = Frame {
            begun: begun.unwrap_or(self.ended),
            ended: self.ended,
            scope,
        };
        for (index, attempt) in self.attempts.iter().enumerate() {
            out.extend(self.attempt(attempt, index, &times));
        }
        out.push(self.server(&times));
    }

    fn server(&self, times: &Frame<'_>) -> SpanData {
        let mut attributes = vec![
            KeyValue::new("http.request.method", method_name(&self.method)),
            KeyValue::new("url.path", self.path.to_string()),
            KeyValue::new("url.scheme", "http"),
            KeyValue::new("client.address", self.client.to_string()),
            KeyValue::new("http.request.body.size", int(self.bytes.0)),
            KeyValue::new("http.response.body.size", int(self.bytes.1)),
            KeyValue::new("outrigger.direction", self.route.direction),
            KeyValue::new("outrigger.listener", self.route.listener.to_string()),
            KeyValue::new("outrigger.route", self.route.route.to_string()),
        ];
        let mut add = |key: &'static str, value: Option<String>| {
            attributes.extend(value.map(|value| KeyValue::new(key, value)));
        };
        add(
            "outrigger.upstream",
            self.upstream.as_ref().map(ToString::to_string),
        );
        add(
            "outrigger.request_id",
            self.request_id.as_ref().map(ToString::to_string),
        );
        add(
            "outrigger.not_retried",
            self.not_retried.map(ToOwned::to_owned),
        );
        let failed = self.status.filter(StatusCode::is_server_error);
        let error = self.reason.map(ToOwned::to_owned);
        let error = error.or(failed.map(|status| status.as_str().to_owned()));
        // A client's mistake is not this server's.
        let status = match (self.status, &error) {
            (Some(status), _) if status.is_client_error() => Status::Unset,
            (_, Some(error)) => Status::error(error.clone()),
            _ => Status::Unset,
        };
        add("error.type", error);
        attributes.extend(self.status.map(status_code));
        SpanData {
            parent_span_is_remote: self.trace.parent.is_some(),
            parent_span_id: id(self.trace.parent),
            start_time: times.begun,
            end_time: times.ended,
            attributes,
            status,
            ..self.span(self.trace.span, SpanKind::Server, times.scope)
        }
    }

    /// `None`: nobody was told about it.
    fn attempt(
        &self,
        attempt: &AttemptRecord,
        index: usize,
        times: &Frame<'_>,
    ) -> Option<SpanData> {
        let start_time = times.begun + attempt.started;
        let mut attributes = vec![
            KeyValue::new("http.request.method", method_name(&self.method)),
            KeyValue::new("url.path", self.path.to_string()),
        ];
        if let Ok(address) = attempt.endpoint.parse::<SocketAddr>() {
            let (ip, port) = (address.ip().to_string(), i64::from(address.port()));
            attributes.push(KeyValue::new("server.address", ip.clone()));
            attributes.push(KeyValue::new("server.port", port));
            attributes.push(KeyValue::new("network.peer.address", ip));
            attributes.push(KeyValue::new("network.peer.port", port));
        }
        if index > 0 {
            attributes.push(KeyValue::new("http.request.resend_count", int(index)));
        }
        if let Some(connect) = attempt.connect {
            let millis = connect.as_secs_f64() * 1000.0;
            attributes.push(KeyValue::new("outrigger.connect_ms", millis));
        }
        let error = match attempt.outcome {
            Outcome::Failed(reason) => Some(reason.to_owned()),
            Outcome::Status(status) => {
                attributes.push(status_code(status));
                let failed = status.is_client_error() || status.is_server_error();
                failed.then(|| status.as_str().to_owned())
            }
        };
        let status = error.clone().map_or(Status::Unset, Status::error);
        attributes.extend(error.map(|error| KeyValue::new("error.type", error)));
        // The body of the answer that was passed on belongs to its attempt.
        let last = index + 1 == self.attempts.len();
        let answered = last && matches!(attempt.outcome, Outcome::Status(_));
        let head = start_time + attempt.elapsed;
        Some(SpanData {
            parent_span_id: id(Some(self.trace.span)),
            start_time,
            end_time: if answered {
                times.ended.max(head)
            } else {
                head
            },
            attributes,
            status,
            ..self.span(attempt.span?, SpanKind::Client, times.scope)
        })
    }

    fn span(&self, span: SpanId, span_kind: SpanKind, scope: &InstrumentationScope) -> SpanData {
        SpanData {
            name: self.name(&span_kind),
            span_kind,
            ..blank(context(self.trace.id, span), scope)
        }
    }

    /// Few different ones: the path is the client's choice and stays out.
    fn name(&self, kind: &SpanKind) -> Cow<'static, str> {
        let method = match method_name(&self.method) {
            OTHER => "HTTP",
            method => method,
        };
        match kind {
            SpanKind::Server if *self.route.route != *NO_ROUTE => {
                format!("{method} {}", self.route.route).into()
            }
            _ => method.into(),
        }
    }
}

/// What the conventions call a method that they do not know.
const OTHER: &str = "_OTHER";

/// The method, unless it is the client's invention.
pub(super) fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        Method::PATCH => "PATCH",
        Method::TRACE => "TRACE",
        Method::CONNECT => "CONNECT",
        _ => OTHER,
    }
}

/// The path, as far as it is told.
pub(super) fn path(uri: &Uri) -> Box<str> {
    let cut = uri.path().floor_char_boundary(PATH_LIMIT);
    uri.path().get(..cut).unwrap_or_default().into()
}

/// What all spans of a request have in common.
struct Frame<'s> {
    begun: SystemTime,
    ended: SystemTime,
    scope: &'s InstrumentationScope,
}

/// How others refer to `span` of `trace`, which is recorded.
pub(super) fn context(trace: TraceId, span: SpanId) -> SpanContext {
    let trace = opentelemetry::TraceId::from(trace.0.get());
    let state = TraceState::default();
    SpanContext::new(trace, id(Some(span)), TraceFlags::SAMPLED, false, state)
}

/// A span without a parent, of which nothing is known.
pub(super) fn blank(span_context: SpanContext, scope: &InstrumentationScope) -> SpanData {
    SpanData {
        span_context,
        parent_span_id: opentelemetry::SpanId::INVALID,
        parent_span_is_remote: false,
        name: Cow::Borrowed(""),
        span_kind: SpanKind::Internal,
        start_time: SystemTime::UNIX_EPOCH,
        end_time: SystemTime::UNIX_EPOCH,
        attributes: Vec::new(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: Status::Unset,
        instrumentation_scope: scope.clone(),
    }
}

fn id(span: Option<SpanId>) -> opentelemetry::SpanId {
    span.map_or(opentelemetry::SpanId::INVALID, |span| {
        opentelemetry::SpanId::from(span.0.get())
    })
}

fn status_code(status: StatusCode) -> KeyValue {
    KeyValue::new("http.response.status_code", i64::from(status.as_u16()))
}

fn int(number: impl TryInto<i64>) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}

#[cfg(test)]
pub(super) mod tests;
