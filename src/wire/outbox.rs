//! Small messages that leave together.
//!
//! Path: a leaf below [`super::Wire`]. A send wakes the peer if it sleeps, and that costs more than the send itself. So what
//! is small is put into the worker's outbox, and leaves when everybody who was ready at that moment has had a turn: then the
//! peers are woken once, and the kernel's code and the proxy's do not push each other out of the caches with each message.
//! Nobody waits for more to come: with one request under way, its message leaves in the worker's next step.
//!
//! To its owner the stream is as one whose socket has room: what the socket does not take stays here, and what it reports is
//! told at the owner's next write or flush, for which the owner is woken.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::mem::take;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker, ready};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// Longer ones leave at once: about what can be copied in the time that is won.
const SMALL: usize = 2048;

/// With so many bytes in it the outbox is emptied at once, which bounds its memory and how long the first one waits.
const FULL: usize = 64 * 1024;

thread_local! {
    static OUTBOX: RefCell<Outbox> = const { RefCell::new(Outbox::new()) };
}

/// What a worker is about to send.
struct Outbox {
    bytes: Vec<u8>,
    letters: Vec<Letter>,
    /// Without one, nothing is taken in.
    carrier: Option<Waker>,
}

/// Its bytes begin where those of the one before end.
struct Letter {
    sender: Arc<Outgoing>,
    end: usize,
}

/// A TCP stream whose small messages leave through the outbox of the worker on which it lives.
#[derive(Debug)]
pub struct Batched {
    incoming: OwnedReadHalf,
    outgoing: Arc<Outgoing>,
}

/// Where bytes go.
#[derive(Debug)]
struct Outgoing {
    /// Whether there is more to tell or to send than what is in the outbox; to be asked without the lock.
    behind: AtomicBool,
    /// Only one thread ever wants the lock.
    sending: Mutex<Sending>,
}

#[derive(Debug)]
struct Sending {
    /// There until the end.
    half: Option<OwnedWriteHalf>,
    /// How many letters are in the outbox.
    posted: usize,
    /// What the socket did not take.
    rest: Vec<u8>,
    error: Option<io::Error>,
    owner: Option<Waker>,
}

/// Carries letters out of this thread's outbox for as long as it is polled. Each worker has one; on a thread without, every
/// message leaves at once.
pub async fn carry() {
    let _closing = Closing;
    poll_fn(|cx| {
        OUTBOX.with_borrow_mut(|outbox| match &mut outbox.carrier {
            Some(carrier) => carrier.clone_from(cx.waker()),
            None => outbox.carrier = Some(cx.waker().clone()),
        });
        empty();
        Poll::<()>::Pending
    })
    .await;
}

/// Nobody carries anymore: what there is leaves now, and nothing is taken in.
struct Closing;

impl Drop for Closing {
    fn drop(&mut self) {
        // A thread that ends may have no outbox anymore.
        let _ = OUTBOX.try_with(|outbox| outbox.borrow_mut().carrier = None);
        empty();
    }
}

/// Sends what is in this thread's outbox.
fn empty() {
    let taken = |outbox: &RefCell<Outbox>| {
        let mut outbox = outbox.borrow_mut();
        (take(&mut outbox.bytes), take(&mut outbox.letters))
    };
    let Ok((mut bytes, mut letters)) = OUTBOX.try_with(taken) else {
        return;
    };
    let mut begin = 0;
    for Letter { sender, end } in letters.drain(..) {
        let letter = bytes.get(begin..end).unwrap_or_default();
        sender.send(letter);
        begin = end;
    }
    bytes.clear();
    let _ = OUTBOX.try_with(|outbox| {
        let mut outbox = outbox.borrow_mut();
        // Sending takes nothing in; but should it, what came in is not to be lost.
        if outbox.letters.is_empty() {
            (outbox.bytes, outbox.letters) = (bytes, letters);
        }
    });
}

impl Outbox {
    const fn new() -> Self {
        Self {
            bytes: Vec::new(),
            letters: Vec::new(),
            carrier: None,
        }
    }

    /// Takes `slices` in, if somebody carries and there is room.
    fn post(&mut self, sender: &Arc<Outgoing>, slices: &[IoSlice<'_>]) -> Posted {
        let Some(carrier) = &self.carrier else {
            return Posted::No;
        };
        if self.bytes.len() >= FULL {
            return Posted::No;
        }
        if self.letters.is_empty() {
            carrier.wake_by_ref();
        }
        for slice in slices {
            self.bytes.extend_from_slice(slice);
        }
        let end = self.bytes.len();
        match self.letters.last_mut() {
            // What one sends in a row leaves as one.
            Some(last) if Arc::ptr_eq(&last.sender, sender) => {
                last.end = end;
                Posted::WithTheLast
            }
            _ => {
                let sender = Arc::clone(sender);
                self.letters.push(Letter { sender, end });
                Posted::Anew
            }
        }
    }
}

/// What became of a message.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Posted {
    Anew,
    WithTheLast,
    /// It has to leave at once.
    No,
}

impl Outgoing {
    /// Sends a letter.
    fn send(&self, letter: &[u8]) {
        let mut sending = self.sending.lock();
        sending.posted -= 1;
        if !sending.send(letter) {
            self.behind.store(true, Ordering::Release);
            if let Some(owner) = &sending.owner {
                owner.wake_by_ref();
            }
        }
    }

    /// Whether the socket has taken what it had not, and all is well with it.
    fn poll_rest(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.behind.load(Ordering::Acquire) {
            return Poll::Ready(Ok(()));
        }
        let mut sending = self.sending.lock();
        let rest = ready!(sending.poll_rest(cx));
        self.behind.store(false, Ordering::Release);
        Poll::Ready(rest)
    }
}

impl Sending {
    fn half(&mut self) -> io::Result<Pin<&mut OwnedWriteHalf>> {
        let half = self.half.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        Ok(Pin::new(half))
    }

    /// Sends `letter`; whether all of it left.
    fn send(&mut self, letter: &[u8]) -> bool {
        if self.error.is_some() {
            return false;
        }
        let sent = match self.rest.is_empty() {
            true => self.half().and_then(|half| half.try_write(letter)),
            false => Ok(0),
        };
        match sent {
            Ok(sent) if sent == letter.len() => return true,
            Ok(sent) => self.rest.extend(letter.iter().skip(sent)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.rest.extend_from_slice(letter);
            }
            Err(error) => self.error = Some(error),
        }
        false
    }

    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(error) = self.error.take() {
            return Poll::Ready(Err(error));
        }
        while !self.rest.is_empty() {
            let Self { half, rest, .. } = self;
            let half = half.as_mut().ok_or(io::ErrorKind::NotConnected)?;
            let sent = ready!(Pin::new(half).poll_write(cx, rest))?;
            rest.drain(..sent);
        }
        Poll::Ready(Ok(()))
    }

    /// Remembers whom to wake.
    fn owned_by(&mut self, waker: &Waker) {
        match &mut self.owner {
            Some(owner) => owner.clone_from(waker),
            None => self.owner = Some(waker.clone()),
        }
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        // The stream is closed with its other half; to shut it down before is one system call more.
        if let Some(half) = self.half.take() {
            half.forget();
        }
    }
}

impl Batched {
    /// Lets `stream` use the outbox.
    pub fn new(stream: TcpStream) -> Self {
        let (incoming, half) = stream.into_split();
        let sending = Sending {
            half: Some(half),
            posted: 0,
            rest: Vec::new(),
            error: None,
            owner: None,
        };
        Self {
            incoming,
            outgoing: Arc::new(Outgoing {
                behind: AtomicBool::new(false),
                sending: Mutex::new(sending),
            }),
        }
    }

    /// The stream itself, to look at.
    pub fn stream(&self) -> &TcpStream {
        self.incoming.as_ref()
    }

    /// What was posted is on its way when this is ready.
    fn poll_sent(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let posted = self.outgoing.sending.lock().posted;
        if posted > 0 {
            empty();
        }
        self.outgoing.poll_rest(cx)
    }
}

impl AsyncRead for Batched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.incoming).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Batched {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length = slices.iter().map(|slice| slice.len()).sum();
        if length <= SMALL {
            ready!(self.outgoing.poll_rest(cx))?;
            let posted = OUTBOX.with_borrow_mut(|outbox| outbox.post(&self.outgoing, slices));
            if posted != Posted::No {
                let mut sending = self.outgoing.sending.lock();
                sending.posted += usize::from(posted == Posted::Anew);
                sending.owned_by(cx.waker());
                return Poll::Ready(Ok(length));
            }
        }
        ready!(self.poll_sent(cx))?;
        let mut sending = self.outgoing.sending.lock();
        sending.half()?.poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.outgoing.poll_rest(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_sent(cx))?;
        self.outgoing.sending.lock().half()?.poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
