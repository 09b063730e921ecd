//! Answers that the proxy makes itself: the only place that invents a response.
//!
//! Path: [`super::stack`] calls it when a request failed, [`super::action`] when a route answers by itself. Of a failure the body is `{"code","message","details"}`. Peers that the
//! file trusts (loopback, unless it says otherwise) read all of it; strangers get the code, a message without names and
//! the request id, by which an operator finds the rest in the log. A gRPC caller is told the same in its own way, see
//! [`grpc`]; what a route answers by itself is written in the file and sent as it stands, whoever asks.

pub mod grpc;

use std::sync::Arc;
use std::time::Duration;

use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, LOCATION, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri};
use serde_json::{Map, Value, json};

use super::body::ProxyBody;
use super::error::ProxyError;
use super::exchange::Exchange;
use super::headers::X_REQUEST_ID;
use super::{ConnInfo, Engine};
use crate::route::Reply;
use crate::telemetry::reason::Side;
use crate::telemetry::record::{Limit, RequestRecord};
use crate::telemetry::route::NO_ROUTE;
use grpc::Caller;

const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// What a client reads that speaks HTTP without TLS to a listener with `tls`: there is nothing else it could read.
pub const PLAIN_HTTP: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: 119\r\n\r\n\
{\"code\":\"PLAIN_HTTP\",\"message\":\"this port speaks TLS only: ask for it with `https://`\",\"details\":{\"side\":\"downstream\"}}";

/// The answer to a request of `caller` that met `error`.
pub fn respond(exchange: &Exchange, error: &ProxyError, caller: Caller) -> Response<ProxyBody> {
    let (mut headers, body) = tell(exchange, error);
    let mut response = match caller {
        Caller::Http => Response::new(ProxyBody::full(body.to_string())),
        Caller::Grpc => {
            // "Trailers-Only": a head and nothing else, with HTTP's 200.
            grpc::announce(&mut headers);
            grpc::end(&mut headers, error, words(&body));
            Response::new(ProxyBody::full(""))
        }
    };
    if caller == Caller::Http {
        *response.status_mut() = error.status();
    }
    *response.headers_mut() = headers;
    response
}

/// The answer to a client whose request's head never was complete, as bytes: nobody else can write it for us. It has a
/// record like any other, only without a method and a path.
pub fn before_a_request(
    engine: &Arc<Engine>,
    connection: &Arc<ConnInfo>,
    error: &ProxyError,
) -> Vec<u8> {
    let snapshot = engine.snapshots.load();
    let method = Method::from_bytes(b"-").unwrap_or_default();
    let head = (method, Uri::from_static("*"));
    let exchange = Exchange::open(engine, connection, snapshot, head, None);
    let (headers, body) = tell(&exchange, error);
    let body = body.to_string();
    let status = error.status();
    exchange.note(|record| record.status = Some(status));
    exchange.sent(body.len());
    let mut bytes = format!(
        "HTTP/1.1 {} {}\r\nconnection: close\r\ncontent-length: {}\r\n",
        status.as_str(),
        status.canonical_reason().unwrap_or_default(),
        body.len()
    )
    .into_bytes();
    for (name, value) in &headers {
        let line = [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"];
        bytes.extend_from_slice(&line.concat());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(body.as_bytes());
    bytes
}

/// Notes that the exchange failed; head and body of what the client is told.
fn tell(exchange: &Exchange, error: &ProxyError) -> (HeaderMap, Value) {
    exchange.fail(error);
    let trusted = exchange
        .snapshot
        .forwarding
        .trusts(exchange.connection.peer.ip());
    let (body, request_id, status) = exchange.note(|record| {
        (
            body(exchange, record, error, trusted),
            record.request_id.clone(),
            proxy_status(record, error, trusted),
        )
    });
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Ok(status) = HeaderValue::from_str(&status) {
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
    (headers, body)
}

/// RFC 9209 §2. Whom we asked is nobody's business but a trusted peer's.
fn proxy_status(record: &RequestRecord, error: &ProxyError, trusted: bool) -> String {
    let facts = error.reason().facts();
    let asked = record.attempts.last().filter(|_| trusted);
    let next_hop = asked.map_or(String::new(), |attempt| {
        format!("; next-hop=\"{}\"", attempt.endpoint)
    });
    format!(
        "outrigger; error={}{next_hop}; details=\"{}\"",
        facts.error_type, facts.code
    )
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
    exchange.note(|record| {
        (
            body(exchange, record, error, trusted),
            record.request_id.clone(),
        )
    })
}

fn words(body: &Value) -> &str {
    let message = body.get("message").and_then(Value::as_str);
    message.unwrap_or_default()
}

/// The answer that sends a client to `location`.
pub fn redirect(location: HeaderValue, status: StatusCode) -> Response<ProxyBody> {
    let mut response = Response::new(ProxyBody::full(""));
    *response.status_mut() = status;
    response.headers_mut().insert(LOCATION, location);
    response
}

/// The answer to a CONNECT that has its tunnel: no content, and no length of it (RFC 9110 §9.3.6).
pub fn tunnel() -> Response<ProxyBody> {
    Response::new(ProxyBody::full(""))
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

/// The section of the file to look at where no limit fired.
fn section(exchange: &Exchange, record: &RequestRecord, error: &ProxyError) -> Option<Value> {
    let key = match (error, &record.upstream) {
        (ProxyError::NoRoute, _) => format!("listeners.{}", record.route.listener),
        (_, Some(upstream)) if error.reason().facts().side == Side::Upstream => {
            format!("upstreams.{upstream}")
        }
        _ => return None,
    };
    let at = exchange.snapshot.config.places.find(&key)?;
    Some(json!({ "key": key, "at": at }))
}

fn body(exchange: &Exchange, record: &RequestRecord, error: &ProxyError, trusted: bool) -> Value {
    let limit = record.limit.as_ref().filter(|_| trusted);
    let mut details = Map::new();
    let mut detail = |key: &str, value: Option<String>| {
        if let Some(value) = value {
            details.insert(key.into(), value.into());
        }
    };
    if trusted {
        let facts = error.reason().facts();
        detail("side", Some(facts.side.as_str().into()));
        detail("phase", Some(facts.phase.as_str().into()));
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
        detail("remedy", Some(facts.remedy.into()));
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
        let mut limit = json!({ "key": limit.key, "value": limit.value });
        if let Some(at) = &record.limit_at {
            limit["at"] = (&**at).into();
        }
        details.insert("limit".into(), limit);
    } else if let Some(section) = section(exchange, record, error).filter(|_| trusted) {
        details.insert("config".into(), section);
    }
    let message = if trusted {
        message_with_limit(record, error)
    } else {
        error.to_string()
    };
    json!({ "code": error.code(), "message": message, "details": details })
}

fn message_with_limit(record: &RequestRecord, error: &ProxyError) -> String {
    let message = message(record, error);
    match record
        .limit
        .as_deref()
        .filter(|_| error.refusal().is_none())
    {
        Some(Limit { key, value }) => format!("{message}; `{key}` is {value}"),
        None => message,
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fixed_answer_states_its_own_length() {
        let text = std::str::from_utf8(PLAIN_HTTP).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(
            head.ends_with(&format!("content-length: {}", body.len())),
            "{}",
            body.len()
        );
        serde_json::from_str::<serde_json::Value>(body).unwrap();
    }
}
