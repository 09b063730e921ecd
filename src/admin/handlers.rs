//! The answers of the admin addresses.
//!
//! Path: [`super::server`] calls [`answer`]. Reading is GET, changing is POST; a page in a browser cannot do either on
//! its user's behalf, for requests that carry an `Origin` are refused.

use bytes::Bytes;
use http::header::{ACCEPT, ALLOW, CONTENT_TYPE, ORIGIN};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::server::Role;
use super::status::{Outcome, Status};
use super::views;

type Answer = Response<Full<Bytes>>;

/// Answers one request.
pub async fn answer<B>(role: Role, status: &Status, request: &Request<B>) -> Answer {
    let path = request.uri().path();
    let reading = matches!(*request.method(), Method::GET | Method::HEAD);
    match (role, path) {
        (_, "/live") if reading => live(status),
        (_, "/ready") if reading => ready(status),
        (_, "/metrics") if reading => metrics(status),
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
        (_, "/live" | "/ready" | "/metrics")
        | (Role::Control, "/" | "/config/status" | "/upstreams") => not_allowed("GET, HEAD"),
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

fn metrics(status: &Status) -> Answer {
    let snapshot = status.store.load();
    snapshot.limits.observe();
    for upstream in &snapshot.upstreams {
        // What no request has noticed is set when somebody looks.
        upstream.members.refresh_if_due(Instant::now().into_std());
        for endpoint in upstream.endpoints().iter() {
            endpoint.pool.count_idle();
        }
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
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}
