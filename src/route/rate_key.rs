//! What a rate limit counts by, as a number.
//!
//! Path: `proxy::admit` asks for each rule. The number is a hash (SipHash, seeded anew by each process), so that a client
//! can neither make keys larger nor aim at another's. A value that a client may write in several ways counts as one:
//! percent-encoding in queries and cookies is undone, which is all that ever needs memory here.

use std::borrow::Cow;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::net::IpAddr;
use std::sync::LazyLock;

use http::HeaderMap;
use http::header::{COOKIE, HeaderName};
use http::request::Parts;

static SEED: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// The parts of a key; none: all requests have one count.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RateKey {
    /// All of them together make the key.
    pub parts: Box<[Part]>,
}

/// One part of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// The client's address; of IPv6 its /64, which one client has as a whole (RFC 6177).
    ClientIp,
    /// Who the client is by its certificate.
    ClientIdentity,
    /// The method.
    Method,
    /// The first field of this name.
    Header(HeaderName),
    /// The first cookie of this name.
    Cookie(Box<str>),
    /// The first parameter of this name.
    Query(Box<str>),
}

impl RateKey {
    /// The number for a request from `client`, who is `identity` by its certificate. Those that lack a part have one count
    /// together.
    pub fn hash(
        &self,
        head: &Parts,
        identity: Option<&[u8]>,
        client: impl FnOnce() -> IpAddr,
    ) -> u64 {
        if self.parts.is_empty() {
            return 0;
        }
        let mut hasher = SEED.build_hasher();
        let mut client = Some(client);
        for part in &self.parts {
            match part {
                Part::ClientIp => {
                    if let Some(client) = client.take() {
                        network(client()).hash(&mut hasher);
                    }
                }
                Part::ClientIdentity => add(&mut hasher, identity.map(Cow::Borrowed)),
                Part::Method => head.method.hash(&mut hasher),
                Part::Header(name) => add(&mut hasher, header(&head.headers, name)),
                Part::Cookie(name) => add(&mut hasher, cookie(&head.headers, name)),
                Part::Query(name) => {
                    add(
                        &mut hasher,
                        parameter(head.uri.query().unwrap_or_default(), name),
                    );
                }
            }
        }
        hasher.finish()
    }
}

/// The part of an address that one client has to itself, in a number that no other address gives.
fn network(address: IpAddr) -> (u8, u64) {
    match address.to_canonical() {
        IpAddr::V4(address) => (4, u64::from(u32::from(address))),
        IpAddr::V6(address) => {
            let upper = u128::from(address) >> 64;
            (6, u64::try_from(upper).unwrap_or_default())
        }
    }
}

/// A value, so that no other value, and no value and its neighbour, look the same.
fn add(hasher: &mut impl Hasher, value: Option<Cow<'_, [u8]>>) {
    match value {
        None => hasher.write_u8(0),
        Some(value) => {
            hasher.write_u8(1);
            value.hash(hasher);
        }
    }
}

fn header<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<Cow<'h, [u8]>> {
    let value = headers.get(name)?;
    Some(value.as_bytes().trim_ascii().into())
}

/// The value of a cookie (RFC 6265 §5.4), without quotes around it.
fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<Cow<'h, [u8]>> {
    let pairs = headers.get_all(COOKIE).iter().flat_map(|field| {
        let pairs = field.as_bytes().split(|byte| *byte == b';');
        pairs.map(<[u8]>::trim_ascii)
    });
    let value = find(pairs, name)?;
    let bare = value
        .strip_prefix(b"\"")
        .and_then(|value| value.strip_suffix(b"\""));
    Some(decoded(bare.unwrap_or(value)))
}

/// The value of a query's parameter; `+` is a blank there.
fn parameter<'q>(query: &'q str, name: &str) -> Option<Cow<'q, [u8]>> {
    let pairs = query.as_bytes().split(|byte| *byte == b'&');
    let value = find(pairs, name)?;
    if !value.contains(&b'+') {
        return Some(decoded(value));
    }
    let blank = |byte: &u8| if *byte == b'+' { b' ' } else { *byte };
    let blanked: Vec<u8> = value.iter().map(blank).collect();
    Some(decoded(&blanked).into_owned().into())
}

/// The value of the first `name=value`; the name may be encoded.
fn find<'v>(mut pairs: impl Iterator<Item = &'v [u8]>, name: &str) -> Option<&'v [u8]> {
    pairs.find_map(|pair| {
        let equals = pair.iter().position(|byte| *byte == b'=');
        let (key, value) = match equals {
            Some(at) => (pair.get(..at)?, pair.get(at + 1..)?),
            None => (pair, &b""[..]),
        };
        (*decoded(key) == *name.as_bytes()).then_some(value)
    })
}

/// Undoes percent-encoding; what is not one stays as it is.
fn decoded(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.contains(&b'%') {
        return text.into();
    }
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let digit = |index: usize| {
            let digit = char::from(*after.get(index)?).to_digit(16)?;
            u8::try_from(digit).ok()
        };
        match (first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                plain.push(high << 4 | low);
                rest = after.get(2..).unwrap_or_default();
            }
            _ => {
                plain.push(*first);
                rest = after;
            }
        }
    }
    plain.into()
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn head(method: &str, uri: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn key(parts: &[Part]) -> RateKey {
        RateKey {
            parts: parts.into(),
        }
    }

    fn hash(parts: &[Part], uri: &str, headers: &[(&str, &str)]) -> u64 {
        key(parts).hash(&head("GET", uri, headers), None, || [10, 0, 0, 1].into())
    }

    fn client(address: &str) -> u64 {
        key(&[Part::ClientIp]).hash(&head("GET", "/", &[]), None, || address.parse().unwrap())
    }

    #[test]
    fn an_ipv6_client_is_its_64_bit_network_and_an_ipv4_client_its_address() {
        assert_eq!(client("2001:db8::1"), client("2001:db8::ffff:1"));
        assert_ne!(client("2001:db8::1"), client("2001:db8:0:1::1"));
        assert_ne!(client("10.0.0.1"), client("10.0.0.2"));
        assert_eq!(client("::ffff:10.0.0.1"), client("10.0.0.1"));
        assert_ne!(client("::a00:1"), client("10.0.0.1"));
    }

    #[test]
    fn a_value_written_in_another_way_is_the_same_key() {
        let query = [Part::Query("api_key".into())];
        let plain = hash(&query, "/?a=1&api_key=abc+d", &[]);
        for other in [
            "/?api_key=%61bc%20d",
            "/?api%5Fkey=abc+d&api_key=other",
            "/?api_key=a%62%63+d#x",
        ] {
            assert_eq!(hash(&query, other, &[]), plain, "{other}");
        }
        for other in ["/?api_key=abc", "/?api_keys=abc+d", "/?api_key", "/"] {
            assert_ne!(hash(&query, other, &[]), plain, "{other}");
        }
        let session = [Part::Cookie("session".into())];
        let plain = hash(&session, "/", &[("cookie", "a=b; session=s1; c=d")]);
        for other in [
            "session=\"s1\"",
            "session=s%31",
            "x=y;session=s1; session=s2",
        ] {
            assert_eq!(hash(&session, "/", &[("cookie", other)]), plain, "{other}");
        }
        let split = [("cookie", "a=b"), ("cookie", "session=s1")];
        assert_eq!(hash(&session, "/", &split), plain);
    }

    #[test]
    fn those_without_a_value_have_one_count_that_is_not_that_of_an_empty_one() {
        let part = [Part::Header(HeaderName::from_static("x-user"))];
        let absent = hash(&part, "/", &[]);
        assert_eq!(absent, hash(&part, "/other", &[("x-other", "a")]));
        assert_ne!(absent, hash(&part, "/", &[("x-user", "")]));
        assert_eq!(
            hash(&part, "/", &[("x-user", " a ")]),
            hash(&part, "/", &[("x-user", "a")])
        );
    }

    #[test]
    fn each_identity_has_a_count_and_those_without_one_together() {
        let hash = |identity: Option<&str>| {
            let key = key(&[Part::ClientIdentity]);
            let ip = || [10, 0, 0, 1].into();
            key.hash(&head("GET", "/", &[]), identity.map(str::as_bytes), ip)
        };
        assert_eq!(hash(Some("dns:a")), hash(Some("dns:a")));
        assert_ne!(hash(Some("dns:a")), hash(Some("dns:b")));
        assert_eq!(hash(None), hash(None));
        assert_ne!(hash(None), hash(Some("")));
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        let parts = [
            Part::Header(HeaderName::from_static("a")),
            Part::Header(HeaderName::from_static("b")),
        ];
        assert_ne!(
            hash(&parts, "/", &[("a", "xy"), ("b", "z")]),
            hash(&parts, "/", &[("a", "x"), ("b", "yz")])
        );
        let long = "x".repeat(16);
        assert_ne!(
            hash(&parts, "/", &[("a", &long)]),
            hash(&parts, "/", &[("b", &long)])
        );
    }

    #[test]
    fn the_route_alone_is_one_key_for_all() {
        assert_eq!(hash(&[], "/a", &[]), hash(&[], "/b?c", &[("x", "y")]));
    }

    #[test]
    fn broken_encodings_are_taken_as_they_stand() {
        let text = |bytes: &[u8]| String::from_utf8_lossy(&decoded(bytes)).into_owned();
        assert_eq!(text(b"%"), "%");
        assert_eq!(text(b"%4"), "%4");
        assert_eq!(text(b"%zz%41%"), "%zzA%");
    }
}
