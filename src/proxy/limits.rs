//! Which limit of the file is behind an error.
//!
//! Path: [`super::exchange`] asks when an exchange fails; the answer and the access line tell it.

use super::error::{Limit, ProxyError};
use crate::snapshot::Snapshot;
use crate::snapshot::timers::Timer;
use crate::telemetry::record::RequestRecord;
use crate::upstream::connect::ConnectError;

/// The limit of the configuration that was reached.
pub fn reached(snapshot: &Snapshot, record: &RequestRecord, error: &ProxyError) -> Option<Limit> {
    if let Some(refusal) = error.refusal() {
        return refusal.limit.clone();
    }
    if matches!(error, ProxyError::ClientTooSlow) {
        let (key, value) = snapshot.min_body_rate(&record.route.listener)?;
        return Some(Limit { key, value });
    }
    let found = match error {
        ProxyError::BodyTooLarge => {
            Some(snapshot.body_bytes(&record.route.listener, &record.route.route)?)
        }
        ProxyError::UpstreamHeadTooLarge => {
            Some(snapshot.answer_head(record.upstream.as_deref().unwrap_or_default())?)
        }
        ProxyError::HeaderTimeout => Some(snapshot.header_timeout(&record.route.listener)?),
        _ => None,
    };
    if let Some((key, value)) = found {
        return Some(Limit { key, value });
    }
    let timer = match error {
        ProxyError::RequestTimeout => Timer::Request,
        ProxyError::AttemptTimeout => Timer::Attempt,
        ProxyError::UpstreamIdle | ProxyError::ClientIdle => Timer::Idle,
        ProxyError::Connect(ConnectError::Timeout(_)) => Timer::Connect,
        ProxyError::Connect(ConnectError::TlsTimeout(_)) => Timer::Tls,
        ProxyError::UpgradedIdle => Timer::UpgradedIdle,
        _ => return None,
    };
    let upstream = record.upstream.as_deref().unwrap_or_default();
    let (key, value) = snapshot.timer(timer, &record.route.route, upstream)?;
    Some(Limit { key, value })
}
