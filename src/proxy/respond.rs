//! Answers that the proxy makes itself: the only place that invents a response.
//!
//! Path: [`super::stack`] calls it when a request failed, [`super::action`] when a route answers by itself. Of a failure the body is `{"code","message","details"}`. Peers that the
//! file trusts (loopback, unless it says otherwise) read all of it; strangers get the code, a message without names and
//! the request id, by which an operator finds the rest in the log. A gRPC caller is told the same in its own way, see
//! [`grpc`]; what a route answers by itself is written in the file and sent as it stands, whoever asks.

pub mod grpc;

use std::time::Duration;

use http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, LOCATION, RETRY_AFTER,
};
use http::{HeaderValue, Method, Response, StatusCode};
use serde_json::{Map, Value, json};

use super::body::ProxyBody;
use super::error::ProxyError;
use super::exchange::Exchange;
use super::headers::X_REQUEST_ID;
use crate::route::Reply;
use crate::telemetry::record::{Limit, RequestRecord};
use crate::telemetry::route::NO_ROUTE;
use crate::upstream::connect::ConnectError;
use grpc::Caller;

const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// What a client reads that did not finish its request's head in time. There is no exchange yet to answer in, so the
/// connection writes it as it stands.
pub const HEADER_TIMEOUT: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: 165\r\n\r\n\
{\"code\":\"REQUEST_HEADER_TIMEOUT\",\"message\":\"the request's head was not complete in time (`timeouts.request_header` of the listener)\",\"details\":{\"side\":\"downstream\"}}";

/// What a client reads that speaks HTTP without TLS to a listener with `tls`: there is nothing else it could read.
pub const PLAIN_HTTP: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: 119\r\n\r\n\
{\"code\":\"PLAIN_HTTP\",\"message\":\"this port speaks TLS only: ask for it with `https://`\",\"details\":{\"side\":\"downstream\"}}";

/// The answer to a request of `caller` that met `error`.
pub fn respond(exchange: &Exchange, error: &ProxyError, caller: Caller) -> Response<ProxyBody> {
    exchange.fail(error);
    let (body, request_id) = told(exchange, error);
    let mut response = match caller {
        Caller::Http => in_http(error, &body),
        Caller::Grpc => in_grpc(error, &body),
    };
    let headers = response.headers_mut();
    if let Ok(status) = HeaderValue::from_str(&format!(
        "outrigger; error={}; details=\"{}\"",
        error_type(error),
        error.reason()
    )) {
        headers.insert(PROXY_STATUS, status);
    }
    if let Some(id) = request_id {
        headers.insert(X_REQUEST_ID, id);
    }
    if matches!(error, ProxyError::BadRequest(_) | ProxyError::BodyTooLarge) {
        // Whoever is misunderstood once is not listened to again; HTTP/2 leaves this field out.
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if let Some(refusal) = error.refusal() {
        if let Some(wait) = refusal.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(wait)));
        }
        headers.extend(refusal.headers.clone());
    }
    response
}

/// The trailers with which a gRPC call ends whose answer met `error` on its way.
pub fn last_words(exchange: &Exchange, error: &ProxyError) -> HeaderMap {
    let (body, _) = told(exchange, error);
    let mut trailers = HeaderMap::new();
    grpc::end(&mut trailers, error, words(&body));
    trailers
}

/// What the peer may read about `error`, and the request's id.
fn told(exchange: &Exchange, error: &ProxyError) -> (Value, Option<HeaderValue>) {
    let forwarding = &exchange.snapshot.forwarding;
    let trusted = forwarding.trusts(exchange.connection.peer.ip());
    exchange.note(|record| (body(record, error, trusted), record.request_id.clone()))
}

fn words(body: &Value) -> &str {
    let message = body.get("message").and_then(Value::as_str);
    message.unwrap_or_default()
}

fn in_http(error: &ProxyError, body: &Value) -> Response<ProxyBody> {
    let mut response = Response::new(ProxyBody::full(body.to_string()));
    *response.status_mut() = error.status();
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

/// "Trailers-Only": a head and nothing else.
fn in_grpc(error: &ProxyError, body: &Value) -> Response<ProxyBody> {
    let mut response = Response::new(ProxyBody::full(""));
    grpc::announce(response.headers_mut());
    grpc::end(response.headers_mut(), error, words(body));
    response
}

/// The answer that sends a client to `location`.
pub fn redirect(location: HeaderValue, status: StatusCode) -> Response<ProxyBody> {
    let mut response = Response::new(ProxyBody::full(""));
    *response.status_mut() = status;
    response.headers_mut().insert(LOCATION, location);
    response
}

/// The answer that the file gives, without the headers that it names.
pub fn reply(reply: &Reply, method: &Method) -> Response<ProxyBody> {
    // The length says what a GET would bring (RFC 9110 §9.3.2).
    let head_only = *method == Method::HEAD;
    let body = if head_only {
        bytes::Bytes::new()
    } else {
        reply.body.clone()
    };
    let mut response = Response::new(ProxyBody::full(body));
    *response.status_mut() = reply.status;
    if head_only && !reply.body.is_empty() {
        let length = HeaderValue::from(reply.body.len());
        response.headers_mut().insert(CONTENT_LENGTH, length);
    }
    response
}

/// Rounded up, and never 0, which would mean "at once" (RFC 9110 §10.2.3).
fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs()
        .saturating_add(u64::from(wait.subsec_nanos() > 0))
        .max(1)
}

fn body(record: &RequestRecord, error: &ProxyError, trusted: bool) -> Value {
    let limit = record.limit.as_ref().filter(|_| trusted);
    let mut details = Map::new();
    let mut detail = |key: &str, value: Option<String>| {
        if let Some(value) = value {
            details.insert(key.into(), value.into());
        }
    };
    if trusted {
        detail("side", Some(error.side().as_str().into()));
        detail("phase", Some(error.phase().into()));
        detail("listener", Some(record.route.listener.to_string()));
        detail(
            "route",
            Some(&record.route.route)
                .filter(|name| ***name != *NO_ROUTE)
                .map(ToString::to_string),
        );
        detail(
            "upstream",
            record.upstream.as_ref().map(ToString::to_string),
        );
        detail(
            "endpoint",
            record
                .attempts
                .last()
                .map(|attempt| attempt.endpoint.to_string()),
        );
        let before = error.refusal().and_then(|it| it.last_error.clone());
        detail("last_error", error.cause().or(before));
        detail("not_retried", record.not_retried.map(Into::into));
        detail("trace_id", record.trace.map(|trace| trace.id.to_string()));
    }
    detail(
        "request_id",
        record
            .request_id
            .as_ref()
            .and_then(|id| id.to_str().ok())
            .map(Into::into),
    );
    if let Some(limit) = limit {
        let limit = json!({ "key": limit.key, "value": limit.value });
        details.insert("limit".into(), limit);
    }
    let message = if trusted {
        match limit.filter(|_| error.refusal().is_none()) {
            Some(Limit { key, value }) => {
                format!("{}; `{key}` is {value}", message(record, error))
            }
            None => message(record, error),
        }
    } else {
        error.to_string()
    };
    json!({ "code": error.code(), "message": message, "details": details })
}

/// What happened, with names.
fn message(record: &RequestRecord, error: &ProxyError) -> String {
    if let Some(refusal) = error.refusal() {
        return refusal.message.clone();
    }
    let upstream = record.upstream.as_deref().unwrap_or_default();
    let endpoint = record
        .attempts
        .last()
        .map(|attempt| attempt.endpoint.to_string())
        .unwrap_or_default();
    match error {
        ProxyError::NoRoute => format!(
            "no route of listener `{}` takes {} {}; add one to `routes`, or `forward` to the listener",
            record.route.listener,
            record.method,
            record.uri.path()
        ),
        ProxyError::Connect(_) => {
            format!(
                "no connection to {endpoint} of upstream `{upstream}`: {}",
                error.cause().unwrap_or_default()
            )
        }
        ProxyError::UpstreamReset(_) => {
            format!("{endpoint} of upstream `{upstream}` closed the connection before answering")
        }
        ProxyError::UpstreamProtocol(_) => {
            format!(
                "what {endpoint} of upstream `{upstream}` answered is not valid HTTP: {}",
                error.cause().unwrap_or_default()
            )
        }
        ProxyError::UpstreamHeadTooLarge => format!(
            "the head of what {endpoint} of upstream `{upstream}` answered has more bytes or lines than it may"
        ),
        ProxyError::UpstreamIdle => {
            format!("{endpoint} of upstream `{upstream}` was silent for too long")
        }
        ProxyError::RequestTimeout => {
            format!(
                "the answer of upstream `{upstream}` was not complete within the time of route `{}`",
                record.route.route
            )
        }
        ProxyError::AttemptTimeout => format!(
            "{endpoint} of upstream `{upstream}` did not answer within the time of one attempt"
        ),
        ProxyError::ClientTooSlow => {
            "the client sent fewer bytes of the request's body per second than it must".to_owned()
        }
        // The others have no names to tell.
        _ => error.to_string(),
    }
}

/// The error type of RFC 9209 §2.3 that comes closest.
fn error_type(error: &ProxyError) -> &'static str {
    match error {
        ProxyError::BadRequest(_) | ProxyError::ConnectMethod => "http_request_error",
        ProxyError::ClientBody
        | ProxyError::HeadTooLarge
        | ProxyError::BodyTooLarge
        | ProxyError::ClientGone
        | ProxyError::ClientIdle
        | ProxyError::ClientTooSlow => "http_request_error",
        ProxyError::NoRoute => "destination_not_found",
        ProxyError::RateLimited(_) => "http_request_denied",
        ProxyError::Overloaded(..) => "connection_limit_reached",
        ProxyError::NoEndpoint(_)
        | ProxyError::CircuitOpen(_)
        | ProxyError::NoHealthyEndpoint(_) => "destination_unavailable",
        ProxyError::Connect(ConnectError::Timeout(_)) => "connection_timeout",
        ProxyError::Connect(ConnectError::Io(io))
            if io.kind() == std::io::ErrorKind::ConnectionRefused =>
        {
            "connection_refused"
        }
        ProxyError::Connect(ConnectError::NotHttp2(_)) => "http_protocol_error",
        ProxyError::Connect(_) => "destination_ip_unroutable",
        ProxyError::UpstreamReset(_) => "connection_terminated",
        ProxyError::UpstreamHeadTooLarge => "http_response_header_section_size",
        ProxyError::UpstreamProtocol(_)
        | ProxyError::UpstreamFraming
        | ProxyError::UnaskedUpgrade => "http_protocol_error",
        ProxyError::UpstreamBody(_) => "http_response_incomplete",
        ProxyError::UpstreamIdle
        | ProxyError::RequestTimeout
        | ProxyError::AttemptTimeout
        | ProxyError::UpgradedIdle
        | ProxyError::DeadlineExceeded => "http_response_timeout",
        ProxyError::Panic => "proxy_internal_error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fixed_answers_state_their_own_length() {
        for answer in [HEADER_TIMEOUT, PLAIN_HTTP] {
            let text = std::str::from_utf8(answer).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            assert!(
                head.ends_with(&format!("content-length: {}", body.len())),
                "{}",
                body.len()
            );
            serde_json::from_str::<serde_json::Value>(body).unwrap();
        }
    }
}
