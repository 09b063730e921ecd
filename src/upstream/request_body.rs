//! The request's body on its way to an endpoint.
//!
//! Path: `proxy::forward` opens an [`Upload`] → each attempt sends a [`RequestBody`] of it → hyper's driver in
//! [`super::connection`] polls that. It streams: a frame is taken from the client when the endpoint can take it. What has
//! gone by is kept up to a limit, so that another attempt can send it again; past the limit, or without memory, nothing is
//! kept and the body goes on streaming.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use parking_lot::Mutex;
use thiserror::Error;

use super::http2::Cut;
use super::replay_room::{Kept, ReplayRoom};
use crate::policy::body_rate::Pace;
use crate::policy::retry::Replayable;

/// Where an upload stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UploadState {
    /// Frames are flowing, or the endpoint is slow to take them.
    Flowing,
    /// The endpoint is ready, the client sends nothing.
    AwaitingClient,
    /// The client broke off.
    Failed,
    /// All of it was passed on.
    Complete,
}

/// Why a body does not go on.
#[derive(Debug, Error)]
pub enum UploadError {
    /// The client broke off.
    #[error("the client broke off")]
    Client(#[source] hyper::Error),
    /// It is longer than it may be.
    #[error("the body is too large")]
    TooLarge,
}

/// What holds for a body.
#[derive(Debug, Default)]
pub struct UploadRules {
    /// Up to so many bytes are kept for another attempt.
    pub keep: usize,
    /// So many bytes it may have.
    pub most: Option<u64>,
    /// What the client has to keep.
    pub pace: Option<Pace>,
}

/// A client's body, shared by the attempts that send it one after the other, and watched by the exchange.
#[derive(Debug)]
pub struct Upload {
    bytes: AtomicU64,
    state: AtomicU8,
    /// Longer it may not be.
    most: Option<u64>,
    /// How fast the client has to be, if it has to.
    pace: Option<Mutex<Pace>>,
    /// Nobody else wants the lock but for a moment between two attempts.
    source: Mutex<Source>,
}

#[derive(Debug)]
struct Source {
    incoming: Incoming,
    kept: Kept,
    tap: Option<Box<dyn Tap>>,
}

impl Upload {
    /// Streams `incoming`, of which some is kept in `room` for another attempt. `tap` sees it pass, once.
    pub fn new(
        incoming: Incoming,
        room: &Arc<ReplayRoom>,
        tap: Option<Box<dyn Tap>>,
        rules: UploadRules,
    ) -> Arc<Self> {
        Arc::new(Self {
            bytes: AtomicU64::new(0),
            state: AtomicU8::new(UploadState::Flowing as u8),
            most: rules.most,
            pace: rules.pace.map(Mutex::new),
            source: Mutex::new(Source {
                incoming,
                kept: Kept::new(rules.keep, room),
                tap,
            }),
        })
    }

    /// Whether it is longer than it may be.
    pub fn is_too_large(&self) -> bool {
        self.most.is_some_and(|most| self.bytes() > most)
    }

    /// Bytes taken from the client.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Where it stands.
    pub fn state(&self) -> UploadState {
        match self.state.load(Ordering::Relaxed) {
            0 => UploadState::Flowing,
            1 => UploadState::AwaitingClient,
            2 => UploadState::Failed,
            _ => UploadState::Complete,
        }
    }

    /// Whether the client was not yet asked for any of it.
    pub fn is_untouched(&self) -> bool {
        self.state() == UploadState::Flowing && self.bytes() == 0
    }

    /// Whether another attempt can send it from its beginning.
    pub fn replayable(&self) -> Replayable {
        if self.state() == UploadState::Failed {
            return Replayable::Lost;
        }
        self.source.lock().kept.replayable()
    }

    /// How long the client may go on as it does before anybody looks again; zero: it is too slow. `None`: nobody minds,
    /// or its part is over.
    pub fn patience(&self, now: Instant) -> Option<Duration> {
        let pace = self.pace.as_ref()?;
        match self.state() {
            UploadState::Failed | UploadState::Complete => None,
            UploadState::Flowing | UploadState::AwaitingClient => {
                Some(pace.lock().left(self.bytes(), now))
            }
        }
    }

    /// Lets the client take its time from now on.
    pub fn unhurried(&self) {
        if let Some(pace) = &self.pace {
            pace.lock().release();
        }
    }

    /// The body from its beginning, for an attempt; only one at a time is polled.
    pub fn body(self: &Arc<Self>) -> RequestBody {
        if let Some(pace) = &self.pace {
            // Between two attempts nobody asked the client.
            pace.lock().forgive();
        }
        let prefix = self.source.lock().kept.copy();
        let body = RequestBody {
            upload: Some(Arc::clone(self)),
            more: None,
        };
        body.after(prefix)
    }

    /// Gives what is kept back, and keeps nothing more: another attempt is impossible, or was not needed.
    pub fn forget(&self, why: Replayable) {
        self.source.lock().kept.give_up(why);
    }

    fn set(&self, state: UploadState) {
        self.state.store(state as u8, Ordering::Relaxed);
    }

    fn poll(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        if self.state() == UploadState::Complete {
            return Poll::Ready(None);
        }
        let source = &mut *self.source.lock();
        self.set(UploadState::AwaitingClient);
        let frame = Pin::new(&mut source.incoming).poll_frame(cx);
        if let Some(pace) = &self.pace {
            let now = tokio::time::Instant::now().into_std();
            match frame {
                Poll::Pending => pace.lock().awaits(now),
                Poll::Ready(_) => pace.lock().came(now),
            }
        }
        let frame = ready!(frame);
        let Some(Ok(frame)) = frame else {
            match frame {
                None => self.complete(source),
                Some(_) => self.set(UploadState::Failed),
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(UploadError::Client)));
        };
        let Some(data) = frame.data_ref() else {
            // Request trailers arrive after routing and would smuggle fields past it: not passed on.
            self.complete(source);
            return Poll::Ready(None);
        };
        self.bytes.fetch_add(data.len() as u64, Ordering::Relaxed);
        if self.is_too_large() {
            self.set(UploadState::Failed);
            return Poll::Ready(Some(Err(UploadError::TooLarge)));
        }
        source.kept.push(data);
        if let Some(tap) = &mut source.tap {
            tap.data(data);
        }
        // Nobody asks for what comes after the last frame of a known length.
        if is_at_end(&source.incoming) {
            self.complete(source);
        } else {
            self.set(UploadState::Flowing);
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn complete(&self, source: &mut Source) {
        self.set(UploadState::Complete);
        if let Some(mut tap) = source.tap.take() {
            tap.end();
        }
    }

    fn is_complete(&self) -> bool {
        self.state() == UploadState::Complete || is_at_end(&self.source.lock().incoming)
    }
}

/// Whether nothing follows. For hyper a stream that its client has reset is at an end, too, and only one without a length
/// could be taken for complete then: its end is what another poll tells.
fn is_at_end(incoming: &Incoming) -> bool {
    incoming.is_end_stream() && incoming.size_hint().exact() == Some(0)
}

/// Sees a body pass.
pub trait Tap: Send + Sync + std::fmt::Debug {
    /// These bytes come next.
    fn data(&mut self, data: &[u8]);
    /// All of it has passed. Not called if it breaks off; then the tap is just dropped.
    fn end(&mut self);
}

/// The body of a request to an endpoint. Small, for hyper moves it along with the request about ten times.
#[derive(Debug, Default)]
pub struct RequestBody {
    upload: Option<Arc<Upload>>,
    more: Option<Box<More>>,
}

/// What most requests have no need of.
#[derive(Debug, Default)]
struct More {
    /// What comes before the upload: what an earlier attempt took from the client.
    prefix: Bytes,
    /// Who may end its way, on HTTP/2.
    cut: Option<Arc<Cut>>,
}

impl RequestBody {
    /// A request without one.
    pub fn empty() -> Self {
        Self::default()
    }

    /// These bytes.
    pub fn full(bytes: Bytes) -> Self {
        Self::default().after(bytes)
    }

    fn after(mut self, prefix: Bytes) -> Self {
        if !prefix.is_empty() {
            self.more.get_or_insert_default().prefix = prefix;
        }
        self
    }

    /// Lets `cut` know that it is on its way.
    pub(super) fn watch(&mut self, cut: Arc<Cut>) {
        self.more.get_or_insert_default().cut = Some(cut);
    }

    fn prefix(&self) -> usize {
        self.more.as_ref().map_or(0, |more| more.prefix.len())
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = UploadError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        if let Some(more) = self.more.take() {
            if let Some(cut) = more.cut {
                cut.polled();
            }
            if !more.prefix.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(more.prefix))));
            }
        }
        match &self.upload {
            Some(upload) => upload.poll(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.prefix() == 0
            && self
                .upload
                .as_ref()
                .is_none_or(|upload| upload.is_complete())
    }

    fn size_hint(&self) -> SizeHint {
        let prefix = self.prefix() as u64;
        let Some(upload) = &self.upload else {
            return SizeHint::with_exact(prefix);
        };
        let rest = upload.source.lock().incoming.size_hint();
        match rest.exact() {
            Some(rest) => SizeHint::with_exact(prefix.saturating_add(rest)),
            None => SizeHint::default(),
        }
    }
}
