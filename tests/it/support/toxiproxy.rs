//! The real toxiproxy: a TCP proxy that does to connections what networks do.

use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};

use super::client::Client;
use super::{eventually, free_address};

/// A running toxiproxy; ends with its test.
pub struct Toxiproxy {
    child: Child,
    api: SocketAddr,
}

/// One of its proxies.
pub struct Link<'a> {
    owner: &'a Toxiproxy,
    pub address: SocketAddr,
    name: String,
}

impl Toxiproxy {
    /// Starts it if it is installed. In CI it has to be.
    pub fn start() -> Option<Self> {
        let api = free_address();
        let started = Command::new("toxiproxy-server")
            .args(["-host", "127.0.0.1", "-port", &api.port().to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let child = match started {
            Ok(child) => child,
            Err(error) => {
                assert!(
                    std::env::var_os("OUTRIGGER_CI").is_none(),
                    "toxiproxy-server: {error}"
                );
                #[allow(clippy::print_stderr, reason = "a skipped test says so")]
                {
                    eprintln!(
                        "SKIPPED: toxiproxy-server is not installed ({error}); tests/peers/install.sh ci installs it"
                    );
                }
                return None;
            }
        };
        let toxiproxy = Self { child, api };
        eventually("toxiproxy listens", || TcpStream::connect(api).is_ok());
        Some(toxiproxy)
    }

    /// A way to `upstream` that is sound so far.
    pub fn link(&self, upstream: SocketAddr) -> Link<'_> {
        let address = free_address();
        let name = format!("to-{}", address.port());
        let body = format!(
            r#"{{"name":"{name}","listen":"{address}","upstream":"{upstream}","enabled":true}}"#
        );
        let answer = Client::connect(self.api).post("/proxies", body.as_bytes());
        assert_eq!(answer.status(), 201, "{}", answer.text());
        Link {
            owner: self,
            address,
            name,
        }
    }
}

impl Link<'_> {
    /// Adds a toxic to what comes back from the upstream.
    pub fn poison(&self, kind: &str, attributes: &str) {
        let body =
            format!(r#"{{"type":"{kind}","stream":"downstream","attributes":{{{attributes}}}}}"#);
        let path = format!("/proxies/{}/toxics", self.name);
        let answer = Client::connect(self.owner.api).post(&path, body.as_bytes());
        assert_eq!(answer.status(), 200, "{}", answer.text());
    }
}

impl Drop for Toxiproxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
