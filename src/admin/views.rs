//! What the process is doing, for people and for programs.
//!
//! Path: [`super::handlers`].

use std::fmt::Write;

use serde_json::{Value, json};

use super::breakers;
use super::status::Status;
use crate::snapshot::Snapshot;
use crate::upstream::balance::Balancer;

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
    for upstream in &snapshot.upstreams {
        let in_flight: usize = upstream
            .endpoints
            .iter()
            .map(|endpoint| endpoint.in_flight())
            .sum();
        let _ = writeln!(
            page,
            "{:<16} {:<18} {in_flight} in flight{}",
            upstream.name,
            balance(&upstream.balancer),
            breakers::upstream_words(upstream)
        );
        for endpoint in &upstream.endpoints {
            let _ = writeln!(
                page,
                "  {:<24} {:>5} in flight {:>5} idle{}",
                endpoint.label,
                endpoint.in_flight(),
                endpoint.pool.count_idle(),
                breakers::endpoint_words(endpoint)
            );
        }
    }
    page
}

/// `/upstreams` for programs.
pub fn upstreams_json(snapshot: &Snapshot) -> Value {
    let upstreams = snapshot.upstreams.iter().map(|upstream| {
        let endpoints: Vec<Value> = upstream
            .endpoints
            .iter()
            .map(|endpoint| {
                json!({
                    "address": *endpoint.label,
                    "in_flight": endpoint.in_flight(),
                    "idle": endpoint.pool.count_idle(),
                    "breaker": breakers::status_json(endpoint.breaker.as_deref()),
                })
            })
            .collect();
        let whole = upstream.breakers.as_ref().map(|breakers| &breakers.whole);
        json!({
            "name": *upstream.name,
            "balance": balance(&upstream.balancer),
            "breaker": breakers::status_json(whole),
            "endpoints": endpoints,
        })
    });
    Value::Array(upstreams.collect())
}

fn balance(balancer: &Balancer) -> &'static str {
    match balancer {
        Balancer::RoundRobin(_) => "round_robin",
        Balancer::LeastConnections(_) => "least_connections",
    }
}
