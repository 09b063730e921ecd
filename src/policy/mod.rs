//! Pure decisions: what is known goes in, `now` included, a value comes out. No I/O, no clock, no lock across a wait.
//!
//! Path: `proxy` asks, acts and records.

pub mod backoff;
pub mod body_rate;
pub mod budget;
pub mod circuit_breaker;
pub mod concurrency;
pub mod deadline;
pub mod failure;
pub mod health;
pub mod memory;
pub mod outlier;
pub mod rate_limit;
pub mod replay;
pub mod retry;
