//! `health_check`, `outlier` and `dns` as they are used.

use std::time::Duration;

use http::HeaderValue;

use crate::config::model::{self, DnsFamily, HealthQuestion};
use crate::policy::health::Thresholds;
use crate::policy::outlier::{Rules, SuccessRate};
use crate::upstream::Protocol;
use crate::upstream::discover::dns::{DnsSettings, Family};
use crate::upstream::health::{GrpcQuestion, HealthCheck, HttpQuestion, Question};

/// Pace of the checks of an endpoint that is down, unless healthy ones are checked more often.
const INTERVAL_DOWN: Duration = Duration::from_secs(1);

/// `None` only for what the reader has refused before.
pub(super) fn health_check(upstream: &model::Upstream, protocol: Protocol) -> Option<HealthCheck> {
    let section = upstream.health_check.as_ref()?;
    let interval = section.interval.value;
    Some(HealthCheck {
        question: question(&section.question, protocol)?,
        interval,
        interval_down: section.interval_down.unwrap_or(INTERVAL_DOWN.min(interval)),
        timeout: section.timeout.value,
        thresholds: Thresholds {
            rise: section.rise,
            fall: section.fall,
        },
        readiness: section.readiness,
    })
}

fn question(section: &HealthQuestion, protocol: Protocol) -> Option<Question> {
    Some(match section {
        HealthQuestion::Tcp => Question::Tcp,
        HealthQuestion::Http { path, host, expect } => {
            let host = host.as_deref().map(HeaderValue::from_str);
            Question::Http(HttpQuestion {
                path: path.parse().ok()?,
                host: host.transpose().ok()?,
                expect: expect.as_slice().into(),
                protocol,
            })
        }
        HealthQuestion::Grpc { service, host } => {
            let host = host.as_deref().map(str::parse);
            Question::Grpc(GrpcQuestion {
                service: service.as_str().into(),
                host: host.transpose().ok()?,
            })
        }
    })
}

pub(super) fn outlier(section: &model::Outlier) -> Rules {
    Rules {
        consecutive_failures: section.consecutive_failures,
        success_rate: section.success_rate.map(|rate| SuccessRate {
            below: rate.below,
            min_requests: rate.min_requests,
            window: rate.window,
        }),
        eject_for: section.eject_for.value,
        max_eject_for: section.max_eject_for.value,
        max_ejected: section.max_ejected,
    }
}

/// Whom to ask for names.
pub fn dns(section: &model::Dns) -> DnsSettings {
    DnsSettings {
        servers: section.servers.clone(),
        family: match section.family {
            DnsFamily::Any => Family::Any,
            DnsFamily::V4 => Family::V4,
            DnsFamily::V6 => Family::V6,
        },
        timeout: section.timeout,
    }
}
