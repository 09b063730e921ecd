//! What the proxy tells: metrics, the record of each request, the access log.
//!
//! Path: a leaf that `upstream` and everything to its left may use. The request path fills a
//! [`record::RequestRecord`]; counters and lines are written from it once, when the exchange is over.

pub mod access_format;
pub mod access_log;
mod attempts;
pub mod breaker;
pub mod catalogue;
mod exemplars;
mod families;
pub mod health;
pub mod journal;
pub mod json;
pub mod limits;
pub mod metrics;
pub mod mirror;
pub mod openmetrics;
pub mod protocol;
pub mod reason;
pub mod record;
pub mod redact;
pub mod route;
mod spans;
pub mod tcp;
pub mod time;
pub mod tls;
pub mod trace;
pub mod upgrade;
pub mod writer;
