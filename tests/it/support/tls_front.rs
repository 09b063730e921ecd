//! TLS in front of an app: shakes hands as a test tells it, notes what it was asked for, and passes bytes on.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;

use super::tls::{Authority, Pair};

/// How it shakes hands.
pub struct Manner<'a> {
    pub pair: &'a Pair,
    pub alpn: &'a [&'a str],
    /// Whose certificates clients have to show.
    pub asking: Option<&'a Authority>,
    pub versions: &'a [&'static rustls::SupportedProtocolVersion],
}

impl<'a> Manner<'a> {
    pub fn of(pair: &'a Pair) -> Self {
        Self {
            pair,
            alpn: &["http/1.1"],
            asking: None,
            versions: rustls::ALL_VERSIONS,
        }
    }

    pub fn alpn(mut self, alpn: &'a [&'a str]) -> Self {
        self.alpn = alpn;
        self
    }

    pub fn asking(mut self, authority: &'a Authority) -> Self {
        self.asking = Some(authority);
        self
    }

    pub fn versions(mut self, versions: &'a [&'static rustls::SupportedProtocolVersion]) -> Self {
        self.versions = versions;
        self
    }

    fn config(&self) -> Arc<ServerConfig> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(self.versions)
            .unwrap();
        let builder = match self.asking {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                let ca = CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap();
                roots.add(ca).unwrap();
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let key = PrivateKeyDer::from_pem_slice(self.pair.key.as_bytes()).unwrap();
        let mut config = builder
            .with_single_cert(vec![self.pair.der()], key)
            .unwrap();
        config.alpn_protocols = self.alpn.iter().map(|it| it.as_bytes().to_vec()).collect();
        Arc::new(config)
    }
}

/// A handshake that has succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shaken {
    pub name: Option<String>,
    pub protocol: Option<String>,
    pub certificate: Option<CertificateDer<'static>>,
}

/// A running one.
pub struct TlsFront {
    address: SocketAddr,
    config: Arc<Mutex<Arc<ServerConfig>>>,
    shaken: Arc<Mutex<Vec<Shaken>>>,
    runtime: Option<Runtime>,
}

impl TlsFront {
    pub fn start(app: SocketAddr, manner: &Manner<'_>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let config = Arc::new(Mutex::new(manner.config()));
        let shaken = Arc::<Mutex<Vec<Shaken>>>::default();
        let (current, notes) = (Arc::clone(&config), Arc::clone(&shaken));
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let config = Arc::clone(&current.lock().unwrap());
                tokio::spawn(pass(stream, config, Arc::clone(&notes), app));
            }
        });
        Self {
            address,
            config,
            shaken,
            runtime: Some(runtime),
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From the next handshake on.
    pub fn change(&self, manner: &Manner<'_>) {
        *self.config.lock().unwrap() = manner.config();
    }

    /// The handshakes that have succeeded.
    pub fn shaken(&self) -> Vec<Shaken> {
        self.shaken.lock().unwrap().clone()
    }
}

impl Drop for TlsFront {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(1));
        }
    }
}

async fn pass(
    stream: TcpStream,
    config: Arc<ServerConfig>,
    notes: Arc<Mutex<Vec<Shaken>>>,
    app: SocketAddr,
) {
    stream.set_nodelay(true).unwrap();
    let Ok(mut stream) = TlsAcceptor::from(config).accept(stream).await else {
        return;
    };
    let (_, tls) = stream.get_ref();
    let certificates = tls.peer_certificates().unwrap_or_default();
    notes.lock().unwrap().push(Shaken {
        name: tls.server_name().map(str::to_owned),
        protocol: (tls.alpn_protocol()).map(|it| String::from_utf8(it.to_vec()).unwrap()),
        certificate: certificates.first().map(|it| it.clone().into_owned()),
    });
    if let Ok(mut app) = TcpStream::connect(app).await {
        // Whoever ends it, it has ended.
        let _ = copy_bidirectional(&mut stream, &mut app).await;
    }
}

/// An address where somebody answers in HTTP whatever is said.
pub fn deaf() -> SocketAddr {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            if stream.read(&mut [0; 4096]).is_ok_and(|count| count > 0) {
                let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
            }
        }
    });
    address
}
