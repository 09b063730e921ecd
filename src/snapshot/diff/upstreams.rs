//! `upstreams` and `dns` as lines.

use super::circuit_breaker::{write_breaker, write_failure};
use super::{Lines, limits, list, time, tls, word};
use crate::config::model::{
    Dns, HealthCheck, HealthQuestion, Outlier, Pool, Upstream, UpstreamTimeouts,
};

pub(super) fn write_upstream(lines: &mut Lines, upstream: &Upstream) {
    let mut line = |key: &str, value: String| {
        lines.insert(format!("upstreams.{}.{key}", upstream.name.value), value);
    };
    for endpoint in &upstream.endpoints {
        line(
            &format!("endpoints.{}", endpoint.value.address),
            format!("weight {}", endpoint.value.weight),
        );
    }
    if let Some(discovery) = &upstream.discovery {
        line("discovery.file", discovery.file.value.clone());
    }
    line("balance", word(&upstream.balance));
    write_timeouts(&mut line, &upstream.timeouts);
    if let Some(tls) = &upstream.tls {
        tls::write_upstream_tls(tls, &mut line);
    }
    write_pool(&mut line, &upstream.pool);
    write_http2(upstream, &mut line);
    let budget = upstream.retry_budget.map(|budget| {
        let window = time(budget.window);
        format!(
            "{}% over {window}, at least {}/s",
            budget.percent, budget.min_per_second
        )
    });
    line("retry_budget", budget.unwrap_or("off".into()));
    limits::write_upstream_limits(&upstream.limits, &mut line);
    let off = || "off".to_owned();
    line(
        "panic_threshold",
        upstream.panic_threshold.map_or_else(off, share),
    );
    let check = upstream.health_check.as_ref();
    line("health_check", check.map_or_else(off, asks));
    if let Some(check) = check {
        line("health_check.interval", time(check.interval.value));
        line(
            "health_check.interval_down",
            check.interval_down.map_or("default".into(), time),
        );
        line("health_check.timeout", time(check.timeout.value));
        line("health_check.rise", check.rise.to_string());
        line("health_check.fall", check.fall.to_string());
        line("health_check.readiness", check.readiness.to_string());
    }
    let outlier = upstream.outlier.as_ref();
    line("outlier", outlier.map_or_else(off, |_| "on".into()));
    if let Some(outlier) = outlier {
        write_outlier(&mut line, outlier);
    }
    if let Some(breaker) = &upstream.circuit_breaker {
        write_breaker(&mut line, &breaker.value);
    }
    write_failure(&mut line, &upstream.failure);
}

fn write_pool(line: &mut impl FnMut(&str, String), pool: &Pool) {
    line("pool.max_idle", pool.max_idle.to_string());
    line("pool.idle_timeout", time(pool.idle_timeout));
    line("pool.max_age", pool.max_age.map_or("off".into(), time));
}

fn write_http2(upstream: &Upstream, line: &mut impl FnMut(&str, String)) {
    let http2 = &upstream.http2;
    line("protocol", word(&upstream.protocol));
    let header = upstream.proxy_protocol.as_ref();
    line(
        "proxy_protocol",
        header.map_or("off".into(), |header| word(&header.value)),
    );
    line("http2.max_streams", http2.max_streams.to_string());
    line("http2.window", http2.window.to_string());
    let interval = http2.keepalive_interval.map_or("off".into(), time);
    line("http2.keepalive_interval", interval);
    line("http2.keepalive_timeout", time(http2.keepalive_timeout));
}

fn write_outlier(line: &mut impl FnMut(&str, String), outlier: &Outlier) {
    let rows = outlier.consecutive_failures;
    line(
        "outlier.consecutive_failures",
        rows.map_or("off".into(), |rows| rows.to_string()),
    );
    let rate = outlier.success_rate.map(|rate| {
        let window = time(rate.window);
        format!(
            "below {}% of at least {} in {window}",
            rate.below, rate.min_requests
        )
    });
    line("outlier.success_rate", rate.unwrap_or("off".into()));
    line("outlier.eject_for", time(outlier.eject_for.value));
    line("outlier.max_eject_for", time(outlier.max_eject_for.value));
    line("outlier.max_ejected", share(outlier.max_ejected));
}

pub(super) fn write_dns(lines: &mut Lines, dns: &Dns) {
    let mut line = |key: &str, value: String| drop(lines.insert(format!("dns.{key}"), value));
    line("servers", list(&dns.servers));
    line("family", word(&dns.family));
    line("timeout", time(dns.timeout));
}

fn write_timeouts(line: &mut impl FnMut(&str, String), timeouts: &UpstreamTimeouts) {
    line("timeouts.connect", time(timeouts.connect));
    line("timeouts.tls", time(timeouts.tls));
    line("timeouts.idle", time(timeouts.idle));
    let upgraded = timeouts.upgraded_idle;
    line(
        "timeouts.upgraded_idle",
        upgraded.map_or("off".into(), time),
    );
}

fn share(share: std::num::NonZeroU8) -> String {
    format!("{share}%")
}

fn asks(check: &HealthCheck) -> String {
    let of_host = |host: &Option<String>| {
        let host = host.as_ref().map(|host| format!(" host {host}"));
        host.unwrap_or_default()
    };
    let (path, host, expect) = match &check.question {
        HealthQuestion::Tcp => return "tcp".into(),
        HealthQuestion::Grpc { service, host } => {
            return format!("grpc service `{service}`{}", of_host(host));
        }
        HealthQuestion::Http { path, host, expect } => (path, host, expect),
    };
    let expect = expect
        .iter()
        .map(|range| match (range.start(), range.end()) {
            (first, last) if first == last => first.to_string(),
            (first, last) => format!("{first}-{last}"),
        });
    format!("http {path}{} expect {}", of_host(host), list(expect))
}
