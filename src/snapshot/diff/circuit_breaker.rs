//! `upstreams.*.circuit_breaker` and `upstreams.*.failure` as lines.

use super::{list, time, word};
use crate::config::model::{CircuitBreaker, FailureRules, GRPC_STATUS};

pub(super) fn write_breaker(line: &mut dyn FnMut(&str, String), breaker: &CircuitBreaker) {
    let mut line = |key: &str, value: String| line(&format!("circuit_breaker.{key}"), value);
    let or_off = |value: Option<String>| value.unwrap_or_else(|| "off".into());
    let percent = |rate: u8| format!("{rate}%");
    let failures = breaker.consecutive_failures.map(|count| count.to_string());
    line("consecutive_failures", or_off(failures));
    line("open_for", time(breaker.open_for));
    line("half_open_max", breaker.half_open_max.to_string());
    line(
        "half_open_successes",
        breaker.half_open_successes.to_string(),
    );
    let error_rate = breaker.error_rate.map(|rate| percent(rate.value));
    line("error_rate", or_off(error_rate));
    line("slow", or_off(breaker.slow.map(|slow| time(slow.value))));
    line("slow_rate", percent(breaker.slow_rate.value));
    line("window", time(breaker.window));
    line("min_requests", breaker.min_requests.value.to_string());
    line("scope", word(&breaker.scope));
    line("mode", word(&breaker.mode));
}

pub(super) fn write_failure(line: &mut dyn FnMut(&str, String), rules: &FailureRules) {
    let statuses = rules.statuses.iter().map(|range| range.value);
    let statuses = statuses.map(|range| match range.first == range.last {
        true => range.first.to_string(),
        false => format!("{}-{}", range.first, range.last),
    });
    line("failure.statuses", list(statuses));
    let codes = rules.grpc.iter();
    let codes = codes.filter_map(|code| GRPC_STATUS.get(usize::from(*code)));
    line("failure.grpc", list(codes));
    let slow = rules.slow.map(|slow| time(slow.value));
    line("failure.slow", slow.unwrap_or_else(|| "off".into()));
}
