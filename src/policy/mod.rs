//! Pure decisions: what is known goes in, `now` included, a value comes out. No I/O, no clock, no lock across a wait.
//!
//! Path: `proxy` asks, acts and records.

pub mod circuit_breaker;
pub mod failure;
pub mod replay;
