//! The thread that writes access lines, and the buffers that feed it.
//!
//! Path: a finished exchange appends its line to its worker's [`LineBuffer`]; the worker hands over whole blocks.
//! Nothing on the request path waits for a pipe or a disk: when the writer cannot keep up, blocks are dropped and counted.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use parking_lot::Mutex;
use prometheus::IntCounter;
use tokio::sync::Notify;

/// A block is handed over when it has grown to this many bytes: large enough that to wake the writer, which may interrupt
/// the worker, costs little per line, small enough to stay in the cache.
const BLOCK: usize = 128 * 1024;

/// Blocks that may wait for the writer: 4 MiB in all, then lines are dropped.
const QUEUE: usize = 32;

/// How long a flush may wait for a stuck output before it gives up.
const FLUSH_PATIENCE: Duration = Duration::from_secs(2);

/// Where lines go.
#[derive(Debug)]
pub enum Output {
    /// Standard output.
    Stdout,
    /// A file, appended to.
    File(File),
}

impl Output {
    /// Opens `path` for appending.
    ///
    /// # Errors
    ///
    /// As the operating system reports them.
    pub fn file(path: &Path) -> io::Result<Self> {
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .map(Self::File)
    }

    fn write(&mut self, block: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout => {
                let mut out = io::stdout().lock();
                out.write_all(block)?;
                out.flush()
            }
            Self::File(file) => file.write_all(block),
        }
    }
}

enum Message {
    Block(Vec<u8>, u64),
    Output(Output),
    Flush(SyncSender<()>),
}

/// The way to the writer thread.
#[derive(Debug, Clone)]
pub struct LineWriter {
    queue: SyncSender<Message>,
    dropped: IntCounter,
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Block(..) => "Block",
            Self::Output(_) => "Output",
            Self::Flush(_) => "Flush",
        })
    }
}

impl LineWriter {
    /// Starts the thread. It ends when the last `LineWriter` is dropped. Lost lines are counted in `dropped`.
    ///
    /// # Errors
    ///
    /// When the system has no thread to give.
    pub fn start(output: Output, dropped: IntCounter) -> io::Result<Self> {
        let (queue, messages) = sync_channel(QUEUE);
        let lost = dropped.clone();
        std::thread::Builder::new()
            .name("access-log".into())
            .spawn(move || write_all(&messages, output, &lost))?;
        Ok(Self { queue, dropped })
    }

    /// Sends all further lines to `output`.
    pub fn redirect(&self, output: Output) {
        // A full queue empties or the writer is stuck for good; then the new output would not be reached either.
        let _ = self.queue.try_send(Message::Output(output));
    }

    /// Waits until everything handed over is written, at most two seconds. Blocks: not for a worker.
    pub fn flush(&self) {
        let (done, wait) = sync_channel(1);
        if self.queue.try_send(Message::Flush(done)).is_ok() {
            let _ = wait.recv_timeout(FLUSH_PATIENCE);
        }
    }

    fn submit(&self, block: Vec<u8>, lines: u64) {
        if self.queue.try_send(Message::Block(block, lines)).is_err() {
            self.dropped.inc_by(lines);
        }
    }
}

fn write_all(messages: &Receiver<Message>, mut output: Output, lost: &IntCounter) {
    while let Ok(message) = messages.recv() {
        match message {
            Message::Block(block, lines) => {
                if output.write(&block).is_err() {
                    lost.inc_by(lines);
                }
            }
            Message::Output(next) => output = next,
            Message::Flush(done) => drop(done.send(())),
        }
    }
}

/// One worker's unwritten lines.
#[derive(Debug)]
pub struct LineBuffer {
    lines: Mutex<Lines>,
    writer: LineWriter,
    filled: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Lines {
    bytes: Vec<u8>,
    count: u64,
}

impl LineBuffer {
    /// A buffer in front of `writer`.
    pub fn new(writer: LineWriter) -> Self {
        Self {
            lines: Mutex::default(),
            writer,
            filled: Arc::default(),
        }
    }

    /// Appends what `write` writes as one line.
    pub fn append(&self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut lines = self.lines.lock();
        let first = lines.count == 0;
        write(&mut lines.bytes);
        lines.bytes.push(b'\n');
        lines.count += 1;
        if lines.bytes.len() >= BLOCK {
            self.hand_over(&mut lines);
        } else if first {
            self.filled.notify_one();
        }
    }

    /// Hands the lines to the writer now.
    pub fn flush(&self) {
        self.hand_over(&mut self.lines.lock());
    }

    /// Completes when a line is waiting to be flushed.
    pub async fn filled(&self) {
        self.filled.notified().await;
    }

    fn hand_over(&self, lines: &mut Lines) {
        if lines.count > 0 {
            let full = std::mem::replace(
                lines,
                Lines {
                    bytes: Vec::with_capacity(BLOCK + 1024),
                    count: 0,
                },
            );
            self.writer.submit(full.bytes, full.count);
        }
    }
}

impl Drop for LineBuffer {
    fn drop(&mut self) {
        self.flush();
    }
}
