//! One thread that serves connections, with its own reactor.
//!
//! Path: `app` starts the workers; [`super::listener`] hands sockets to the least loaded one. Connections, pools and log
//! lines stay on the worker they came to, so that nothing on the request path is shared but what must be.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus::IntGauge;
use tokio::runtime::{Builder, Handle};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::connection::{self, End};
use super::introduction::{self, Peer, Refused};
use super::registry::Registry;
use super::state::{ConnState, Order};
use crate::proxy::{ConnInfo, Engine};
use crate::snapshot::{Listener, ProxyProtocol, Snapshot};
use crate::upstream::endpoint::Endpoint;
use crate::upstream::http2::Http2Settings;
use crate::upstream::pool::{HeadLimits, PoolSettings};
use crate::wire::{Wire, outbox};

/// Timers are looked at this often at most, and a line waits no longer to be written.
const FAST: Duration = Duration::from_millis(50);

/// Pace of an idle worker, and of the sweep of its pools.
const SLOW: Duration = Duration::from_secs(1);

/// What the pool of an endpoint that is gone may keep.
const NOTHING: PoolSettings = PoolSettings {
    max_idle: 0,
    idle_timeout: Duration::ZERO,
    max_age: None,
    preserve_header_case: false,
    connections: None,
    http2: Http2Settings {
        max_streams: 0,
        window: 0,
        keepalive_interval: None,
        keepalive_timeout: Duration::ZERO,
        header_bytes: 0,
    },
    head: HeadLimits::DEFAULT,
};

/// One worker.
#[derive(Debug)]
pub struct Worker {
    /// What its requests need.
    pub engine: Arc<Engine>,
    /// Its open connections.
    pub registry: Registry,
    /// Its runtime.
    pub runtime: Handle,
    load: AtomicUsize,
    beats: AtomicU64,
    stop: CancellationToken,
    /// Endpoints that are in no configuration anymore. Connections of clients may hold them for long, and requests under
    /// way return connections to their pools.
    retired: Mutex<Vec<Weak<Endpoint>>>,
}

/// A place at a worker, counted from the moment of hand-over.
#[derive(Debug)]
pub struct Seat {
    worker: Arc<Worker>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.worker.load.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Worker {
    /// Starts a thread named `worker-N` with its runtime.
    ///
    /// # Errors
    ///
    /// When the system has no thread or no reactor to give.
    pub fn start(engine: Engine) -> io::Result<(Arc<Self>, JoinHandle<()>)> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let stop = CancellationToken::new();
        let worker = Arc::new(Self {
            engine: Arc::new(engine),
            registry: Registry::default(),
            runtime: runtime.handle().clone(),
            load: AtomicUsize::new(0),
            beats: AtomicU64::new(0),
            stop,
            retired: Mutex::default(),
        });
        let own = Arc::clone(&worker);
        let name = format!("worker-{}", own.engine.worker);
        let thread = std::thread::Builder::new().name(name).spawn(move || {
            drop(runtime.spawn(outbox::carry()));
            runtime.block_on(own.tend());
            own.engine.log.flush();
            // Connections that are left are dropped with their runtime, and tell their records.
            drop(runtime);
            own.engine.log.flush();
        })?;
        Ok((worker, thread))
    }

    /// How long its thread has been busy since its start.
    pub fn busy(&self) -> Duration {
        self.runtime.metrics().worker_total_busy_duration(0)
    }

    /// Takes a seat for a connection to come.
    pub fn seat(self: &Arc<Self>) -> Seat {
        self.load.fetch_add(1, Ordering::Relaxed);
        Seat {
            worker: Arc::clone(self),
        }
    }

    /// Connections handed to this worker and not ended.
    pub fn load(&self) -> usize {
        self.load.load(Ordering::Relaxed)
    }

    /// A number that grows as long as the worker's loop makes progress.
    pub fn beats(&self) -> u64 {
        self.beats.load(Ordering::Relaxed)
    }

    /// Lets no idle connections stay open to endpoints that are gone.
    pub fn retire(&self, gone: &[Arc<Endpoint>]) {
        self.retired.lock().extend(gone.iter().map(Arc::downgrade));
    }

    /// Ends the worker; what is left of its connections is closed.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// The worker's own task: timers, pools, log.
    async fn tend(self: &Arc<Self>) {
        let mut swept = Instant::now();
        while !self.stop.is_cancelled() {
            self.beats.fetch_add(1, Ordering::Relaxed);
            let snapshot = self.engine.snapshots.load();
            let now = Instant::now();
            self.registry.sweep(now, |id| {
                snapshot.listener(id).map(|listener| listener.timeouts)
            });
            if now.saturating_duration_since(swept) >= SLOW {
                swept = now;
                self.sweep_pools(&snapshot, now);
            }
            self.engine.log.flush();
            self.pause(&snapshot).await;
        }
    }

    async fn pause(&self, snapshot: &Snapshot) {
        let pace = if self.registry.is_empty() {
            SLOW
        } else {
            pace_of(snapshot)
        };
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = tokio::time::sleep(pace) => {}
            // Its timers begin now; many that come and go are one reason to look, not many.
            () = self.registry.first() => tokio::time::sleep(pace_of(snapshot)).await,
            () = self.engine.log.filled() => tokio::time::sleep(FAST.min(pace)).await,
        }
    }

    fn sweep_pools(&self, snapshot: &Snapshot, now: Instant) {
        for upstream in &snapshot.upstreams {
            for endpoint in upstream.endpoints().iter() {
                endpoint.pool.sweep(self.engine.worker, now, &upstream.pool);
            }
        }
        self.retired.lock().retain(|endpoint| {
            let endpoint = endpoint.upgrade();
            if let Some(endpoint) = &endpoint {
                endpoint.pool.sweep(self.engine.worker, now, &NOTHING);
            }
            endpoint.is_some()
        });
    }
}

/// An eighth of the shortest limit: precise enough, and rare enough where limits are long.
fn pace_of(snapshot: &Snapshot) -> Duration {
    let limits = snapshot
        .listeners
        .iter()
        .map(|listener| listener.timeouts.request_header.min(listener.timeouts.idle));
    let shortest = limits.min().unwrap_or(SLOW);
    (shortest / 8).clamp(Duration::from_millis(5), Duration::from_millis(250))
}

impl Seat {
    /// Serves `stream`, accepted through `listener` on the worker `home`, on the seat's worker. `held` is dropped at the
    /// connection's end, be it HTTP's or that of what it switched to.
    pub fn serve(
        self,
        (stream, home): (Wire, usize),
        peer: SocketAddr,
        listener: Arc<Listener>,
        held: impl Send + Sync + 'static,
    ) {
        let runtime = self.worker.runtime.clone();
        // A socket that cannot be moved or set up is dropped, which closes it: the peer learns all there is to know.
        if home == self.worker.engine.worker {
            runtime.spawn(async move {
                if stream.set_nodelay().is_ok() {
                    self.serve_here(stream, peer, listener, held).await;
                }
            });
        } else if let Ok(stream) = stream.still() {
            runtime.spawn(async move {
                if let Ok(stream) = stream.wake()
                    && stream.set_nodelay().is_ok()
                {
                    self.serve_here(stream, peer, listener, held).await;
                }
            });
        }
    }

    async fn serve_here(
        self,
        mut stream: Wire,
        peer: SocketAddr,
        listener: Arc<Listener>,
        held: impl Send + Sync + 'static,
    ) {
        let worker = Arc::clone(&self.worker);
        let state = Arc::new(ConnState::new(listener.id));
        let registration = worker.registry.register(&state, Instant::now());
        if (worker.engine.snapshots.load())
            .listener(state.listener)
            .is_none()
        {
            // Removed while the connection was on its way here: who was told to drain had not met it yet.
            state.drain();
        }
        let metrics = listener.metrics.clone();
        metrics.accepted.inc();
        let active = Counted::new(&metrics.active);
        let end = match introduced(&mut stream, peer, &listener, &state, &worker).await {
            Ok(peer) => {
                let info = Arc::new(ConnInfo::new(
                    peer,
                    listener,
                    Arc::clone(&state) as _,
                    Box::new((self, held, active)),
                ));
                let engine = Arc::clone(&worker.engine);
                connection::serve(stream, info, Arc::clone(&state), engine).await
            }
            Err(end) => end,
        };
        let broken = match end {
            End::Broken(offence) => Some(offence),
            End::Ordered(_) | End::Closed => None,
        };
        if let Some(offence) = state.any_offence().or(broken) {
            metrics.protocol.count(offence);
        }
        match end {
            End::Ordered(Order::HeaderTimeout) => metrics.closed_header_timeout.inc(),
            End::Ordered(Order::IdleTimeout) => metrics.closed_idle.inc(),
            End::Ordered(Order::Serve | Order::Finish | Order::Abuse | Order::Cut)
            | End::Closed
            | End::Broken(_) => {}
        }
        drop(registration);
    }
}

/// Whose connection it is, if it may begin.
async fn introduced(
    stream: &mut Wire,
    peer: SocketAddr,
    listener: &Listener,
    state: &ConnState,
    worker: &Worker,
) -> Result<SocketAddr, End> {
    if listener.proxy_protocol == ProxyProtocol::Off {
        return Ok(peer);
    }
    let snapshot = worker.engine.snapshots.load();
    let peer = Peer {
        address: peer,
        trusted: snapshot.forwarding.trusts(peer.ip()),
    };
    // Boxed, for what this needs is not to be part of every connection.
    let read = Box::pin(introduction::read(stream, peer, listener.proxy_protocol));
    match connection::obeying(state, read).await {
        Ok(Ok(ends)) => Ok(ends.map_or(peer.address, |ends| ends.client)),
        Ok(Err(Refused::Silent)) => Err(End::Closed),
        Ok(Err(Refused::For(offence))) => Err(End::Broken(offence)),
        Err(order) => Err(End::Ordered(order)),
    }
}

/// Counts a connection for as long as it lives, even if a panic ends it.
struct Counted(IntGauge);

impl Counted {
    fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}
