//! One request: from its head to the end of its answer.
//!
//! Path: `downstream` calls [`service::ConnService`] for every request on a connection → [`stack`] opens the exchange and
//! turns errors into answers → [`forward`] finds the route and makes attempts → [`body`] streams the answer and ends the
//! exchange. Only [`respond`] invents answers.

pub mod action;
pub mod admit;
pub mod attempt;
pub mod attempts;
pub mod authority;
pub mod body;
pub mod circuit;
pub mod deadline;
pub mod error;
pub mod exchange;
pub mod forward;
pub mod forwarded;
pub mod headers;
mod identity;
pub mod limits;
pub mod mirror;
pub mod request_id;
pub mod respond;
pub mod seen;
pub mod service;
pub mod stack;
pub mod tcp;
pub mod trace;
pub mod tunnel;
pub mod unavailable;
pub mod unread;
pub mod upgrade;
pub mod verdict;
pub mod wait;

use std::any::Any;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::HeaderValue;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::snapshot::{Listener, Store};
use crate::telemetry::protocol::Offence;
use crate::telemetry::writer::LineBuffer;
use crate::upstream::replay_room::ReplayRoom;

/// What a worker needs to serve requests.
#[derive(Debug)]
pub struct Engine {
    /// Which worker this is; names its part of the pools.
    pub worker: usize,
    /// Where the snapshot in force is found.
    pub snapshots: Arc<Store>,
    /// Unwritten access lines.
    pub log: LineBuffer,
    /// Upgraded connections, which outlive the request that asked for them.
    pub upgrades: TaskTracker,
    /// Memory for request bodies that may have to be sent again, of all workers.
    pub replay_room: Arc<ReplayRoom>,
    /// Fires when upgraded connections have to end.
    pub cut: CancellationToken,
}

/// What is known about a downstream connection.
#[derive(Debug)]
pub struct ConnInfo {
    /// The other side.
    pub peer: SocketAddr,
    /// The peer's IP address as a header value.
    pub peer_header: HeaderValue,
    /// The listener as it was when the connection was accepted; serves on when the listener is removed.
    pub listener: Arc<Listener>,
    /// Who the peer is by its certificate; set before the first request.
    identity: OnceLock<HeaderValue>,
    /// Whoever keeps the connection's timers.
    pub observer: Arc<dyn ConnObserver>,
    /// Whatever counts the connection, at its worker and its listener: dropped with the last user of the connection,
    /// which is its pipe if it stopped speaking HTTP.
    pub held: Box<dyn Any + Send + Sync>,
}

/// How long a wait may go on before anybody looks at it, if its connection [looks again](ConnObserver::looks_again).
pub const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Told when exchanges begin and end on a connection.
pub trait ConnObserver: Send + Sync + std::fmt::Debug {
    /// The head of a request has arrived.
    fn exchange_started(&self);
    /// An exchange is over.
    fn exchange_ended(&self);
    /// A part of an answer is there for the client to take.
    fn answer_offered(&self) {}
    /// The client has taken it, or will not anymore.
    fn answer_taken(&self) {}
    /// Whether the answer about to be sent has to say that it is the connection's last.
    fn says_good_bye(&self) -> bool;
    /// Polls what is under way on the connection again within [`LOOK_AGAIN`], once, if it can do that.
    fn looks_again(&self) -> bool {
        false
    }
    /// What the head of the request that has just begun broke, as far as its bytes tell what its fields do not.
    fn offence(&self) -> Option<Offence>;
    /// A request was answered whose body was not read, or not to the end. If that ends the connection, its client may
    /// still be sending.
    fn left_unread(&self) {}
}

impl ConnInfo {
    /// For a connection from `peer` that `listener` accepted.
    pub fn new(
        peer: SocketAddr,
        listener: Arc<Listener>,
        observer: Arc<dyn ConnObserver>,
        held: Box<dyn Any + Send + Sync>,
    ) -> Self {
        let text = peer.ip().to_canonical().to_string();
        let peer_header =
            HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static("unknown"));
        Self {
            peer,
            peer_header,
            listener,
            identity: OnceLock::new(),
            observer,
            held,
        }
    }

    /// Notes who the peer is by its certificate. The first word stands.
    pub fn identify(&self, identity: &str) {
        if let Ok(identity) = HeaderValue::from_str(identity) {
            let _ = self.identity.set(identity);
        }
    }

    /// Who the peer is by its certificate: `spiffe://…`, `dns:…`; `None` without one.
    pub fn identity(&self) -> Option<&HeaderValue> {
        self.identity.get()
    }
}
