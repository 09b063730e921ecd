//! Where the time limits, and the one of speed, of a request stand in the file, for whoever has to tell that one fired.
//!
//! Path: `proxy::respond`, on its way to an answer that nobody wanted; looked up by name.

use std::num::NonZeroU32;
use std::time::Duration;

use super::Snapshot;
use crate::config::model::{BodyLimit, DEFAULT_REQUEST_TIMEOUT};
use crate::units::Pretty;

/// A time limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timer {
    /// Of a whole request.
    Request,
    /// Of one attempt.
    Attempt,
    /// Of a connection to an endpoint.
    Connect,
    /// Of the TLS handshake with an endpoint.
    Tls,
    /// Of silence while an answer is awaited.
    Idle,
    /// Of silence on a connection that was upgraded.
    UpgradedIdle,
}

impl Snapshot {
    /// Key and value of a limit as it applies to requests of `route` to `upstream`.
    pub fn timer(&self, timer: Timer, route: &str, upstream: &str) -> Option<(String, String)> {
        let (key, value) = match timer {
            Timer::Request | Timer::Attempt => self.route_timer(timer, route)?,
            Timer::Connect | Timer::Tls | Timer::Idle | Timer::UpgradedIdle => {
                self.upstream_timer(timer, upstream)?
            }
        };
        Some((key, Pretty::Time(value).to_string()))
    }

    /// Key and value of the time that clients of `listener` have for the head of a request.
    pub fn header_timeout(&self, listener: &str) -> Option<(String, String)> {
        let sections = &self.config.listeners;
        let section = sections.iter().find(|it| it.name.value == listener)?;
        Some((
            format!("listeners.{listener}.timeouts.request_header"),
            Pretty::Time(section.timeouts.request_header).to_string(),
        ))
    }

    /// Key and value of the rate at which clients of `listener` must send their bodies.
    pub fn min_body_rate(&self, listener: &str) -> Option<(String, String)> {
        let sections = &self.config.listeners;
        let section = sections.iter().find(|it| it.name.value == listener)?;
        let rate = section.limits.min_body_rate?;
        Some((
            format!("listeners.{listener}.limits.min_body_rate"),
            Pretty::Bytes(rate.get().into()).to_string(),
        ))
    }

    /// Key and value of the limit of bodies on `route` of `listener`.
    pub fn body_bytes(&self, listener: &str, route: &str) -> Option<(String, String)> {
        let shown = |bytes: NonZeroU32| Pretty::Bytes(bytes.get().into()).to_string();
        let mut routes = self.config.routes.iter();
        let own = routes.find(|it| it.name.value == route);
        if let Some(BodyLimit::Bytes(bytes)) = own.map(|it| it.body_bytes) {
            return Some((format!("routes.{route}.limits.body_bytes"), shown(bytes)));
        }
        let mut listeners = self.config.listeners.iter();
        let section = listeners.find(|it| it.name.value == listener)?;
        let bytes = BodyLimit::Default.within(section.limits.body_bytes)?;
        Some((
            format!("listeners.{listener}.limits.body_bytes"),
            shown(bytes),
        ))
    }

    /// Keys and values of the limits of an answer's head.
    pub fn answer_head(&self, upstream: &str) -> Option<(String, String)> {
        let mut sections = self.config.upstreams.iter();
        let limits = sections.find(|it| it.name.value == upstream)?.limits;
        Some((
            format!("upstreams.{upstream}.limits.header_bytes, .headers"),
            format!(
                "{}, {}",
                Pretty::Bytes(limits.header_bytes.into()),
                limits.headers
            ),
        ))
    }

    fn route_timer(&self, timer: Timer, route: &str) -> Option<(String, Duration)> {
        let sections = &self.config.routes;
        match sections.iter().find(|it| it.name.value == route) {
            Some(section) if timer == Timer::Request => {
                Some((format!("routes.{route}.timeout"), section.timeout?))
            }
            Some(section) => {
                let limit = section.retry.per_try_timeout?.value;
                Some((format!("routes.{route}.retry.per_try_timeout"), limit))
            }
            // The route of a listener's `forward` is named after the listener and has no keys of its own.
            None if timer == Timer::Request => {
                let key = format!("listeners.{route}.forward (the default timeout of a route)");
                Some((key, DEFAULT_REQUEST_TIMEOUT))
            }
            None => None,
        }
    }

    fn upstream_timer(&self, timer: Timer, upstream: &str) -> Option<(String, Duration)> {
        let sections = &self.config.upstreams;
        let section = sections.iter().find(|it| it.name.value == upstream)?;
        Some(match timer {
            Timer::Connect => (
                format!("upstreams.{upstream}.timeouts.connect"),
                section.timeouts.connect,
            ),
            Timer::Tls => (
                format!("upstreams.{upstream}.timeouts.tls"),
                section.timeouts.tls,
            ),
            Timer::UpgradedIdle => (
                format!("upstreams.{upstream}.timeouts.upgraded_idle"),
                section.timeouts.upgraded_idle?,
            ),
            _ => (
                format!("upstreams.{upstream}.timeouts.idle"),
                section.timeouts.idle,
            ),
        })
    }
}
