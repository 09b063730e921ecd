//! The request's body on its way to an endpoint.
//!
//! Path: `proxy::attempt` wraps the client's body in it → hyper's driver in [`super::connection`] polls it. It streams:
//! a frame is taken from the client when the endpoint can take it, and nothing is kept.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

/// What the exchange wants to know about the client's body while hyper owns it.
#[derive(Debug, Default)]
pub struct UploadProgress {
    bytes: AtomicU64,
    state: AtomicU8,
}

/// Where an upload stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upload {
    /// Frames are flowing, or the endpoint is slow to take them.
    Flowing,
    /// The endpoint is ready, the client sends nothing.
    AwaitingClient,
    /// The client broke off.
    Failed,
    /// All of it was passed on.
    Complete,
}

impl UploadProgress {
    /// Bytes taken from the client.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Where it stands.
    pub fn state(&self) -> Upload {
        match self.state.load(Ordering::Relaxed) {
            0 => Upload::Flowing,
            1 => Upload::AwaitingClient,
            2 => Upload::Failed,
            _ => Upload::Complete,
        }
    }

    fn set(&self, state: Upload) {
        let number = match state {
            Upload::Flowing => 0,
            Upload::AwaitingClient => 1,
            Upload::Failed => 2,
            Upload::Complete => 3,
        };
        self.state.store(number, Ordering::Relaxed);
    }
}

/// Sees a body pass.
pub trait Tap: Send + Sync + std::fmt::Debug {
    /// These bytes come next.
    fn data(&mut self, data: &[u8]);
    /// All of it has passed. Not called if it breaks off; then the tap is just dropped.
    fn end(&mut self);
}

/// The body of a request to an endpoint.
#[derive(Debug)]
pub struct RequestBody {
    streaming: Option<(Incoming, Arc<UploadProgress>)>,
    /// What there is instead.
    full: Option<Bytes>,
    tap: Option<Box<dyn Tap>>,
}

impl RequestBody {
    /// A request without one.
    pub fn empty() -> Self {
        Self {
            streaming: None,
            full: None,
            tap: None,
        }
    }

    /// These bytes.
    pub fn full(bytes: Bytes) -> Self {
        Self {
            full: Some(bytes).filter(|bytes| !bytes.is_empty()),
            ..Self::empty()
        }
    }

    /// Shows `tap` what passes.
    pub fn tapped(self, tap: Option<Box<dyn Tap>>) -> Self {
        Self { tap, ..self }
    }

    /// Passes `body` on and keeps `progress` up to date.
    pub fn streaming(body: Incoming, progress: Arc<UploadProgress>) -> Self {
        Self {
            streaming: Some((body, progress)),
            ..Self::empty()
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        let Some((body, progress)) = &mut this.streaming else {
            return Poll::Ready(this.full.take().map(|bytes| Ok(Frame::data(bytes))));
        };
        progress.set(Upload::AwaitingClient);
        let frame = ready!(Pin::new(&mut *body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                // Nobody asks for what comes after the last frame of a known length.
                let last = body.is_end_stream();
                progress.set(if last {
                    Upload::Complete
                } else {
                    Upload::Flowing
                });
                if let Some(data) = frame.data_ref() {
                    if let Some(tap) = &mut this.tap {
                        tap.data(data);
                    }
                    if last {
                        end(&mut this.tap);
                    }
                    progress
                        .bytes
                        .fetch_add(data.len() as u64, Ordering::Relaxed);
                } else {
                    // Request trailers arrive after routing and would smuggle fields past it: not passed on.
                    progress.set(Upload::Complete);
                    end(&mut this.tap);
                    return Poll::Ready(None);
                }
            }
            Some(Err(_)) => progress.set(Upload::Failed),
            None => {
                progress.set(Upload::Complete);
                end(&mut this.tap);
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.streaming
            .as_ref()
            .map_or(self.full.is_none(), |(body, _)| body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.streaming.as_ref().map_or_else(
            || SizeHint::with_exact(self.full.as_ref().map_or(0, |full| full.len() as u64)),
            |(body, _)| body.size_hint(),
        )
    }
}

fn end(tap: &mut Option<Box<dyn Tap>>) {
    if let Some(mut tap) = tap.take() {
        tap.end();
    }
}
