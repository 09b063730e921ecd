//! Handshakes with clients.
//!
//! Path: `downstream::connection` calls [`ServerTls::accept`] for each connection of a listener with TLS. Bounded: by a
//! deadline, and by a number of handshakes under way, for each costs a signature. Who has not sent a byte is not under
//! way yet. Sessions are resumed by tickets under one key for all listeners, renewed every six hours; where clients are
//! to show certificates nothing is resumed, for that would skip looking at them.

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::{NoServerSessionStorage, ProducesTickets, WebPkiClientVerifier};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::current::{Current, Fresh, Renewal};
use super::files::{self, PairFiles, Trouble};
use super::hello::Handshake;
use super::identity::{self, Allowed, Guest};
use super::names::ByName;

/// The protocols that are offered (RFC 7301), the better first.
const PROTOCOLS: [&[u8]; 2] = [H2, b"http/1.1"];

/// HTTP/2 (RFC 9113 §3.2).
const H2: &[u8] = b"h2";

/// Handshakes of one listener under way at once; more wait for their turn until their deadline.
const UNDER_WAY: usize = 1000;

/// First byte of every TLS connection: a handshake record (RFC 8446 §5.1).
const RECORD: u8 = 22;

/// What a listener shows and asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerFiles {
    /// The first one is shown to who asks for a name that none has.
    pub pairs: Vec<PairFiles>,
    /// Whose certificates clients have to show; `None`: they are not asked.
    pub client: Option<ClientFiles>,
}

impl ServerFiles {
    /// Every file.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        let pairs = self.pairs.iter().flat_map(PairFiles::paths);
        pairs.chain(self.client.as_ref().map(|client| &*client.ca))
    }
}

/// Whose clients are believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientFiles {
    /// Certificates of authorities.
    pub ca: PathBuf,
    /// Whether a client may show none.
    pub may_show_none: bool,
    /// Who of them may come in; `None`: all whom `ca` vouches for.
    pub allowed: Option<Box<[Allowed]>>,
}

/// TLS of one listener.
#[derive(Debug)]
pub struct ServerTls {
    files: ServerFiles,
    current: Current<ServerConfig>,
    slots: Semaphore,
}

/// A handshake that has succeeded.
#[derive(Debug)]
pub struct Accepted {
    /// What to go on with.
    pub stream: TlsStream<TcpStream>,
    /// Whether HTTP/2 was agreed on; HTTP/1.1 otherwise.
    pub is_http2: bool,
    /// Who the client is by the certificate that it has shown.
    pub identity: Option<Box<str>>,
}

/// A handshake that has not.
#[derive(Debug)]
pub struct Rejected {
    /// Why.
    pub why: Handshake,
    /// The socket, if it can still be written to as it is.
    pub plain: Option<TcpStream>,
    /// The socket, if the client was told why by an alert, which it may not have read.
    pub told: Option<TcpStream>,
}

impl From<Handshake> for Rejected {
    fn from(why: Handshake) -> Self {
        Self {
            why,
            plain: None,
            told: None,
        }
    }
}

impl ServerTls {
    /// With nothing to show yet; see [`Self::load`].
    pub fn new(files: ServerFiles) -> Self {
        Self {
            files,
            current: Current::default(),
            slots: Semaphore::new(UNDER_WAY),
        }
    }

    /// Reads the files if they have changed. New handshakes use what they say; if one of them cannot be used, what there
    /// was stays.
    pub fn load(&self) -> Renewal {
        self.current.renew(self.files.paths(), || read(&self.files))
    }

    /// The ends of the certificates' validity, in seconds since 1970.
    pub fn expiries(&self) -> Vec<i64> {
        self.current.expiries()
    }

    /// What it reads.
    pub fn files(&self) -> &ServerFiles {
        &self.files
    }

    /// Shakes hands within `limit`.
    ///
    /// # Errors
    ///
    /// See [`Rejected`].
    pub async fn accept(&self, stream: TcpStream, limit: Duration) -> Result<Accepted, Rejected> {
        timeout(limit, self.shake(stream))
            .await
            .unwrap_or(Err(Handshake::Timeout.into()))
    }

    async fn shake(&self, stream: TcpStream) -> Result<Accepted, Rejected> {
        let mut first = [0];
        match stream.peek(&mut first).await {
            Ok(1) => {}
            Ok(_) => return Err(Handshake::Closed.into()),
            Err(error) => return Err(Handshake::of(&error).into()),
        }
        // A method begins with a letter, and a person with a wrong scheme deserves an answer to read.
        if first[0].is_ascii_alphabetic() {
            return Err(Rejected {
                why: Handshake::PlainHttp,
                plain: Some(stream),
                told: None,
            });
        }
        if first[0] != RECORD {
            return Err(Handshake::NotTls.into());
        }
        // The semaphore is never closed.
        let _slot = self.slots.acquire().await;
        let Some(config) = self.current.get() else {
            return Err(Handshake::NotReady.into());
        };
        let accepted = TlsAcceptor::from(config).accept(stream).into_fallible();
        let stream = accepted.await.map_err(|(error, stream)| {
            let why = Handshake::of(&error);
            Rejected {
                why,
                plain: None,
                told: why.is_told().then_some(stream),
            }
        })?;
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(H2);
        let shown = self.files.client.as_ref().and_then(|_| {
            let certificates = stream.get_ref().1.peer_certificates()?;
            identity::identity(certificates.first()?)
        });
        Ok(Accepted {
            stream,
            is_http2,
            identity: shown,
        })
    }
}

fn read(files: &ServerFiles) -> Result<Fresh<ServerConfig>, Trouble> {
    let pairs = files.pairs.iter().map(files::pair);
    let pairs = pairs.collect::<Result<Vec<_>, _>>()?;
    let expiries = pairs.iter().map(|pair| pair.expires).collect();
    let unusable = |path: PathBuf, what: String| Trouble {
        path,
        what,
        remedy: "write the files again",
    };
    let own = || {
        files
            .pairs
            .first()
            .map_or_else(PathBuf::new, |it| it.cert.clone())
    };
    let names = ByName::new(pairs.into_iter().map(|pair| pair.certified));
    let names = names.ok_or_else(|| unusable(own(), "is not there".into()))?;
    let builder = ServerConfig::builder_with_provider(super::provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(own(), error.to_string()))?;
    let builder = match &files.client {
        None => builder.with_no_client_auth(),
        Some(client) => {
            let roots = files::roots(&client.ca)?;
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, super::provider());
            let verifier = if client.may_show_none {
                verifier.allow_unauthenticated()
            } else {
                verifier
            };
            let verifier = verifier
                .build()
                .map_err(|error| unusable(client.ca.clone(), error.to_string()))?;
            builder.with_client_cert_verifier(match &client.allowed {
                None => verifier,
                Some(list) => Arc::new(Guest {
                    verifier,
                    list: list.clone(),
                }),
            })
        }
    };
    let mut config = builder.with_cert_resolver(Arc::new(names));
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    // All ciphers are good, so it is one order as well as another; ours is the same for every client.
    config.ignore_client_order = true;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    match (&files.client, &*TICKETS) {
        (None, Some(tickets)) => config.ticketer = Arc::clone(tickets),
        _ => config.send_tls13_tickets = 0,
    }
    Ok((config, expiries))
}

/// One key for all: a client may come back to any worker, after any reload.
static TICKETS: LazyLock<Option<Arc<dyn ProducesTickets>>> = LazyLock::new(|| Ticketer::new().ok());
