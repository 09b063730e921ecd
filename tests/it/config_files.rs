//! The files in `config/` are valid, and `reference.yaml` is complete and true.

use std::path::Path;

use outrigger::cli::check::{self, Format};
use outrigger::config;
use outrigger::config::model::{CircuitBreaker, Tracing};
use outrigger::config::render::Colour;

use crate::config_mistakes::{checked, env, source, yaml_files};

#[test]
fn every_shipped_file_is_valid() {
    for path in yaml_files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("config")) {
        let (text, valid) = check::source_text(&source(&path), &env, Format::Human(Colour::Never));
        assert!(valid && text.lines().count() == 1, "{text}");
    }
}

#[test]
fn the_reference_shows_every_key() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/reference.yaml");
    let text = std::fs::read_to_string(path).unwrap();
    for (place, keys) in config::known_keys() {
        for key in *keys {
            let shown = text.lines().any(|line| {
                let key = format!("{key}:");
                // What names files that have to exist is shown as a comment.
                let line = line.trim_start().trim_start_matches("# ");
                line.trim_start_matches("- ").starts_with(&key)
                    || line.contains(&format!("{{ {key}"))
            });
            assert!(
                shown,
                "`{key}` of `{place}` is missing in config/reference.yaml"
            );
        }
    }
}

/// A file with everything about health switched on and nothing said about it, and one without.
fn checked_pair() -> (config::model::Config, config::model::Config) {
    let text = |more: &str| {
        format!(
            "listeners: {{ inbound: {{ address: 0.0.0.0:8080, forward: app }} }}\n\
             upstreams: {{ app: {{ endpoints: [127.0.0.1:3000, 127.0.0.1:3001]{more} }} }}\n"
        )
    };
    let on = ", health_check: { http: /healthz, interval_down: 1s }, outlier: { success_rate: {} }";
    (checked(&text(on)).0, checked(&text("")).0)
}

#[test]
fn defaults_in_the_reference_are_the_real_ones() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/reference.yaml");
    let (shown, _) = checked(&std::fs::read_to_string(path).unwrap());
    let (plain, _) = checked(
        "listeners: { inbound: { address: 0.0.0.0:8080, forward: app } }\n\
         routes: [{ name: a, forward: pay }]\n\
         upstreams: { app: { endpoints: [127.0.0.1:3000] }, pay: { endpoints: [127.0.0.1:3001] } }\n",
    );
    assert_eq!(shown.listeners, plain.listeners);
    assert_eq!(shown.routes[0].timeout, plain.routes[0].timeout);
    let (shown_up, plain_up) = (&shown.upstreams[1], &plain.upstreams[1]);
    assert_eq!(
        (shown_up.balance, shown_up.timeouts, shown_up.pool),
        (plain_up.balance, plain_up.timeouts, plain_up.pool)
    );
    assert_eq!(shown_up.panic_threshold, plain_up.panic_threshold);
    let (sample, plainest) = checked_pair();
    assert_eq!(
        shown.upstreams[2].health_check,
        sample.upstreams[0].health_check
    );
    assert_eq!(shown.upstreams[2].outlier, sample.upstreams[0].outlier);
    assert_eq!(shown.dns.family, plainest.dns.family);
    assert_eq!(shown.dns.timeout, plainest.dns.timeout);
    assert_eq!(
        (shown_up.limits, shown.memory),
        (plain_up.limits, plain.memory)
    );
    let breaker = shown_up.circuit_breaker.as_ref();
    assert_eq!(breaker.unwrap().value, CircuitBreaker::default());
    assert_eq!(shown_up.failure, plain_up.failure);
    let shown_log = config::model::AccessLog {
        // Shown, though there is none unless somebody writes it.
        filter: None,
        ..shown.access_log.clone()
    };
    assert_eq!(
        (&shown.admin, &shown_log, shown.drain),
        (&plain.admin, &plain.access_log, plain.drain)
    );
    let tracing = shown.tracing.clone().unwrap();
    assert_eq!(
        tracing.otlp.unwrap().value.to_string(),
        "http://127.0.0.1:4318/v1/traces"
    );
    let plain_tracing = Tracing::default();
    assert_eq!(
        (tracing.sample, tracing.propagation, tracing.service),
        (
            plain_tracing.sample,
            plain_tracing.propagation,
            plain_tracing.service
        )
    );
    assert_eq!(shown.server_timing, plain.server_timing);
    assert_eq!(shown.trusted_proxies, plain.trusted_proxies);
    assert_eq!(
        (shown.forwarded_headers, shown.request_id, shown.header_case),
        (plain.forwarded_headers, plain.request_id, plain.header_case)
    );
}

#[test]
fn defaults_of_limits_in_the_reference_are_the_real_ones() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/reference.yaml");
    let (shown, _) = checked(&std::fs::read_to_string(path).unwrap());
    let (plain, _) = checked(
        "routes: [{ name: a, forward: app, rate_limit: { requests: 100 } }]\n\
         upstreams: { app: { endpoints: [127.0.0.1:3000] } }\n",
    );
    let (shown, plain) = (&shown.routes[0], &plain.routes[0]);
    let (first, waiting, plain_rule) = (
        &shown.rate_limits[0],
        &shown.rate_limits[1],
        &plain.rate_limits[0],
    );
    let mut named = plain_rule.clone();
    named.name = first.name.clone();
    assert_eq!(first, &named);
    assert_eq!(
        (&waiting.max_wait, waiting.max_waiting),
        (&plain_rule.max_wait, plain_rule.max_waiting)
    );
    assert_eq!(shown.limits.pending_wait, plain.limits.pending_wait);
}
