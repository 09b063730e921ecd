//! What a client says about its time, and what the app is told about it.
//!
//! Path: [`super::forward`] reads it once; [`super::attempts`] tells what is left on every attempt.

use std::time::Duration;

use http::HeaderMap;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use tokio::time::Instant;

use super::exchange::Exchange;
use super::seen::{Field, Seen};
use crate::policy::deadline::{Deadline, format_grpc_timeout, parse_grpc_timeout, parse_millis};
use crate::units::header_value::short_value;

const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// The deadline of a request: its route's `timeout`, and what its client allows with `grpc-timeout` or the configured
/// header. A client's word that is no time is passed on and means nothing here.
pub fn read(
    exchange: &Exchange,
    timeout: Option<Duration>,
    headers: &HeaderMap,
    seen: Seen,
) -> Deadline {
    let started = exchange.started.into_std();
    let grpc = seen
        .has(Field::GrpcTimeout)
        .then(|| parse_grpc_timeout(headers.get(GRPC_TIMEOUT)?.as_bytes()))
        .flatten();
    let own = exchange.snapshot.deadline_header.as_ref();
    let own = own.and_then(|name| parse_millis(headers.get(name)?.as_bytes()));
    let allowed = match (grpc, own) {
        (Some(grpc), Some(own)) => Some(grpc.min(own)),
        (grpc, own) => grpc.or(own),
    };
    // gRPC has deadlines of its own, and streams that may go on for days; silence ends them all the same.
    let total = timeout.filter(|_| !is_grpc(headers, seen));
    Deadline {
        total: total.map(|timeout| started + timeout),
        // More than the clock can hold is no limit.
        client: allowed.and_then(|allowed| started.checked_add(allowed)),
    }
}

/// gRPC always says `te: trailers` (gRPC over HTTP/2, "Requests").
fn is_grpc(headers: &HeaderMap, seen: Seen) -> bool {
    let content_type = || headers.get(CONTENT_TYPE);
    seen.has(Field::Te)
        && content_type().is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// Writes what is left at `now` into the head of the request to the app: into `grpc-timeout` if the client sent it, into
/// the configured header always.
pub fn tell(exchange: &Exchange, deadline: &Deadline, headers: &mut HeaderMap, now: Instant) {
    let own = exchange.snapshot.deadline_header.as_ref();
    if deadline.client.is_none() && own.is_none() {
        return;
    }
    let Some(left) = deadline.left(now.into_std()) else {
        return;
    };
    if headers.contains_key(GRPC_TIMEOUT)
        && let Some(value) = short_value(format_grpc_timeout(left).as_bytes())
    {
        headers.insert(GRPC_TIMEOUT, value);
    }
    if let Some(name) = own {
        let millis = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        headers.insert(name.clone(), HeaderValue::from(millis));
    }
}
