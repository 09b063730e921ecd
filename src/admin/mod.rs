//! The proxy's own addresses: probes and metrics for the platform, views and changes for the operator.
//!
//! Path: `app` binds two sockets and starts an [`server::AdminServer`] on each, on the control runtime.
//! What may be seen from anywhere (probes, metrics) is apart from what may not (control, loopback only).

pub mod breakers;
pub mod events;
pub mod handlers;
pub mod server;
pub mod status;
pub mod views;
