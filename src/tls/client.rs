//! Handshakes with endpoints.
//!
//! Path: `upstream::connect` and health checks call [`ClientTls::connect`]. Whoever cannot be verified is not sent a byte
//! of a request: its certificate has to be for the name that is asked for and to lead to an authority that is believed
//! (RFC 9525). The caller says what is going to be spoken; only that is offered (RFC 7301). Sessions are resumed as
//! rustls does it, until the files change: what they say now holds for every handshake from then on.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::current::{Current, Fresh, Renewal};
use super::fault::Fault;
use super::files::{self, PairFiles, Trouble};

/// Whom an upstream believes, and what it shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientFiles {
    /// Certificates of authorities; `None`: those of the system.
    pub ca: Option<PathBuf>,
    /// What is shown to an endpoint that asks.
    pub pair: Option<PairFiles>,
    /// Whether certificates of endpoints count at all.
    pub trust: Trust,
}

impl ClientFiles {
    /// Every file; those of the system are not followed.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        let pair = self.pair.iter().flat_map(PairFiles::paths);
        pair.chain(self.ca.as_deref())
    }
}

/// Whether endpoints have to prove who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// They have.
    Verified,
    /// Anybody is believed, also somebody in between.
    Blind,
}

/// What is going to be spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offer {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
    /// Something of which we do not know more.
    Bytes,
}

/// Whom to ask for.
#[derive(Debug, Clone, Copy)]
pub struct Peer<'a> {
    /// Its name in the file, if it has one there.
    pub host: Option<&'a str>,
    /// Its address.
    pub ip: IpAddr,
}

/// TLS of one upstream.
#[derive(Debug)]
pub struct ClientTls {
    files: ClientFiles,
    /// What is asked for; `None`: the endpoint's own name or address.
    server_name: Option<ServerName<'static>>,
    current: Current<Configs>,
}

/// One for each [`Offer`].
#[derive(Debug)]
struct Configs {
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
    bytes: Arc<ClientConfig>,
}

impl ClientTls {
    /// With nothing to go by yet; see [`Self::load`].
    pub fn new(files: ClientFiles, server_name: Option<ServerName<'static>>) -> Self {
        Self {
            files,
            server_name,
            current: Current::default(),
        }
    }

    /// Reads the files if they have changed. New handshakes use what they say; if one of them cannot be used, what there
    /// was stays.
    pub fn load(&self) -> Renewal {
        self.current.renew(self.files.paths(), || read(&self.files))
    }

    /// The end of the own certificate's validity, in seconds since 1970, if there is one.
    pub fn expiries(&self) -> Vec<i64> {
        self.current.expiries()
    }

    /// What it reads.
    pub fn files(&self) -> &ClientFiles {
        &self.files
    }

    /// Shakes hands with `peer`. The caller bounds the wait.
    ///
    /// # Errors
    ///
    /// See [`Fault`].
    pub async fn connect(
        &self,
        stream: TcpStream,
        peer: Peer<'_>,
        offer: Offer,
    ) -> Result<TlsStream<TcpStream>, Fault> {
        let current = self.current.get();
        let current = current.ok_or_else(|| Fault::own("the files of `tls` cannot be used"))?;
        let config = match offer {
            Offer::Http1 => &current.http1,
            Offer::Http2 => &current.http2,
            Offer::Bytes => &current.bytes,
        };
        TlsConnector::from(Arc::clone(config))
            .connect(self.name(peer), stream)
            .await
            .map_err(|error| Fault::of(&error))
    }

    /// A name goes into the handshake (SNI, RFC 6066 §3), an address does not; the certificate has to be for either.
    fn name(&self, peer: Peer<'_>) -> ServerName<'static> {
        if let Some(name) = &self.server_name {
            return name.clone();
        }
        let host = peer.host.map(|host| host.trim_end_matches('.').to_owned());
        let host = host.and_then(|host| ServerName::try_from(host).ok());
        host.unwrap_or_else(|| ServerName::from(peer.ip))
    }
}

fn read(files: &ClientFiles) -> Result<Fresh<Configs>, Trouble> {
    let pair = files.pair.as_ref().map(files::pair).transpose()?;
    let expiries = pair.iter().map(|pair| pair.expires).collect();
    let builder = ClientConfig::builder_with_provider(super::provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| Trouble {
            path: files.ca.clone().unwrap_or_default(),
            what: error.to_string(),
            remedy: "write the files again",
        })?;
    let builder = match (files.trust, &files.ca) {
        (Trust::Blind, _) => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody::new())),
        (Trust::Verified, Some(ca)) => builder.with_root_certificates(files::roots(ca)?),
        (Trust::Verified, None) => builder.with_root_certificates(files::system_roots()?),
    };
    let config = match pair {
        None => builder.with_no_client_auth(),
        Some(pair) => {
            let own = SingleCertAndKey::from((*pair.certified).clone());
            builder.with_client_cert_resolver(Arc::new(own))
        }
    };
    let offering = |protocols: &[&[u8]]| {
        let mut config = config.clone();
        config.alpn_protocols = protocols.iter().map(|it| it.to_vec()).collect();
        Arc::new(config)
    };
    let configs = Configs {
        http1: offering(&[b"http/1.1"]),
        http2: offering(&[b"h2"]),
        bytes: offering(&[]),
    };
    Ok((configs, expiries))
}

/// Believes any certificate; that the peer has its key is still looked at.
#[derive(Debug)]
struct Anybody {
    algorithms: WebPkiSupportedAlgorithms,
}

impl Anybody {
    fn new() -> Self {
        let provider = super::provider();
        Self {
            algorithms: provider.signature_verification_algorithms,
        }
    }
}

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
