//! The proxy, started in this process from a file in a directory of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use outrigger::admin::status::Outcome;
use outrigger::app::App;

use super::client::{Answer, Client};

/// A running proxy.
pub struct Proxy {
    app: Option<App>,
    directory: tempfile::TempDir,
}

impl Proxy {
    /// Starts with `yaml`, which may use `{dir}` for the file's directory. Admin addresses, one worker and an access
    /// log in a file are added where the text does not name them.
    pub fn start(yaml: &str) -> Self {
        Self::try_start(yaml).unwrap_or_else(|error| panic!("{error}"))
    }

    pub fn try_start(yaml: &str) -> Result<Self, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("outrigger.yaml");
        std::fs::write(&path, complete(yaml, directory.path())).unwrap();
        let app = App::start(&path).map_err(|error| error.to_string())?;
        Ok(Self {
            app: Some(app),
            directory,
        })
    }

    /// In front of one app.
    pub fn before(origin: SocketAddr) -> Self {
        Self::start(&minimal(origin))
    }

    /// In front of one app, whose failures are the client's.
    pub fn without_retries(origin: SocketAddr) -> Self {
        Self::start(&without_retries(origin))
    }

    /// In front of one app, with more lines at the end of the file.
    pub fn with(origin: SocketAddr, lines: &str) -> Self {
        Self::start(&format!("{}{lines}\n", minimal(origin)))
    }

    pub fn app(&self) -> &App {
        self.app.as_ref().expect("it runs")
    }

    /// Where the listener `inbound` is bound.
    pub fn address(&self) -> SocketAddr {
        self.listener("inbound")
    }

    pub fn listener(&self, name: &str) -> SocketAddr {
        self.app()
            .listener_address(name)
            .unwrap_or_else(|| panic!("no listener {name}"))
    }

    pub fn client(&self) -> Client {
        Client::connect(self.address())
    }

    pub fn path(&self) -> PathBuf {
        self.directory.path().join("outrigger.yaml")
    }

    /// Writes another text into the file, without asking for a reload.
    pub fn write(&self, yaml: &str) {
        // In one step: whoever follows the file must not read half of it.
        let new = self.path().with_extension("new");
        std::fs::write(&new, complete(yaml, self.directory.path())).unwrap();
        std::fs::rename(new, self.path()).unwrap();
    }

    /// The text that `yaml` becomes in the file.
    pub fn text(&self, yaml: &str) -> String {
        complete(yaml, self.directory.path())
    }

    /// Writes another text and waits until it is in force or refused.
    pub fn reload(&self, yaml: &str) -> Outcome {
        self.write(yaml);
        self.app().reload().expect("it runs")
    }

    /// A GET to the control address.
    pub fn control(&self, path: &str) -> Answer {
        Client::connect(self.app().control_address().expect("control")).get(path)
    }

    /// A GET to the probes' address.
    pub fn probe(&self, path: &str) -> Answer {
        Client::connect(self.app().probes_address().expect("probes")).get(path)
    }

    /// The value of a series, by its name and labels as printed.
    pub fn metric(&self, series: &str) -> f64 {
        let text = self.probe("/metrics").text();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().expect("a number"))
    }

    /// The access lines written so far.
    pub fn access_log(&self) -> Vec<serde_json::Value> {
        let text =
            std::fs::read_to_string(self.directory.path().join("access.log")).unwrap_or_default();
        // The last line may be half written.
        let complete = text.rfind('\n').map_or("", |end| &text[..end]);
        complete
            .lines()
            .map(|line| {
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
            })
            .collect()
    }

    /// Waits for the access line of `path`.
    pub fn access_line(&self, path: &str) -> serde_json::Value {
        let mut found = None;
        super::eventually(&format!("an access line for {path}"), || {
            found = self
                .access_log()
                .into_iter()
                .find(|line| line["path"] == path);
            found.is_some()
        });
        found.unwrap()
    }

    /// Ends it as a signal would.
    pub fn drain(mut self) -> outrigger::app::shutdown::Drained {
        self.app.take().expect("it runs").drain()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(app) = self.app.take() {
            app.stop();
        }
    }
}

/// The smallest file, in front of `origin`.
pub fn minimal(origin: SocketAddr) -> String {
    format!(
        "listeners:\n  inbound: {{ address: 127.0.0.1:0, forward: app }}\nupstreams:\n  app: {{ endpoints: [{origin}] }}\n"
    )
}

/// The same without retries.
pub fn without_retries(origin: SocketAddr) -> String {
    format!(
        "listeners:\n  inbound: {{ address: 127.0.0.1:0 }}\nroutes: [{{ name: app, forward: app, retry: off }}]\nupstreams:\n  app: {{ endpoints: [{origin}] }}\n"
    )
}

/// Adds what a test does not care about.
pub fn complete(yaml: &str, directory: &Path) -> String {
    let mut text = yaml.replace("{dir}", &directory.display().to_string());
    for (key, line) in [
        (
            "admin:",
            "admin: { probes: 127.0.0.1:0, control: 127.0.0.1:0 }".to_string(),
        ),
        ("workers:", "workers: 1".to_string()),
        (
            "access_log:",
            format!("access_log: {{ file: {}/access.log }}", directory.display()),
        ),
    ] {
        if !text.lines().any(|present| present.starts_with(key)) {
            text.push_str(&line);
            text.push('\n');
        }
    }
    text
}
