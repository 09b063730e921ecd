//! Bound addresses: sockets in, connections to workers out.
//!
//! Path: `app` binds a [`Socket`] and starts its [`Acceptor`]; the acceptor hands each connection to the least loaded
//! worker, so that a few long-lived ones do not share a worker while another is idle. With `reuse_port` every worker
//! has a socket of its own instead and the kernel spreads connections by a hash.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use socket2::{Domain, Protocol, SockFilter, Type};
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::worker::Worker;
use crate::snapshot::{Listener, ListenerId, Store};
use crate::units::place::{FileRules, Place};
use crate::wire::Wire;
use crate::wire::door::{Door, OpenDoor};

/// Connections that may wait in the kernel for being accepted; the system's own limit applies, too.
const BACKLOG: i32 = 4096;

/// Pause after the system refused to give a socket: what it lacks (descriptors, memory) comes back with time.
const OUT_OF_SOCKETS: Duration = Duration::from_millis(50);

/// How often a full listener looks whether it may take more: a reload may have raised its limit.
const ROOM_AGAIN: Duration = Duration::from_millis(250);

/// Whether others may listen on the same port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    /// Nobody else.
    Own,
    /// Other workers, and other processes of the same user.
    Shared,
}

/// Lets everything through but the first packet of a handshake: in byte 13 of a TCP header (RFC 9293 §3.1) the bit SYN.
/// The four instructions are `ldb [13]`, `jset #2`, `ret #0` and `ret #-1` of the classic BPF.
fn no_syn() -> [SockFilter; 4] {
    [
        SockFilter::new(0x30, 0, 0, 13),
        SockFilter::new(0x45, 0, 1, 2),
        SockFilter::new(0x06, 0, 0, 0),
        SockFilter::new(0x06, 0, 0, u32::MAX),
    ]
}

/// A bound address.
#[derive(Debug)]
pub struct Socket {
    listeners: Vec<Door>,
    address: Place,
}

impl Socket {
    /// Binds `address` with so many `sockets`; more than one only if they share the port.
    ///
    /// # Errors
    ///
    /// As the system reports them: the address is in use, not ours, or not allowed.
    pub fn bind(
        address: &Place,
        rules: FileRules,
        (sockets, port): (usize, Port),
    ) -> io::Result<Self> {
        let (first, address) = bind(address, rules, port)?;
        let mut listeners = vec![first];
        for _ in 1..sockets {
            // Port 0 was decided by the first.
            listeners.push(bind(&address, rules, port)?.0);
        }
        Ok(Self { listeners, address })
    }

    /// The same socket under another descriptor, and so many in all that share its port. The first one keeps its queue,
    /// so that nobody is refused when `reuse_port` changes.
    ///
    /// # Errors
    ///
    /// When there is no descriptor to be had.
    pub fn adapt(&self, sockets: usize, port: Port) -> io::Result<Self> {
        let mut socket = self.try_clone()?;
        socket.listeners.truncate(sockets.max(1));
        if port == Port::Shared {
            for listener in socket.tcp() {
                socket2::SockRef::from(listener).set_reuse_port(true)?;
            }
        }
        for _ in socket.listeners.len()..sockets {
            // Only those of TCP can be more than one.
            let rules = FileRules::default();
            socket.listeners.push(bind(&self.address, rules, port)?.0);
        }
        Ok(socket)
    }

    /// The same socket under another descriptor.
    ///
    /// # Errors
    ///
    /// When there is no descriptor to be had.
    fn try_clone(&self) -> io::Result<Self> {
        let listeners = self
            .listeners
            .iter()
            .map(Door::try_clone)
            .collect::<io::Result<_>>()?;
        Ok(Self {
            listeners,
            address: self.address.clone(),
        })
    }

    /// Takes no new clients, who come again to whoever shares the port; who has begun to shake hands is still let in.
    /// Without it, a connection made in the moment between the last look and the end of the socket is reset.
    pub fn turn_away(&self) {
        for listener in self.tcp() {
            // Where the system does not know of filters, that moment is short.
            let _ = socket2::SockRef::from(listener).attach_filter(&no_syn());
        }
    }

    /// Where it is bound; the port is never 0.
    pub fn address(&self) -> &Place {
        &self.address
    }

    /// Lets those connect to a unix socket whom `rules` allow.
    ///
    /// # Errors
    ///
    /// As the system reports them.
    pub fn follow(&self, rules: FileRules) -> io::Result<()> {
        self.listeners.iter().try_for_each(|door| match door {
            Door::Tcp(_) => Ok(()),
            Door::Unix(_, file) => file.follow(rules),
        })
    }

    fn tcp(&self) -> impl Iterator<Item = &StdListener> {
        self.listeners.iter().filter_map(|door| match door {
            Door::Tcp(listener) => Some(listener),
            Door::Unix(..) => None,
        })
    }
}

/// Binds one socket; with it comes where that is.
fn bind(place: &Place, rules: FileRules, port: Port) -> io::Result<(Door, Place)> {
    let address = match place {
        Place::Tcp(address) => *address,
        Place::Unix(path) => {
            return Ok((Door::unix(path, rules, BACKLOG)?, place.clone()));
        }
    };
    let socket = socket2::Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    if port == Port::Shared {
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    let listener = StdListener::from(socket);
    let bound = listener.local_addr()?.into();
    Ok((Door::Tcp(listener), bound))
}

/// The open connections of one listener.
#[derive(Debug, Default)]
struct Open {
    count: AtomicUsize,
    closed: Notify,
}

/// One open connection.
struct Opened(Arc<Open>);

impl Drop for Opened {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::AcqRel);
        self.0.closed.notify_one();
    }
}

/// Accepts connections from the moment it is opened until it is stopped.
#[derive(Debug)]
pub struct Acceptor {
    socket: Socket,
    go: CancellationToken,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Acceptor {
    /// Gets ready to accept on `socket` for the listener `id`; [`Self::open`] begins, once the snapshot in force knows it.
    ///
    /// # Errors
    ///
    /// When a socket cannot be registered with a worker's reactor.
    pub fn prepare(
        socket: Socket,
        id: ListenerId,
        store: &Arc<Store>,
        workers: &Arc<[Arc<Worker>]>,
    ) -> io::Result<Self> {
        let (go, stop) = (CancellationToken::new(), CancellationToken::new());
        let open = Arc::new(Open::default());
        let tasks = TaskTracker::new();
        let shared = socket.listeners.len() == 1;
        // Listeners take turns, so that several of them do not all burden the first worker with accepting.
        let offset = id.0 as usize;
        for (index, listener) in socket.try_clone()?.listeners.into_iter().enumerate() {
            let Some(home) = workers.get((index + offset) % workers.len().max(1)) else {
                continue;
            };
            let targets = if shared {
                Arc::clone(workers)
            } else {
                Arc::new([Arc::clone(home)])
            };
            let _context = home.runtime.enter();
            let listener = listener.open()?;
            let home_index = home.engine.worker;
            let accepting = Accepting {
                address: socket.address.clone(),
                home: home_index,
                id,
                store: Arc::clone(store),
                targets,
                open: Arc::clone(&open),
            };
            let run = accepting.run(listener, go.clone(), stop.clone());
            home.runtime.spawn(tasks.track_future(run));
        }
        Ok(Self {
            socket,
            go,
            stop,
            tasks,
        })
    }

    /// Begins.
    pub fn open(&self) {
        self.go.cancel();
    }

    /// Its socket; a copy of it takes connections from the same queue.
    pub fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Stops accepting; what is returned is empty once the last connection has been handed over.
    pub fn stop(self) -> TaskTracker {
        self.tasks.close();
        self.tasks.clone()
    }
}

/// Stops accepting. What the kernel has accepted by now is still served.
impl Drop for Acceptor {
    fn drop(&mut self) {
        // First of all: as long as one descriptor is open, the kernel accepts connections that nobody takes.
        self.socket.listeners.clear();
        self.stop.cancel();
    }
}

struct Accepting {
    address: Place,
    /// The worker whose reactor the listener belongs to.
    home: usize,
    id: ListenerId,
    store: Arc<Store>,
    targets: Arc<[Arc<Worker>]>,
    open: Arc<Open>,
}

impl Accepting {
    async fn run(self, socket: OpenDoor, go: CancellationToken, stop: CancellationToken) {
        tokio::select! {
            biased;
            () = go.cancelled() => {}
            () = stop.cancelled() => return,
        }
        // A listener that leaves the snapshot while connections wait in the kernel serves them as it was.
        let Some(mut last) = self.current() else {
            return;
        };
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = self.wait_for_room(&mut last) => {}
            }
            let accepted = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                accepted = socket.accept() => accepted,
            };
            self.refresh(&mut last);
            if self.take(accepted, &last).is_err() {
                tokio::time::sleep(OUT_OF_SOCKETS).await;
            }
        }
        self.refresh(&mut last);
        if let Ok(socket) = socket.close() {
            self.take_the_rest(socket, &last);
        }
    }

    /// What was accepted by the kernel before the stop must not be lost. It is asked itself, for the reactor may not have
    /// heard of the latest ones; then the socket is closed with nothing in between.
    #[allow(
        clippy::needless_pass_by_value,
        reason = "dropping it at the end is the point"
    )]
    fn take_the_rest(&self, socket: Door, listener: &Arc<Listener>) {
        while self.has_room(listener) {
            if self.take(socket.accept(), listener).is_err() {
                return;
            }
        }
    }

    /// The listener as it is now; under another name, its address may have been handed on.
    fn current(&self) -> Option<Arc<Listener>> {
        let snapshot = self.store.load();
        let listener = snapshot.listener(self.id);
        listener
            .or_else(|| snapshot.listener_at(&self.address))
            .cloned()
    }

    fn refresh(&self, last: &mut Arc<Listener>) {
        if let Some(listener) = self.current() {
            *last = listener;
        }
    }

    async fn wait_for_room(&self, last: &mut Arc<Listener>) {
        while !self.has_room(last) {
            // Out of time or not: what counts is looked at again.
            let _ = timeout(ROOM_AGAIN, self.open.closed.notified()).await;
            self.refresh(last);
        }
    }

    fn has_room(&self, listener: &Listener) -> bool {
        self.open.count.load(Ordering::Acquire) < listener.limits.connections as usize
    }

    /// Hands a connection over; an error is one of the system's, not of the peer.
    fn take(
        &self,
        accepted: io::Result<(Wire, SocketAddr)>,
        listener: &Arc<Listener>,
    ) -> io::Result<()> {
        match accepted {
            Ok((stream, peer)) => self.hand_over(stream, peer, listener),
            Err(error) if is_of_the_peer(&error) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn hand_over(&self, stream: Wire, peer: SocketAddr, listener: &Arc<Listener>) {
        self.open.count.fetch_add(1, Ordering::AcqRel);
        let opened = Opened(Arc::clone(&self.open));
        if let Some(worker) = self.targets.iter().min_by_key(|worker| worker.load()) {
            worker
                .seat()
                .serve((stream, self.home), peer, Arc::clone(listener), opened);
        }
    }
}

/// Whether the error is about one connection that its peer gave up, not about the socket.
fn is_of_the_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | Interrupted
    )
}
