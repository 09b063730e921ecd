//! Opens a connection to an endpoint.
//!
//! Path: `proxy::attempt` calls it when the pool has none to give.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::connection::Connection;
use super::endpoint::{Endpoint, OpenConnection};
use super::health::words;
use super::pool::PoolSettings;
use crate::wire::Wire;

/// Read buffer of an upstream connection, at most: a chunk this large keeps a long answer's cost per byte low, and
/// bounds what a connection holds.
const MAX_BUFFER: usize = 64 * 1024;

/// Why there is no connection.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// Nothing answered in time.
    #[error("no connection within {} ms", .0.as_millis())]
    Timeout(Duration),
    /// The system says why.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// As many connections as may be are open, all of them in use.
    #[error("as many connections as may be are open")]
    Full,
    /// The connection broke before it was ready.
    #[error("{0}")]
    Handshake(#[from] hyper::Error),
}

/// Connects to `endpoint` within `limit`.
///
/// # Errors
///
/// See [`ConnectError`].
pub async fn connect(
    endpoint: &Arc<Endpoint>,
    limit: Duration,
    settings: &PoolSettings,
) -> Result<Box<Connection>, ConnectError> {
    let connected = open(endpoint, limit, settings).await;
    note(endpoint, connected.as_ref().err());
    connected
}

/// Connects to `endpoint` within `limit` for bytes that are not HTTP's; only the bound on connections is of `settings`.
///
/// # Errors
///
/// See [`ConnectError`].
pub async fn dial(
    endpoint: &Arc<Endpoint>,
    limit: Duration,
    settings: &PoolSettings,
) -> Result<(TcpStream, OpenConnection), ConnectError> {
    let dialled = socket(endpoint, limit, settings).await;
    note(endpoint, dialled.as_ref().err());
    dialled
}

fn note(endpoint: &Endpoint, error: Option<&ConnectError>) {
    match error {
        None => endpoint.metrics.connects.inc(),
        Some(ConnectError::Full) => {}
        Some(error) => {
            endpoint.metrics.connect_failures.inc();
            let now = tokio::time::Instant::now().into_std();
            endpoint.note_error(&format!("connect: {}", words(error)), now);
        }
    }
}

async fn socket(
    endpoint: &Arc<Endpoint>,
    limit: Duration,
    settings: &PoolSettings,
) -> Result<(TcpStream, OpenConnection), ConnectError> {
    let counted = endpoint
        .open_connection(settings.connections)
        .ok_or(ConnectError::Full)?;
    let stream = timeout(limit, TcpStream::connect(endpoint.address))
        .await
        .map_err(|_| ConnectError::Timeout(limit))??;
    stream.set_nodelay(true)?;
    Ok((stream, counted))
}

async fn open(
    endpoint: &Arc<Endpoint>,
    limit: Duration,
    settings: &PoolSettings,
) -> Result<Box<Connection>, ConnectError> {
    let (stream, counted) = socket(endpoint, limit, settings).await?;
    let mut builder = http1::Builder::new();
    builder
        .max_buf_size(MAX_BUFFER)
        .preserve_header_case(settings.preserve_header_case);
    let (sender, driver) = builder.handshake(TokioIo::new(Wire(stream))).await?;
    Ok(Box::new(Connection::new(sender, driver, counted)))
}
