//! What a route wants done with a request: finding it, changing the request, or answering at once.
//!
//! Path: [`super::forward`] looks the route up with [`find`] and lets [`act`] do what it says. All of it is worked out
//! when the configuration is compiled; what a route does not ask for costs a comparison.

use std::sync::Arc;

use http::header::{HOST, HeaderName};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderValue, Response, Uri};

use super::body::ProxyBody;
use super::error::ProxyError;
use super::exchange::Exchange;
use super::{headers, respond};
use crate::route::header_rules::{Facts, Ready};
use crate::route::normalize::{Normalized, Sent, normalize};
use crate::route::redirect::{Origin, Redirect, Scheme};
use crate::route::rewrite::{Rewrite, with_query};
use crate::route::table::Asked;
use crate::route::{Action, Entry, Forward, Route};
use crate::snapshot::Listener;

const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// What comes next.
pub enum Step<'r> {
    /// This answer; no app is asked.
    Answer(Box<Response<ProxyBody>>),
    /// An attempt; then these changes of its answer.
    Forward(&'r Forward, Ready<'r>),
}

/// The path of a request as routes compare it; `None` when it came so.
///
/// # Errors
///
/// [`ProxyError::BadRequest`] when the listener refuses such paths.
pub fn normal_path(listener: &Listener, head: &Parts) -> Result<Option<Normalized>, ProxyError> {
    normalize(headers::path(head), listener.normalize).map_err(ProxyError::BadRequest)
}

/// The route for a request whose path in its normal form is `normal`.
pub fn find<'l>(
    listener: &'l Listener,
    head: &Parts,
    normal: Option<&Normalized>,
) -> Option<&'l Entry> {
    listener.routes.find(&Asked {
        host: headers::host(head),
        path: normal.map_or_else(|| headers::path(head), |normal| &normal.path),
        query: head.uri.query(),
        method: &head.method,
        headers: &head.headers,
    })
}

/// Does what the route of `entry` says with a request that is ready for the app.
///
/// # Errors
///
/// [`ProxyError::BadRequest`] when the request lacks what the route builds on.
pub fn act<'r>(
    exchange: &Exchange,
    entry: &'r Entry,
    head: &mut Parts,
    normal: Option<Normalized>,
) -> Result<Step<'r>, ProxyError> {
    let route = &*entry.route;
    // Before anything is changed: variables are about the request as it came.
    let answer_rules = ready(exchange, route, head, &route.response_headers);
    let mut response = match &route.action {
        Action::Forward(forward) => {
            let rules = ready(exchange, route, head, &forward.request_headers);
            rewrite(forward.rewrite.as_ref(), head, normal, entry.prefix)?;
            rules.apply(&mut head.headers);
            return Ok(Step::Forward(forward, answer_rules));
        }
        Action::Redirect(redirect) => {
            let location = location(exchange, redirect, head, (normal, entry.prefix))?;
            respond::redirect(location, redirect.status)
        }
        Action::Respond(reply) => {
            let rules = ready(exchange, route, head, &reply.headers);
            let mut response = respond::reply(reply, &head.method);
            rules.apply(response.headers_mut());
            response
        }
    };
    answer_rules.apply(response.headers_mut());
    Ok(Step::Answer(Box::new(response)))
}

fn ready<'r>(
    exchange: &Exchange,
    route: &Route,
    head: &Parts,
    rules: &'r crate::route::header_rules::HeaderRules,
) -> Ready<'r> {
    if !rules.has_variables() {
        return rules.ready_as_they_are();
    }
    let (client, id, upstream, uri) = exchange.note(|record| {
        let upstream = record.upstream.as_ref().map(Arc::clone);
        let id = record.request_id.clone();
        (record.client, id, upstream, record.uri.clone())
    });
    rules.ready(&Facts {
        client,
        request_id: id.as_ref().map_or(&b""[..], HeaderValue::as_bytes),
        route: &route.name,
        listener: &exchange.listener.name,
        upstream: upstream.as_deref().unwrap_or_default(),
        host: head
            .headers
            .get(HOST)
            .map_or(&b""[..], HeaderValue::as_bytes),
        path: uri.path(),
        method: head.method.as_str(),
    })
}

/// Puts the path that the app is to see, and its host, into `head`.
fn rewrite(
    rewrite: Option<&Rewrite>,
    head: &mut Parts,
    normal: Option<Normalized>,
    prefix: usize,
) -> Result<(), ProxyError> {
    let new = match rewrite.and_then(|rewrite| rewrite.path.as_ref()) {
        // `OPTIONS *` has no path that could be another.
        Some(_) if head.uri.path() == "*" => None,
        Some(path) => {
            let old = normal
                .as_ref()
                .map_or(head.uri.path(), |normal| &normal.path);
            Some(path.apply(old, prefix))
        }
        None => normal
            .filter(|normal| normal.sent == Sent::Normal)
            .map(|normal| normal.path),
    };
    if let Some(new) = new {
        let target = with_query(&new, head.uri.query());
        let target = target.ok_or(ProxyError::BadRequest(
            "the path is too long once it is rewritten",
        ))?;
        head.uri = Uri::from(target);
    }
    if let Some(host) = rewrite.and_then(|rewrite| rewrite.host.as_ref()) {
        head.headers.insert(HOST, host.clone());
    }
    Ok(())
}

fn location(
    exchange: &Exchange,
    redirect: &Redirect,
    head: &Parts,
    (normal, prefix): (Option<Normalized>, usize),
) -> Result<HeaderValue, ProxyError> {
    let host = head.headers.get(HOST).and_then(|host| host.to_str().ok());
    let host = host.unwrap_or_default();
    // It becomes part of a URL, so it must not bring a path or a user with it.
    if redirect.host.is_none() && (host.contains('@') || host.parse::<Authority>().is_err()) {
        return Err(ProxyError::BadRequest("`Host` is not a host name"));
    }
    // A trusted proxy in front may have taken off TLS: then the port is its own, not this listener's.
    let proto = head.headers.get(X_FORWARDED_PROTO);
    let own = exchange.listener.scheme();
    let named = match proto {
        Some(proto) if proto == "https" => Scheme::Https,
        Some(proto) if proto == "http" => Scheme::Http,
        _ => own,
    };
    let (scheme, port) = if named == own {
        (own, exchange.listener.port)
    } else {
        (named, named.port())
    };
    let location = redirect.location(&Origin {
        scheme,
        host,
        port,
        path: normal
            .as_ref()
            .map_or_else(|| headers::path(head), |normal| &normal.path),
        prefix,
        query: head.uri.query(),
    });
    let location = location.and_then(|location| HeaderValue::from_bytes(location.as_bytes()).ok());
    location.ok_or(ProxyError::BadRequest(
        "the request names no host to be redirected to",
    ))
}
