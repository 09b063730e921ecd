//! What the system tells the process.
//!
//! Path: `cli` waits here after the start. SIGTERM and SIGINT drain, a second one ends at once; SIGHUP reads the file
//! again, SIGUSR1 opens the access log anew.

use std::io;
use std::process::ExitCode;

use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::App;
use super::reload::{Cause, Trigger};

/// 128 and the signal's number, as shells count.
const INTERRUPTED: u8 = 130;
const TERMINATED: u8 = 143;

/// Signals that are caught from now on, so that one that comes during the start is not lost and does not kill.
#[derive(Debug)]
pub struct Signals {
    runtime: Runtime,
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    reopen: Signal,
}

impl Signals {
    /// Begins to catch them.
    ///
    /// # Errors
    ///
    /// When the system does not let us.
    pub fn catch() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let context = runtime.enter();
        let interrupt = signal(SignalKind::interrupt())?;
        let terminate = signal(SignalKind::terminate())?;
        let hangup = signal(SignalKind::hangup())?;
        let reopen = signal(SignalKind::user_defined1())?;
        drop(context);
        Ok(Self {
            runtime,
            interrupt,
            terminate,
            hangup,
            reopen,
        })
    }
}

impl App {
    /// Serves until a signal ends it; the program's exit code.
    pub fn run_until_signalled(self, signals: Signals) -> ExitCode {
        let Signals {
            runtime,
            mut interrupt,
            mut terminate,
            mut hangup,
            mut reopen,
        } = signals;
        runtime.block_on(async {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => return,
                    _ = terminate.recv() => return,
                    _ = reopen.recv() => self.reopen_log(),
                    _ = hangup.recv() => {
                        // When the queue is full, a reload is coming anyway.
                        let _ = self.triggers.try_send(Trigger { cause: Cause::Signal, reply: None });
                    }
                }
            }
        });
        // Without a thread to wait on, a second signal is only ignored: the drain has an end of its own.
        let _ = std::thread::Builder::new()
            .name("signals".into())
            .spawn(move || runtime.block_on(end_at_once(interrupt, terminate)));
        self.drain();
        ExitCode::SUCCESS
    }
}

/// Ends the process with the next signal, whatever is under way.
#[allow(
    clippy::exit,
    reason = "the user asked a second time not to wait for anything"
)]
async fn end_at_once(mut interrupt: Signal, mut terminate: Signal) {
    let code = tokio::select! {
        _ = interrupt.recv() => INTERRUPTED,
        _ = terminate.recv() => TERMINATED,
    };
    tracing::warn!(detail = "a second signal cut the drain short", "stopped");
    std::process::exit(code.into());
}
