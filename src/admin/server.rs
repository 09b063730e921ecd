//! A small HTTP server for one admin address.
//!
//! Path: see [`super`]. It bounds what its callers can take: connections, requests at once, time.

use std::convert::Infallible;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower::{BoxError, ServiceBuilder, ServiceExt};

use super::handlers::{self, AdminBody};
use super::status::Status;
use crate::units::place::{FileRules, Place};
use crate::wire::Wire;
use crate::wire::door::Door;

/// Connections that may wait in the kernel for being accepted.
const BACKLOG: i32 = 128;

/// Connections to one admin address.
const CONNECTIONS: usize = 128;

/// Requests handled at once; further ones are refused.
const AT_ONCE: usize = 32;

/// Limit of a request, and of reading its head.
const LIMIT: Duration = Duration::from_secs(10);

/// Which of the two admin addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// `/live`, `/ready`, `/metrics`.
    Probes,
    /// Views and changes, and what the probes show.
    Control,
}

/// A bound admin address that does not answer yet.
#[derive(Debug)]
pub struct AdminSocket {
    door: Door,
    configured: Place,
    address: Place,
}

impl AdminSocket {
    /// Binds `place` for `role`. Whoever may enter the folder of a unix socket may ask for probes; views and changes are
    /// for the user of this process.
    ///
    /// # Errors
    ///
    /// As the system reports them.
    pub fn bind(place: &Place, role: Role) -> io::Result<Self> {
        let (door, address) = match place {
            Place::Tcp(address) => {
                let listener = TcpListener::bind(address)?;
                listener.set_nonblocking(true)?;
                let bound = listener.local_addr()?.into();
                (Door::Tcp(listener), bound)
            }
            Place::Unix(path) => {
                let rules = FileRules {
                    mode: match role {
                        Role::Probes => FileRules::default().mode,
                        Role::Control => 0o600,
                    },
                    ..FileRules::default()
                };
                (Door::unix(path, rules, BACKLOG)?, place.clone())
            }
        };
        Ok(Self {
            door,
            configured: place.clone(),
            address,
        })
    }
}

/// An admin address that answers until it is dropped.
#[derive(Debug)]
pub struct AdminServer {
    configured: Place,
    address: Place,
    stop: CancellationToken,
}

impl AdminServer {
    /// Starts answering on the runtime in whose context it is called.
    pub fn start(socket: AdminSocket, role: Role, status: Arc<Status>) -> Self {
        let stop = CancellationToken::new();
        let AdminSocket {
            door,
            configured,
            address,
        } = socket;
        tokio::spawn(
            stop.clone()
                .run_until_cancelled_owned(accept(door, role, status)),
        );
        Self {
            configured,
            address,
            stop,
        }
    }

    /// What the file says.
    pub fn configured(&self) -> &Place {
        &self.configured
    }

    /// Where it is bound; the port is never 0.
    pub fn address(&self) -> &Place {
        &self.address
    }
}

impl Drop for AdminServer {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn accept(door: Door, role: Role, status: Arc<Status>) {
    let Ok(door) = door.open() else {
        return;
    };
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        match door.accept().await {
            Ok((stream, _)) => {
                let status = Arc::clone(&status);
                tokio::spawn(async move {
                    serve(stream, role, status).await;
                    drop(permit);
                });
            }
            // What the system lacks comes back with time.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn serve(stream: Wire, role: Role, status: Arc<Status>) {
    let limited = ServiceBuilder::new()
        .load_shed()
        .concurrency_limit(AT_ONCE)
        .timeout(LIMIT)
        .service_fn(move |request: Request<Incoming>| {
            let status = Arc::clone(&status);
            async move { Ok::<_, Infallible>(handlers::answer(role, &status, &request).await) }
        });
    let service = service_fn(move |request| {
        let limited = limited.clone();
        async move {
            Ok::<_, Infallible>(
                limited
                    .oneshot(request)
                    .await
                    .unwrap_or_else(|error| refused(&error)),
            )
        }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(LIMIT);
    // A caller that breaks off has its reasons.
    let _ = builder
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

fn refused(error: &BoxError) -> Response<AdminBody> {
    let body = Full::from(format!("{error}\n"));
    let mut response = Response::new(BodyExt::boxed(body));
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response
}
