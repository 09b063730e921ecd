//! From a socket to requests: listeners, workers, connections and their timers.
//!
//! Path: [`listener`] accepts and hands the socket to the least loaded [`worker`] → [`connection`] finds the protocol
//! and lets hyper serve it → `proxy::service` is called for each request. Timers and drains of connections are the
//! business of the worker's [`registry`].

pub mod breach;
pub mod connection;
pub mod frames;
pub mod framing;
pub mod greeting;
mod introduction;
pub mod io;
pub mod linger;
pub mod listener;
pub mod proxy_protocol;
pub mod registry;
pub mod sniff;
pub mod state;
pub mod worker;
