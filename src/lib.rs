//! outrigger: a language-agnostic sidecar proxy. One small binary beside an app container that reads one YAML file.
//!
//! The modules are the path of a request:
//!
//! 1. [`downstream`]: a socket is accepted, handed to the least loaded worker, and served as HTTP/1 or HTTP/2.
//! 2. [`proxy`]: one request: its exchange, its headers, its attempts, the body of its answer.
//! 3. [`snapshot`] and [`route`]: the configuration in force, and which route takes the request.
//! 4. [`policy`]: pure decisions.
//! 5. [`upstream`]: which endpoint, on which pooled connection.
//! 6. [`telemetry`]: the record of the request becomes metrics and an access line.
//!
//! Beside the path: [`config`] reads what the user wrote, [`app`] starts, reloads and drains, [`admin`] answers probes,
//! [`cli`] is the program. Which module may use which is written down in `ARCHITECTURE.md` and held by a test.

pub mod admin;
pub mod app;
pub mod cli;
pub mod config;
pub mod downstream;
pub mod policy;
pub mod proxy;
pub mod route;
pub mod snapshot;
pub mod telemetry;
pub mod tls;
pub mod units;
pub mod upstream;
pub mod wire;
