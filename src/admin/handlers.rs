//! The answers of the admin addresses.
//!
//! Path: [`super::server`] calls [`answer`]. Reading is GET, changing is POST; a page in a browser cannot do either on
//! its user's behalf, for requests that carry an `Origin` are refused.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, ALLOW, CONTENT_TYPE, ORIGIN};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::breakers::{self, Forced};
use super::events;
use super::server::Role;
use super::status::{Outcome, Status};
use super::views;
use crate::telemetry::openmetrics;

/// What an admin address answers with.
pub type AdminBody = BoxBody<Bytes, Infallible>;

type Answer = Response<AdminBody>;

/// Answers one request.
pub async fn answer<B>(role: Role, status: &Status, request: &Request<B>) -> Answer {
    let path = request.uri().path();
    let reading = matches!(*request.method(), Method::GET | Method::HEAD);
    match (role, path) {
        (_, "/live") if reading => live(status),
        (_, "/ready") if reading => ready(status),
        (_, "/metrics") if reading => metrics(status, request),
        (Role::Control, _) if request.headers().contains_key(ORIGIN) => text(
            StatusCode::FORBIDDEN,
            "requests from web pages are refused here\n",
        ),
        (Role::Control, "/") if reading => text(StatusCode::OK, views::overview(status)),
        (Role::Control, "/config/status") if reading => {
            json_answer(StatusCode::OK, &status.config())
        }
        (Role::Control, "/upstreams") if reading => upstreams(status, request),
        (Role::Control, "/reload") if request.method() == Method::POST => reload(status).await,
        (Role::Control, "/reload") => not_allowed("POST"),
        (Role::Control, "/events") if reading => journal(status, request),
        (Role::Control, _) if breaker_of(path).is_some() => {
            let name = breaker_of(path).unwrap_or_default();
            match *request.method() {
                Method::POST => force_breaker(status, name, request),
                _ => not_allowed("POST"),
            }
        }
        (_, "/live" | "/ready" | "/metrics")
        | (Role::Control, "/" | "/config/status" | "/upstreams" | "/events") => {
            not_allowed("GET, HEAD")
        }
        (Role::Probes, _) => text(
            StatusCode::NOT_FOUND,
            "here are /live, /ready and /metrics\n",
        ),
        (Role::Control, _) => text(StatusCode::NOT_FOUND, views::MAP),
    }
}

fn live(status: &Status) -> Answer {
    if status.is_live() {
        text(StatusCode::OK, "OK\n")
    } else {
        text(
            StatusCode::SERVICE_UNAVAILABLE,
            "a worker makes no progress\n",
        )
    }
}

fn ready(status: &Status) -> Answer {
    let (ready, body) = status.readiness();
    json_answer(
        if ready {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        },
        &body,
    )
}

fn metrics<B>(status: &Status, request: &Request<B>) -> Answer {
    observe(status);
    let accepted = request.headers().get_all(ACCEPT).iter();
    let mut accepted = accepted.filter_map(|value| value.to_str().ok());
    if accepted.any(|value| value.contains("application/openmetrics-text")) {
        let body = status.metrics.encode_openmetrics();
        return typed(StatusCode::OK, openmetrics::CONTENT_TYPE, body);
    }
    match status.metrics.encode() {
        Ok(body) => typed(
            StatusCode::OK,
            "text/plain; version=0.0.4; charset=utf-8",
            body,
        ),
        Err(error) => text(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("the metrics cannot be written: {error}\n"),
        ),
    }
}

/// Sets the metrics that only show what is.
fn observe(status: &Status) {
    let snapshot = status.store.load();
    snapshot.limits.observe();
    for upstream in &snapshot.upstreams {
        // What no request has noticed is set when somebody looks.
        upstream.members.refresh_if_due(Instant::now().into_std());
        if let Some(budget) = &upstream.retry_budget {
            let left = budget.balance(Instant::now().into_std());
            (upstream.metrics.budget).set(i64::try_from(left).unwrap_or(i64::MAX));
        }
        upstream.breakers.iter().for_each(|it| it.whole.show());
        for member in upstream.endpoints().members() {
            member.endpoint.pool.count_idle();
            member.endpoint.observe_streams();
            member.breaker.iter().for_each(|it| it.show());
        }
    }
}

fn upstreams<B>(status: &Status, request: &Request<B>) -> Answer {
    let wants_json = request
        .headers()
        .get(ACCEPT)
        .is_some_and(|accept| accept.as_bytes().starts_with(b"application/json"));
    let snapshot = status.store.load();
    if wants_json {
        json_answer(StatusCode::OK, &views::upstreams_json(&snapshot))
    } else {
        text(StatusCode::OK, views::upstreams_text(&snapshot))
    }
}

/// `/upstreams/NAME/breaker` → `NAME`.
fn breaker_of(path: &str) -> Option<&str> {
    path.strip_prefix("/upstreams/")?.strip_suffix("/breaker")
}

fn force_breaker<B>(status: &Status, name: &str, request: &Request<B>) -> Answer {
    let query = request.uri().query().unwrap_or_default();
    match breakers::force(&status.store.load(), name, query) {
        Forced::Done(now) => json_answer(StatusCode::OK, &now),
        Forced::Unknown(why) => text(StatusCode::NOT_FOUND, why + "\n"),
        Forced::NoBreaker(why) => text(StatusCode::CONFLICT, why + "\n"),
        Forced::BadQuery(why) => text(StatusCode::BAD_REQUEST, why + "\n"),
    }
}

fn journal<B>(status: &Status, request: &Request<B>) -> Answer {
    const LINES: &str = "application/x-ndjson";
    let Some(asked) = events::parse(request.uri().query().unwrap_or_default()) else {
        let usage = "write /events?since=SEQ&follow=1, or less of it\n";
        return text(StatusCode::BAD_REQUEST, usage);
    };
    if !asked.follow || request.method() == Method::HEAD {
        let lines = events::all(&status.journal, asked.since);
        return typed(StatusCode::OK, LINES, lines);
    }
    let Ok(permit) = Arc::clone(&status.followers).try_acquire_owned() else {
        let why = format!("{} are following already\n", events::FOLLOWERS);
        return text(StatusCode::SERVICE_UNAVAILABLE, why);
    };
    let stream = events::follow(Arc::clone(&status.journal), asked.since, permit);
    let mut answer = Response::new(BodyExt::boxed(StreamBody::new(stream)));
    let kind = HeaderValue::from_static(LINES);
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    answer
}

async fn reload(status: &Status) -> Answer {
    match status.request_reload().await {
        Some(Outcome::Applied {
            version,
            hash,
            changes,
            kept,
        }) => json_answer(
            StatusCode::OK,
            &json!({ "result": "applied", "version": version, "hash": *hash, "changes": changes, "kept": kept }),
        ),
        Some(Outcome::Unchanged) => json_answer(StatusCode::OK, &json!({ "result": "unchanged" })),
        Some(Outcome::Refused { mistakes }) => json_answer(
            StatusCode::UNPROCESSABLE_ENTITY,
            &json!({ "result": "refused", "mistakes": mistakes }),
        ),
        None => text(StatusCode::SERVICE_UNAVAILABLE, "the process is ending\n"),
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    typed(status, "text/plain; charset=utf-8", body)
}

fn json_answer(status: StatusCode, body: &Value) -> Answer {
    typed(status, "application/json", format!("{body}\n"))
}

fn not_allowed(allowed: &'static str) -> Answer {
    let mut answer = text(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("allowed here: {allowed}\n"),
    );
    answer
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static(allowed));
    answer
}

fn typed(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(BodyExt::boxed(Full::new(body.into())));
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}
