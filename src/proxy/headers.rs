//! What changes in a head on its way through.
//!
//! Path: [`super::forward`] checks and prepares a request before the first attempt, and an answer after the last.
//! Fields that concern one connection only are removed (RFC 9110 §7.6.1); the app learns who its client is; what an
//! untrusted peer claims about that is dropped.

use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, HOST, HeaderMap, HeaderName, TE, TRANSFER_ENCODING,
    UPGRADE,
};
use http::request::Parts;
use http::{HeaderValue, Method, Uri, Version};

use super::error::ProxyError;
use super::exchange::Exchange;
use super::seen::{Field, Seen};
use super::{authority, forwarded, identity, request_id, trace};
use crate::policy::failure;
use crate::telemetry::protocol::Offence;
use crate::upstream::Upstream;
use crate::upstream::carrier::Speaks;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
/// `X-Request-Id`.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Refuses heads that no app should have to interpret.
///
/// # Errors
///
/// The first [`Offence`] found.
pub fn check_request(head: &Parts, seen: Seen) -> Result<(), Offence> {
    let host = head.headers.get(HOST);
    if seen.any_repeated() && head.headers.get_all(HOST).iter().nth(1).is_some() {
        return Err(Offence::SeveralHosts);
    }
    let authority = head.uri.authority();
    if host.is_none() && authority.is_none() && head.version != Version::HTTP_10 {
        return Err(Offence::NoHost);
    }
    if !is_target(head) {
        return Err(Offence::RequestLine);
    }
    if host.is_some_and(|host| !authority::is_host(host.as_bytes()))
        || authority.is_some_and(|it| !authority::is_host(it.as_str().as_bytes()))
    {
        return Err(Offence::Host);
    }
    if head.version == Version::HTTP_2
        && let (Some(host), Some(authority)) = (host, authority)
        && !host
            .as_bytes()
            .eq_ignore_ascii_case(authority.as_str().as_bytes())
    {
        return Err(Offence::HostConflict);
    }
    if seen.has(Field::TransferEncoding) {
        check_coding(head, seen)?;
    }
    Ok(())
}

/// Of all codings only `chunked` is understood here, once (RFC 9112 §6.1, §7).
fn check_coding(head: &Parts, seen: Seen) -> Result<(), Offence> {
    if seen.has(Field::ContentLength) {
        return Err(Offence::BothFramings);
    }
    let mut codings = head.headers.get_all(TRANSFER_ENCODING).iter();
    let only = codings.next().filter(|_| codings.next().is_none());
    if only.is_some_and(|it| it.as_bytes().eq_ignore_ascii_case(b"chunked")) {
        Ok(())
    } else {
        Err(Offence::Coding)
    }
}

/// The forms of a target that a server takes (RFC 9112 §3.2): a path, all of a URL for HTTP, `*` of OPTIONS.
fn is_target(head: &Parts) -> bool {
    let uri = &head.uri;
    if head.method == Method::CONNECT {
        // A host and a port, and nothing else (§3.2.3).
        return uri.authority().is_some() && uri.scheme().is_none() && uri.path().is_empty();
    }
    if uri.authority().is_some() && !matches!(uri.scheme_str(), Some("http" | "https")) {
        return false;
    }
    uri.path() != "*" || head.method == Method::OPTIONS
}

/// The host that the request is for: of the target if that names one (RFC 9112 §3.2.2), else of `Host`.
pub fn host(head: &Parts) -> &str {
    match head.uri.authority() {
        Some(authority) => authority.as_str(),
        None => head
            .headers
            .get(HOST)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default(),
    }
}

/// The path that a route has to take: `OPTIONS *` asks the server as a whole (RFC 9112 §3.2.4), which is its root.
pub fn path(head: &Parts) -> &str {
    match head.uri.path() {
        // CONNECT names none.
        "*" | "" => "/",
        path => path,
    }
}

/// The protocols that the client asks to switch to, one of them (RFC 9110 §7.8), if it does.
pub fn requested_upgrade(head: &Parts, seen: Seen) -> Option<HeaderValue> {
    if !seen.has(Field::Upgrade)
        || head.version != Version::HTTP_11
        || !lists(&head.headers, &CONNECTION, "upgrade")
    {
        return None;
    }
    let all = listed(&head.headers, &UPGRADE).filter(|name| !name.is_empty());
    let passed: Vec<&str> = all.filter(|protocol| !hides_requests(protocol)).collect();
    if passed.is_empty() {
        return None;
    }
    HeaderValue::from_str(&passed.join(", ")).ok()
}

/// Behind such a protocol further requests would pass by every rule of the file ("h2c smuggling"), so nobody is asked to
/// switch to it: the request goes on as if its client had not asked either, as RFC 9110 §7.8 allows.
fn hides_requests(protocol: &str) -> bool {
    let name = protocol.split('/').next().unwrap_or_default();
    let hiding = ["h2c", "h2", "http", "tls"];
    hiding.iter().any(|it| name.trim().eq_ignore_ascii_case(it))
}

/// What is spoken with `upstream` about this request.
pub fn speaks(upstream: Option<&Upstream>, head: &Parts, seen: Seen) -> Speaks {
    upstream.map_or(Speaks::Http1, |upstream| {
        upstream.speaks(|| takes_trailers(head, seen) && failure::is_grpc(&head.headers))
    })
}

/// Whether the client wants to have trailers (RFC 9110 §10.1.4), the only use of `TE` that HTTP/2 knows.
pub fn takes_trailers(head: &Parts, seen: Seen) -> bool {
    seen.has(Field::Te) && lists(&head.headers, &TE, "trailers")
}

/// Makes the head of the request to the endpoint out of the client's.
pub fn prepare_request(
    exchange: &Exchange,
    head: &mut Parts,
    seen: Seen,
    upgrade: Option<HeaderValue>,
) {
    strip_hop_by_hop(&mut head.headers, seen);
    if seen.has(Field::Expect) {
        head.headers.remove(EXPECT);
    }
    set_host_and_target(head, seen);
    if head.version == Version::HTTP_2 {
        join_cookies(&mut head.headers);
    }
    head.version = Version::HTTP_11;
    forwarded::set(exchange, &mut head.headers, seen);
    set_request_id(exchange, &mut head.headers, seen);
    trace::clear(exchange, &mut head.headers, seen);
    identity::set(exchange, &mut head.headers);
    if let Some(protocol) = upgrade {
        head.headers
            .insert(CONNECTION, HeaderValue::from_static("upgrade"));
        head.headers.insert(UPGRADE, protocol);
    }
}

/// Makes the head of the answer to the client out of the endpoint's.
///
/// # Errors
///
/// [`ProxyError::UpstreamFraming`]: hyper reads it in one way, and the client could read it in another.
pub fn prepare_response(head: &mut http::response::Parts, seen: Seen) -> Result<(), ProxyError> {
    if seen.has(Field::ContentLength) {
        let mut lengths = head.headers.get_all(CONTENT_LENGTH).iter();
        let one = lengths.next().filter(|_| lengths.next().is_none());
        let number = one.is_some_and(|it| it.as_bytes().iter().all(u8::is_ascii_digit));
        if !number || seen.has(Field::TransferEncoding) {
            return Err(ProxyError::UpstreamFraming);
        }
    }
    strip_hop_by_hop(&mut head.headers, seen);
    head.version = Version::HTTP_11;
    Ok(())
}

/// Removes what concerns one connection only.
fn strip_hop_by_hop(headers: &mut HeaderMap, seen: Seen) {
    if seen.has(Field::Connection) {
        if seen.any_repeated() {
            remove_listed(headers);
        }
        match headers.remove(CONNECTION) {
            Some(value) if !is_about_persistence(&value) => remove_all(headers, &named_in(&value)),
            _ => {}
        }
    }
    for (field, name) in [
        (Field::KeepAlive, KEEP_ALIVE),
        (Field::ProxyConnection, PROXY_CONNECTION),
        (Field::Te, TE),
        (Field::TransferEncoding, TRANSFER_ENCODING),
        (Field::Upgrade, UPGRADE),
    ] {
        if seen.has(field) {
            headers.remove(name);
        }
    }
}

/// `close` and `keep-alive` name no other field.
fn is_about_persistence(value: &HeaderValue) -> bool {
    [&b"keep-alive"[..], b"close"]
        .iter()
        .any(|word| value.as_bytes().eq_ignore_ascii_case(word))
}

/// Removes the fields that `Connection`, which occurs several times, names.
fn remove_listed(headers: &mut HeaderMap) {
    let listed: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(named_in)
        .collect();
    remove_all(headers, &listed);
}

/// The fields that a value of `Connection` names, but for those whose loss would change what the message is.
fn named_in(value: &HeaderValue) -> Vec<HeaderName> {
    let names = value.to_str().unwrap_or_default().split(',');
    names
        .filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok())
        .filter(|name| ![HOST, CONTENT_LENGTH, CONNECTION].contains(name))
        .collect()
}

fn remove_all(headers: &mut HeaderMap, names: &[HeaderName]) {
    for name in names {
        headers.remove(name);
    }
}

fn lists(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    listed(headers, name).any(|item| item.eq_ignore_ascii_case(token))
}

/// The items of a field that is a list.
pub fn listed<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h str> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
}

/// `Host` from the target where that names one, and the target in origin form.
fn set_host_and_target(head: &mut Parts, seen: Seen) {
    if let Some(authority) = head.uri.authority() {
        if let Ok(host) = HeaderValue::from_str(authority.as_str()) {
            head.headers.insert(HOST, host);
        }
        head.uri = match head.uri.path_and_query() {
            Some(path) => Uri::from(path.clone()),
            None => Uri::from_static("/"),
        };
    } else if !seen.has(Field::Host) {
        // HTTP/1.0 may come without; HTTP/1.1 allows it to be empty, not to be absent (RFC 9112 §3.2).
        head.headers.insert(HOST, HeaderValue::from_static(""));
    }
}

/// HTTP/2 may cut a cookie into crumbs, which HTTP/1 does not know (RFC 9113 §8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(COOKIE).iter().nth(1).is_none() {
        return;
    }
    let crumbs: Vec<&[u8]> = headers
        .get_all(COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if let Ok(cookie) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        headers.insert(COOKIE, cookie);
    }
}

fn set_request_id(exchange: &Exchange, headers: &mut HeaderMap, seen: Seen) {
    let sent = if seen.has(Field::RequestId) {
        headers.get(X_REQUEST_ID)
    } else {
        None
    };
    let kept = sent.filter(|id| request_id::is_well_formed(id)).cloned();
    let makes = exchange.snapshot.forwarding.makes_ids;
    match kept.or_else(|| makes.then(|| request_id::generate(exchange.started))) {
        Some(id) => {
            // Also when it is kept: there may have been several, and one goes on.
            headers.insert(X_REQUEST_ID, id.clone());
            exchange.note(|record| record.request_id = Some(id));
        }
        None if seen.has(Field::RequestId) => drop(headers.remove(X_REQUEST_ID)),
        None => {}
    }
}
