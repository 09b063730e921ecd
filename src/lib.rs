//! outrigger: a language-agnostic sidecar proxy.

pub mod config;
