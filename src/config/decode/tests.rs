//! What right files mean; wrong ones stand in `tests/golden/config`.

use std::time::Duration;

use super::super::model::*;
use super::super::source::Source;

fn read(text: &str) -> Config {
    let source = Source::inline("test.yaml", text);
    let (config, out) =
        super::super::read(&source, &|name| (name == "PORT").then(|| "3000".to_owned()));
    let told = super::super::render::human(&source, &out, super::super::render::Colour::Never);
    assert!(out.is_empty(), "{told}");
    config
}

#[test]
fn the_smallest_file_has_the_defaults() {
    let config = read(
        "listeners:\n  outbound: { address: 0.0.0.0:8080, forward: app }\nupstreams:\n  app: { endpoints: [\"localhost:${PORT}\"] }",
    );
    let listener = &config.listeners[0];
    assert_eq!(listener.direction, Direction::Outbound);
    assert_eq!(listener.limits, ListenerLimits::default());
    assert_eq!(listener.forward.as_ref().unwrap().value, "app");
    assert_eq!(
        config.upstreams[0].endpoints[0].value.address,
        "127.0.0.1:3000".parse().unwrap()
    );
    assert_eq!(config.admin, Admin::default());
    assert_eq!(config.trusted_proxies, super::loopback());
    assert_eq!(config.workers, None);
}

#[test]
fn short_and_long_forms_mean_the_same() {
    let route = |text: &str| {
        read(&format!("routes:\n  - {{ name: a, forward: b, {text} }}"))
            .routes
            .remove(0)
    };
    assert_eq!(
        route("match: { path: /x/ }"),
        route("match: [{ path: { prefix: /x } }]")
    );
    assert_eq!(
        route("match: { methods: [get, GET], host: A.b }"),
        route("match: { methods: [GET], host: a.b }")
    );
    assert_eq!(route("timeout: off").timeout, None);
    assert_eq!(
        route("timeout: \"1m30s\"").timeout,
        Some(Duration::from_secs(90))
    );
    let upstream = |text: &str| read(&format!("upstreams:\n  a: {{ endpoints: [{text}] }}"));
    assert_eq!(
        upstream("127.0.0.1:1"),
        upstream("{ address: 127.0.0.1:1, weight: \"1\" }")
    );
}

#[test]
fn switches_and_lists() {
    let config = read(
        "admin: { probes: off, control: off }\naccess_log: { file: a.log }\ntrusted_proxies: [10.1.2.3/8, ::1]\nworkers: 2\ndrain: { timeout: 0s, delay: 5s }\nforwarded_headers: none\nheader_case: preserve",
    );
    assert_eq!(
        config.admin,
        Admin {
            probes: None,
            control: None
        }
    );
    assert!(matches!(&config.access_log.output, LogOutput::File(path) if path.value == "a.log"));
    assert_eq!(
        config.trusted_proxies,
        ["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()]
    );
    assert_eq!(
        config.drain,
        Drain {
            timeout: Duration::ZERO,
            delay: Duration::from_secs(5)
        }
    );
    assert_eq!(read("access_log: off").access_log.output, LogOutput::Off);
}
