//! The end of a connection whose client may still be sending.
//!
//! Path: [`super::connection`] comes here when HTTP/1 has ended, our side of the socket is shut, and the last request was
//! not read to its end. To close then would reset the connection, and the reset overtakes the answer: the client would
//! never learn why it was refused. So what still comes is read and thrown away for a while (RFC 9112 §9.6).

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

use super::state::{ConnState, Order};

/// How long the client may take to notice.
const PATIENCE: Duration = Duration::from_secs(5);

/// Bytes thrown away at a time.
const SINK: usize = 16 * 1024;

/// Reads from `io` until the client ends its side, or has had its time, or the connection is cut.
pub async fn linger(state: &ConnState, mut io: impl AsyncRead + Unpin) {
    let mut reading = pin!(timeout(PATIENCE, async move {
        let mut sink = vec![0; SINK];
        while let Ok(1..) = io.read(&mut sink).await {}
    }));
    poll_fn(|cx| match state.order() {
        // It is over already; there is nothing to finish.
        Order::Serve | Order::Finish => reading.as_mut().poll(cx).map(drop),
        Order::HeaderTimeout | Order::IdleTimeout | Order::Abuse | Order::Cut => Poll::Ready(()),
    })
    .await;
}
