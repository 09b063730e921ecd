//! Asks DNS for the addresses of a name, and how long they are good for.
//!
//! Path: [`super::follow_names`] → here → the servers of the file or of `/etc/resolv.conf`. One resolver for the process;
//! it keeps no answers, for whoever asks knows when to ask again. Search domains, `ndots` and `/etc/hosts` count as they
//! do for every program. Addresses that no endpoint can have (0.0.0.0, multicast) are left out: 0.0.0.0 is how filters
//! say no, and a connection to it would end at this host.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{RData, RecordType};
use tokio::time::timeout;

use super::directory::{Answer, FamilyAnswer, MAX_ENDPOINTS};
use crate::telemetry::health::LookupResult;
use crate::upstream::health::words;

/// Tries at one server.
const ATTEMPTS: usize = 2;

/// A lookup with its search domains and all servers may take so many single answers' time.
const ANSWERS: u32 = 6;

/// Which addresses are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// All.
    Any,
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Whom to ask, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsSettings {
    /// The servers; empty: those of `/etc/resolv.conf`.
    pub servers: Vec<SocketAddr>,
    /// Which addresses are wanted.
    pub family: Family,
    /// How long a server may take for one answer.
    pub timeout: Duration,
}

/// The resolver.
#[derive(Debug)]
pub struct Dns {
    resolver: Result<TokioResolver, String>,
    family: Family,
    limit: Duration,
}

impl Dns {
    /// A system without `/etc/resolv.conf` gets a resolver that fails, and says why.
    pub fn new(settings: &DnsSettings) -> Self {
        Self {
            resolver: resolver(settings),
            family: settings.family,
            limit: settings.timeout.saturating_mul(ANSWERS),
        }
    }

    /// The addresses of `host`.
    pub async fn lookup(&self, host: &str) -> Answer {
        let (v4, v6) = match self.family {
            Family::Any => tokio::join!(
                self.family(host, RecordType::A),
                self.family(host, RecordType::AAAA)
            ),
            Family::V4 => (
                self.family(host, RecordType::A).await,
                FamilyAnswer::NotAsked,
            ),
            Family::V6 => (
                FamilyAnswer::NotAsked,
                self.family(host, RecordType::AAAA).await,
            ),
        };
        Answer([v4, v6])
    }

    async fn family(&self, host: &str, kind: RecordType) -> FamilyAnswer {
        let resolver = match &self.resolver {
            Ok(resolver) => resolver,
            Err(error) => return FamilyAnswer::Failed(LookupResult::Error, error.clone()),
        };
        match timeout(self.limit, resolver.lookup(host, kind)).await {
            Ok(Ok(lookup)) => addresses(&lookup),
            Ok(Err(error)) => failed(&error),
            Err(_) => no_answer(),
        }
    }
}

fn resolver(settings: &DnsSettings) -> Result<TokioResolver, String> {
    let provider = TokioRuntimeProvider::default;
    let unreadable = |error: NetError| format!("/etc/resolv.conf: {}", words(&error));
    let mut builder = if settings.servers.is_empty() {
        TokioResolver::builder(provider()).map_err(unreadable)?
    } else {
        let servers = settings.servers.iter().map(|server| name_server(*server));
        let config = ResolverConfig::from_parts(None, Vec::new(), servers.collect());
        TokioResolver::builder_with_config(config, provider())
    };
    let options: &mut ResolverOpts = builder.options_mut();
    options.cache_size = 0;
    options.timeout = settings.timeout;
    options.attempts = ATTEMPTS;
    builder.build().map_err(|error| words(&error))
}

fn name_server(server: SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = server.port();
        connection
    });
    NameServerConfig::new(server.ip(), true, connections.into())
}

fn addresses(lookup: &Lookup) -> FamilyAnswer {
    let records = lookup.answers();
    let ttl = records.iter().map(|record| record.ttl).min();
    let mut found: Vec<IpAddr> = records
        .iter()
        .filter_map(|record| match &record.data {
            RData::A(address) => Some(IpAddr::V4(address.0)),
            RData::AAAA(address) => Some(IpAddr::V6(address.0)),
            _ => None,
        })
        .filter(|address| !address.is_unspecified() && !address.is_multicast())
        .collect();
    if found.is_empty() {
        return FamilyAnswer::Empty;
    }
    // Servers rotate their answers; another order is no news.
    found.sort_unstable();
    found.dedup();
    found.truncate(MAX_ENDPOINTS);
    FamilyAnswer::Addresses(found, Duration::from_secs(ttl.unwrap_or(0).into()))
}

fn no_answer() -> FamilyAnswer {
    FamilyAnswer::Failed(
        LookupResult::Timeout,
        "no DNS server answered in time".into(),
    )
}

fn failed(error: &NetError) -> FamilyAnswer {
    let of = |result, text: &str| FamilyAnswer::Failed(result, text.to_owned());
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => match none.response_code {
            ResponseCode::NoError => FamilyAnswer::Empty,
            ResponseCode::NXDomain => of(LookupResult::NotFound, "there is no such name"),
            code => of(
                LookupResult::ServerFailure,
                &format!("the DNS server says: {}", code.to_str()),
            ),
        },
        NetError::Dns(DnsError::ResponseCode(code)) => of(
            LookupResult::ServerFailure,
            &format!("the DNS server says: {}", code.to_str()),
        ),
        NetError::Timeout => no_answer(),
        other => of(LookupResult::Error, &words(other)),
    }
}
