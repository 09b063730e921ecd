//! What the system tells the process.
//!
//! Path: `cli` waits here after the start. SIGTERM and SIGINT drain, a second one ends at once; SIGHUP reads the file
//! again.

use std::io;
use std::process::ExitCode;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::App;
use super::reload::{Cause, Trigger};

/// 128 and the signal's number, as shells count.
const INTERRUPTED: u8 = 130;
const TERMINATED: u8 = 143;

struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl App {
    /// Serves until a signal ends it; the program's exit code.
    ///
    /// # Errors
    ///
    /// When signals cannot be caught.
    pub fn run_until_signalled(self) -> io::Result<ExitCode> {
        let _context = self.control.enter();
        let mut signals = Signals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        };
        drop(_context);
        let triggers = self.triggers.clone();
        self.control.block_on(async {
            loop {
                tokio::select! {
                    _ = signals.interrupt.recv() => return,
                    _ = signals.terminate.recv() => return,
                    _ = signals.hangup.recv() => {
                        // When the queue is full, a reload is coming anyway.
                        let _ = triggers.try_send(Trigger { cause: Cause::Signal, reply: None });
                    }
                }
            }
        });
        self.control.spawn(end_at_once(signals));
        self.drain();
        Ok(ExitCode::SUCCESS)
    }
}

/// Ends the process with the next signal, whatever is under way.
#[allow(
    clippy::exit,
    reason = "the user asked a second time not to wait for anything"
)]
async fn end_at_once(mut signals: Signals) {
    let code = tokio::select! {
        _ = signals.interrupt.recv() => INTERRUPTED,
        _ = signals.terminate.recv() => TERMINATED,
    };
    tracing::warn!(detail = "a second signal cut the drain short", "stopped");
    std::process::exit(code.into());
}
