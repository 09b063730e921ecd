//! The real program, started as its users start it.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::client::{Answer, Client};
use super::{PATIENCE, eventually};

/// A running process. It is killed if its test forgets it.
pub struct Binary {
    child: Child,
    directory: tempfile::TempDir,
    /// Lines of standard error and standard output.
    pub err: Lines,
    pub out: Lines,
}

type Lines = Arc<Mutex<Vec<String>>>;

impl Binary {
    /// Starts with `yaml` (see [`super::proxy::complete`]) and waits until it is ready.
    pub fn start(yaml: &str) -> Self {
        let mut binary = Self::start_unread(yaml);
        binary.out = collect(binary.child.stdout.take().unwrap());
        binary
    }

    /// Likewise, but nobody reads its standard output, which is a pipe.
    pub fn start_unread(yaml: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let text = super::proxy::complete(yaml, directory.path());
        std::fs::write(directory.path().join("outrigger.yaml"), text).unwrap();
        let mut child = command(&directory.path().join("outrigger.yaml"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let binary = Self {
            err: collect(child.stderr.take().unwrap()),
            out: Lines::default(),
            child,
            directory,
        };
        eventually("the program is ready", || binary.event("ready").is_some());
        binary
    }

    pub fn path(&self) -> PathBuf {
        self.directory.path().join("outrigger.yaml")
    }

    pub fn write(&self, yaml: &str) {
        let text = super::proxy::complete(yaml, self.directory.path());
        std::fs::write(self.path(), text).unwrap();
    }

    /// The latest line of the program's own log with this message.
    pub fn event(&self, msg: &str) -> Option<serde_json::Value> {
        let lines = self.err.lock().unwrap();
        let mut events = lines
            .iter()
            .rev()
            .filter_map(|line| serde_json::from_str(line).ok());
        events.find(|event: &serde_json::Value| event["msg"] == msg)
    }

    fn told(&self, msg: &str, before: &str) -> SocketAddr {
        let detail = self.event(msg).unwrap()["detail"]
            .as_str()
            .unwrap()
            .to_string();
        let rest = detail.split(before).nth(1).unwrap();
        let address = rest.split([' ', ',']).next().unwrap();
        address.parse().unwrap()
    }

    /// Where the listener `inbound` is bound.
    pub fn address(&self) -> SocketAddr {
        self.told("listening", "inbound ")
    }

    pub fn client(&self) -> Client {
        Client::connect(self.address())
    }

    pub fn probe(&self, path: &str) -> Answer {
        Client::connect(self.told("ready", "metrics ")).get(path)
    }

    pub fn control(&self) -> SocketAddr {
        self.told("ready", "control ")
    }

    /// Sends a signal by its name: `TERM`, `INT`, `HUP`.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(sent.unwrap().success());
    }

    pub fn access_log(&self) -> Vec<String> {
        let text =
            std::fs::read_to_string(self.directory.path().join("access.log")).unwrap_or_default();
        text.lines().map(Into::into).collect()
    }

    /// Waits for the end of the process.
    pub fn wait(&mut self) -> ExitStatus {
        wait(&mut self.child)
    }
}

impl Drop for Binary {
    fn drop(&mut self) {
        // It may have ended long before.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// `outrigger run --config FILE`
pub fn command(file: &Path) -> Command {
    let mut command = program();
    command.args(["run", "--config"]).arg(file);
    command
}

/// The program without arguments.
pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_outrigger"));
    command.stdin(Stdio::null()).env_remove("RUST_LOG");
    command
}

pub fn wait(child: &mut Child) -> ExitStatus {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if begun.elapsed() > PATIENCE {
            drop(child.kill());
            panic!("the program did not end within {PATIENCE:?}");
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

fn collect(pipe: impl std::io::Read + Send + 'static) -> Lines {
    let lines = Lines::default();
    let own = Arc::clone(&lines);
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            own.lock().unwrap().push(line);
        }
    });
    lines
}
