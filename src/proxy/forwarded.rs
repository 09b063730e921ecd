//! Who the client is, as the app and the proxies behind us read it: `X-Forwarded-*` and `Forwarded` (RFC 7239).
//!
//! Path: [`super::headers`] prepares a request's head. What an untrusted peer claims is dropped; what a trusted proxy
//! says is believed and added to.

use std::net::IpAddr;

use http::HeaderValue;
use http::header::{FORWARDED, HOST, HeaderMap, HeaderName};

use super::exchange::Exchange;
use super::seen::{Field, Seen};
use crate::snapshot::forwarding::Forwarding;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Most addresses of an `X-Forwarded-For` that are looked at: more proxies than this do not stand in a row.
const MAX_HOPS: usize = 32;

/// Writes who the client is, and notes it.
pub fn set(exchange: &Exchange, headers: &mut HeaderMap, seen: Seen) {
    let forwarding = &exchange.snapshot.forwarding;
    let peer = exchange.connection.peer.ip();
    let claimed = seen.has(Field::Claim);
    let believed = claimed && forwarding.trusts(peer);
    if claimed {
        if believed {
            if let Some(client) = named_client(headers, forwarding) {
                exchange.note(|record| record.client = client);
            }
        } else {
            drop_claims(headers);
        }
    }
    let scheme = exchange.listener.scheme().as_str();
    if forwarding.x_forwarded {
        let peer = &exchange.connection.peer_header;
        set_x_forwarded(headers, peer, scheme, believed);
    }
    if forwarding.forwarded {
        append_forwarded(headers, peer, scheme);
    }
}

fn is_claim(name: &HeaderName) -> bool {
    name == FORWARDED || name.as_str().starts_with("x-forwarded-")
}

fn drop_claims(headers: &mut HeaderMap) {
    let claims: Vec<HeaderName> = headers
        .keys()
        .filter(|name| is_claim(name))
        .cloned()
        .collect();
    for name in claims {
        headers.remove(name);
    }
}

/// The client that trusted proxies name: the rightmost address that is not itself one of them.
fn named_client(headers: &HeaderMap, forwarding: &Forwarding) -> Option<IpAddr> {
    let values = headers
        .get_all(X_FORWARDED_FOR)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let addresses: Vec<&str> = values.flat_map(|value| value.split(',')).collect();
    let mut client = None;
    for address in addresses.iter().rev().take(MAX_HOPS) {
        let Ok(address) = address.trim().parse::<IpAddr>() else {
            break;
        };
        client = Some(address);
        if !forwarding.trusts(address) {
            break;
        }
    }
    client
}

/// `believed`: there may be such fields already, to be added to.
fn set_x_forwarded(
    headers: &mut HeaderMap,
    peer: &HeaderValue,
    scheme: &'static str,
    believed: bool,
) {
    let chain = if believed {
        joined(headers, &X_FORWARDED_FOR, peer)
    } else {
        peer.clone()
    };
    headers.insert(X_FORWARDED_FOR, chain);
    if !believed || !headers.contains_key(X_FORWARDED_PROTO) {
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(scheme));
    }
    if (!believed || !headers.contains_key(X_FORWARDED_HOST))
        && let Some(host) = headers.get(HOST).cloned()
    {
        headers.insert(X_FORWARDED_HOST, host);
    }
}

fn append_forwarded(headers: &mut HeaderMap, peer: IpAddr, scheme: &str) {
    let host = headers
        .get(HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or_default();
    let node = match peer.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("\"[{address}]\""),
    };
    let host = host.replace(['"', '\\'], "");
    let element = format!("for={node};host=\"{host}\";proto={scheme}");
    if let Ok(element) = HeaderValue::from_str(&element) {
        let chain = joined(headers, &FORWARDED, &element);
        headers.insert(FORWARDED, chain);
    }
}

/// The values of `name` and `last`, as one list.
fn joined(headers: &HeaderMap, name: &HeaderName, last: &HeaderValue) -> HeaderValue {
    if !headers.contains_key(name) {
        return last.clone();
    }
    let mut list = Vec::new();
    for value in headers.get_all(name) {
        list.extend_from_slice(value.as_bytes());
        list.extend_from_slice(b", ");
    }
    list.extend_from_slice(last.as_bytes());
    HeaderValue::from_bytes(&list).unwrap_or_else(|_| last.clone())
}
