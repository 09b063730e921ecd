//! What the process is doing, for people and for programs.
//!
//! Path: [`super::handlers`].

use std::fmt::Write;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::breakers;
use super::status::Status;
use crate::snapshot::Snapshot;
use crate::upstream::Upstream;

/// What there is on the control address.
pub const MAP: &str = "\
GET  /upstreams       endpoints, requests in flight, idle connections (JSON with `Accept: application/json`)
POST /upstreams/NAME/breaker?state=open|closed|auto   force a circuit breaker (&endpoint=ADDRESS: of one endpoint)
GET  /events          what changed, a JSON line each (?since=SEQ, ?follow=1)
GET  /config/status   which configuration is in force, and what became of the last reload
POST /reload          read the file again
GET  /live /ready /metrics
";

/// The page at `/`.
pub fn overview(status: &Status) -> String {
    let snapshot = status.store.load();
    let (ready, _) = status.readiness();
    let mut page = format!(
        "outrigger {}   configuration version {} ({})   {}\n\n",
        env!("CARGO_PKG_VERSION"),
        snapshot.version,
        snapshot.hash,
        if ready { "ready" } else { "not ready" }
    );
    for (listener, section) in snapshot.listeners.iter().zip(&snapshot.config.listeners) {
        let _ = writeln!(
            page,
            "{:<16} {:<9} {}   {} connections",
            listener.name,
            listener.direction.as_str(),
            section.address.value,
            listener.metrics.active.get()
        );
    }
    page.push('\n');
    page.push_str(&upstreams_text(&snapshot));
    page.push('\n');
    page.push_str(MAP);
    page
}

/// `/upstreams` for people.
pub fn upstreams_text(snapshot: &Snapshot) -> String {
    let mut page = String::new();
    let now = Instant::now().into_std();
    for upstream in &snapshot.upstreams {
        upstream.members.refresh_if_due(now);
        let set = upstream.endpoints();
        let in_flight: usize = set.iter().map(|endpoint| endpoint.in_flight()).sum();
        let crowd = set.crowd();
        let line = format!(
            "{:<16} {:<18} {} of {} healthy{}   {in_flight} in flight{}",
            upstream.name,
            upstream.members.balance().as_str(),
            crowd.in_service,
            crowd.all,
            if set.is_panicking() { ", all used" } else { "" },
            breakers::upstream_words(upstream)
        );
        let _ = writeln!(page, "{}", line.trim_end());
        for member in set.members() {
            let endpoint = &member.endpoint;
            let line = format!(
                "  {:<24} {:<9} {:>5} in flight {:>5} idle{}",
                endpoint.label,
                endpoint.describe(now),
                endpoint.in_flight(),
                endpoint.pool.count_idle(),
                breakers::endpoint_words(member)
            );
            let _ = writeln!(page, "{}", line.trim_end());
        }
        if let Some(trouble) = trouble(upstream) {
            let _ = writeln!(page, "  {trouble}");
        }
    }
    page
}

/// `/upstreams` for programs.
pub fn upstreams_json(snapshot: &Snapshot) -> Value {
    let now = Instant::now().into_std();
    let upstreams = snapshot.upstreams.iter().map(|upstream| {
        upstream.members.refresh_if_due(now);
        let set = upstream.endpoints();
        let endpoints: Vec<Value> = set
            .members()
            .iter()
            .map(|member| {
                let endpoint = &member.endpoint;
                json!({
                    "address": *endpoint.label,
                    "state": endpoint.describe(now),
                    "in_service": endpoint.is_in_service(now),
                    "last_error": endpoint.last_error().map(|last| last.text.to_string()),
                    "in_flight": endpoint.in_flight(),
                    "idle": endpoint.pool.count_idle(),
                    "breaker": breakers::status_json(member.breaker.as_deref()),
                })
            })
            .collect();
        let whole = upstream.breakers.as_ref().map(|breakers| &breakers.whole);
        json!({
            "name": *upstream.name,
            "balance": upstream.members.balance().as_str(),
            "panic": set.is_panicking(),
            "trouble": trouble(upstream),
            "breaker": breakers::status_json(whole),
            "endpoints": endpoints,
        })
    });
    Value::Array(upstreams.collect())
}

/// Why endpoints are missing.
fn trouble(upstream: &Upstream) -> Option<String> {
    upstream.discovery.as_ref()?.trouble()
}
