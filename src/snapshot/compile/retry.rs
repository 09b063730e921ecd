//! `routes[].retry` → [`RetryPolicy`].

use http::StatusCode;

use crate::config::model::{self, RetryOn};
use crate::policy::backoff::{Backoff, Jitter};
use crate::policy::retry::{Conditions, RetryPolicy};

pub(super) fn retry_policy(section: &model::Retry) -> RetryPolicy {
    let has = |condition| section.on.contains(&condition);
    let statuses = section.on.iter().filter_map(|on| match on {
        RetryOn::Status(status) => StatusCode::from_u16(*status).ok(),
        _ => None,
    });
    let grpc = section.on.iter().filter_map(|on| match on {
        RetryOn::Grpc(code) => Some(*code),
        _ => None,
    });
    RetryPolicy {
        attempts: section.attempts,
        on: Conditions {
            connect_failure: has(RetryOn::ConnectFailure),
            refused_stream: has(RetryOn::RefusedStream),
            reset: has(RetryOn::Reset),
            attempt_timeout: has(RetryOn::AttemptTimeout),
            throttled: has(RetryOn::Throttled),
            statuses: statuses.collect(),
            grpc: grpc.collect(),
        },
        backoff: Backoff {
            base: section.backoff.base,
            max: section.backoff.max,
            jitter: match section.backoff.jitter {
                model::Jitter::Full => Jitter::Full,
                model::Jitter::Decorrelated => Jitter::Decorrelated,
                model::Jitter::None => Jitter::None,
            },
        },
        max_retry_after: section.max_retry_after,
        unsafe_methods: section.retry_unsafe.value,
    }
}
