//! From a request to its answer, in reading order.
//!
//! Path: the innermost part of [`super::stack`]. What has to see each other (route, deadline, attempts) stands in one
//! straight function; every step's decision lands in the exchange's record.

use std::sync::Arc;

use http::header::{CONTENT_TYPE, TE};
use http::{HeaderValue, Method, Response, StatusCode, Version, request, response};
use http_body::Body;
use hyper::body::Incoming;
use tokio::time::Instant;

use super::action::{self, Step};
use super::attempt::Answer;
use super::attempts::{self, Plan};
use super::body::{OnBreak, ProxyBody};
use super::error::ProxyError;
use super::exchange::Exchange;
use super::seen::Seen;
use super::stack::Received;
use super::unread::Unread;
use super::{admit, deadline, headers, mirror, tunnel, upgrade, verdict};
use crate::policy::deadline::Deadline;
use crate::policy::failure::{Content, content};
use crate::telemetry::protocol::Offence;
use crate::upstream::carrier::Speaks;
use crate::upstream::request_body::{Upload, UploadState};

/// Answers `request`.
///
/// # Errors
///
/// When there is no answer to pass on; see [`ProxyError`].
pub async fn forward(
    exchange: Arc<Exchange>,
    mut request: Box<Received>,
) -> Result<Response<ProxyBody>, ProxyError> {
    let (head, seen) = (&mut request.head, request.seen);
    let mut body = Unread::new(request.body, seen);
    check(&exchange, head, seen)?;
    if head.method == Method::CONNECT {
        return Box::pin(tunnel::open(&exchange, head, seen)).await;
    }
    let path = action::normal_path(&exchange.listener, head)?;
    let entry = action::find(&exchange.listener, head, path.as_ref());
    let entry = entry.ok_or(ProxyError::NoRoute)?;
    let route = &*entry.route;
    let upstream = route.target(&head.headers);
    exchange.take_route(&route.telemetry, upstream.map(|upstream| &upstream.name));
    refuse_too_large(route.body_bytes, body.get())?;
    let deadline = deadline::read(&exchange, route.timeout, &head.headers, seen);

    let version = head.version;
    let speaks = headers::speaks(upstream.map(Arc::as_ref), head, seen);
    let protocol = headers::requested_upgrade(head, seen).filter(|_| speaks == Speaks::Http1);
    let wish = upgrade::wish(head, protocol.as_ref());
    let trailers = speaks == Speaks::Http2 && headers::takes_trailers(head, seen);
    headers::prepare_request(&exchange, head, seen, protocol);
    if trailers {
        head.headers
            .insert(TE, HeaderValue::from_static("trailers"));
    }
    let end = deadline.end().map(|(end, _)| Instant::from_std(end));
    admit::route(&exchange, &route.limits, head, end).await?;
    let (forward, answer_rules) = match action::act(&exchange, entry, head, path)? {
        Step::Answer(response) => return Ok(*response),
        Step::Forward(forward, answer_rules) => (forward, answer_rules),
    };
    let upstream = upstream.ok_or_else(|| ProxyError::NoEndpoint(Box::default()))?;
    admit::upstream(&exchange, upstream, end).await?;
    let tap = mirror::copy(&exchange, &forward.mirrors, head, body.get());
    if let Some(body) = body.take() {
        exchange.open_upload(body, route, tap);
    }

    let plan = Plan {
        upstream,
        retry: &route.retry,
        per_try: route.per_try_timeout,
        deadline,
        speaks,
    };
    let answer = attempts::send(&plan, attempts::Request::new(&exchange, head)).await?;
    if answer.head.status == StatusCode::SWITCHING_PROTOCOLS {
        let mut response = upgrade::switch(&exchange, wish, answer)?;
        answer_rules.apply(response.headers_mut());
        return Ok(response);
    }
    let upload = exchange.upload().cloned();
    let mut response = pass_on(answer, deadline, version, upload)?;
    answer_rules.apply(response.headers_mut());
    Ok(response)
}

/// A body whose length tells that it is too long is not asked for.
fn refuse_too_large(most: Option<u64>, body: Option<&Incoming>) -> Result<(), ProxyError> {
    match (most, body) {
        (Some(most), Some(body)) if body.size_hint().lower() > most => {
            Err(ProxyError::BodyTooLarge)
        }
        _ => Ok(()),
    }
}

/// Refuses what no app should have to interpret.
fn check(exchange: &Exchange, head: &request::Parts, seen: Seen) -> Result<(), ProxyError> {
    if let Some(offence) = exchange.connection.observer.offence() {
        // Counted at the connection's end, as are those that hyper finds.
        return Err(ProxyError::BadRequest(offence.message()));
    }
    if head.method == Method::CONNECT && !exchange.listener.tunnels {
        return Err(ProxyError::ConnectMethod);
    }
    // hyper counts the lines of HTTP/1, and the bytes of both.
    let most = exchange.listener.limits.headers;
    if head.version == Version::HTTP_2 && head.headers.len() > most as usize {
        exchange
            .listener
            .metrics
            .protocol
            .count(Offence::HeadTooLarge);
        return Err(ProxyError::HeadTooLarge);
    }
    headers::check_request(head, seen).map_err(|offence| {
        exchange.listener.metrics.protocol.count(offence);
        ProxyError::BadRequest(offence.message())
    })
}

fn pass_on(
    answer: Answer,
    deadline: Deadline,
    version: Version,
    upload: Option<Arc<Upload>>,
) -> Result<Response<ProxyBody>, ProxyError> {
    let Answer {
        mut head,
        seen,
        mut body,
    } = answer;
    if upload
        .as_ref()
        .is_some_and(|upload| upload.state() != UploadState::Complete)
    {
        body.detach();
    }
    headers::prepare_response(&mut head, seen)
        .inspect_err(|error| body.say(verdict::of(error, None)))?;
    if version == Version::HTTP_10 && !body.has_length() {
        // Without chunks its end is the connection's end; this version keeps hyper from promising otherwise.
        head.version = version;
    }
    let stream = is_stream(&head);
    if let Some(upload) = upload.as_ref().filter(|_| stream) {
        upload.unhurried();
    }
    let deadline = if stream {
        deadline.of_stream()
    } else {
        deadline
    };
    // HTTP/1 would need to announce the trailers, and its client to read them.
    let on_break = if version == Version::HTTP_2 && content(&head.headers) == Content::Grpc {
        OnBreak::Trailers
    } else {
        OnBreak::Cut
    };
    body.begin(deadline, upload);
    Ok(Response::from_parts(
        head,
        ProxyBody::endpoint(body, on_break),
    ))
}

/// Whether the answer is meant to go on for as long as it likes: then the total timeout ends with its head.
fn is_stream(head: &response::Parts) -> bool {
    let content_type = head
        .headers
        .get(CONTENT_TYPE)
        .map_or(&b""[..], |value| value.as_bytes());
    let is = |kind: &[u8]| {
        content_type
            .get(..kind.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(kind))
    };
    is(b"text/event-stream") || is(b"application/grpc")
}
