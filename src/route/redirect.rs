//! Where a redirect leads: the value of `Location`.
//!
//! Path: `proxy::action`. To the letter of the Gateway API's HTTPRequestRedirectFilter: what is not named is taken from
//! the request; without a port it is the well-known one of a scheme that is named, else the listener's; the well-known
//! port of the scheme in use is not written. The query stays.

use http::StatusCode;

use super::rewrite::PathRewrite;

/// Another place for a request.
#[derive(Debug)]
pub struct Redirect {
    /// Its scheme.
    pub scheme: Option<Scheme>,
    /// Its host, without port.
    pub host: Option<Box<str>>,
    /// Its port.
    pub port: Option<u16>,
    /// Its path.
    pub path: Option<PathRewrite>,
    /// The status to say so with.
    pub status: StatusCode,
}

/// What comes before `://`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// `http`
    Http,
    /// `https`
    Https,
}

impl Scheme {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// Its well-known port.
    pub fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// What of a request a redirect builds on.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'r> {
    /// The scheme that the client used.
    pub scheme: Scheme,
    /// The host that it named, maybe with a port.
    pub host: &'r str,
    /// The port it came to; 0: as it named it.
    pub port: u16,
    /// The path, in its normal form.
    pub path: &'r str,
    /// Length of the prefix that the route has matched.
    pub prefix: usize,
    /// The query.
    pub query: Option<&'r str>,
}

impl Redirect {
    /// The value of `Location`; `None` without a host, which HTTP/1.0 need not name.
    pub fn location(&self, origin: &Origin<'_>) -> Option<String> {
        let (named, named_port) = host_and_port(origin.host);
        let host = self.host.as_deref().unwrap_or(named);
        if host.is_empty() {
            return None;
        }
        let scheme = self.scheme.unwrap_or(origin.scheme);
        let listener = || match origin.port {
            0 => named_port.unwrap_or(origin.scheme.port()),
            port => port,
        };
        let derived = || self.scheme.map_or_else(listener, Scheme::port);
        let port = self.port.unwrap_or_else(derived);
        let mut location = format!("{}://{host}", scheme.as_str());
        if port != scheme.port() {
            location.push_str(&format!(":{port}"));
        }
        match &self.path {
            Some(path) => location.push_str(&path.apply(origin.path, origin.prefix)),
            None => location.push_str(origin.path),
        }
        if let Some(query) = origin.query {
            location.push('?');
            location.push_str(query);
        }
        Some(location)
    }
}

/// `example.com:8080` → `example.com` and 8080; brackets stay.
fn host_and_port(host: &str) -> (&str, Option<u16>) {
    match host.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') || name.ends_with(']') => {
            (name, port.parse().ok())
        }
        _ => (host, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORIGIN: Origin<'_> = Origin {
        scheme: Scheme::Http,
        host: "example.org:8080",
        port: 8080,
        path: "/a/b",
        prefix: 2,
        query: Some("q=1"),
    };

    fn to(scheme: Option<Scheme>, port: Option<u16>) -> Redirect {
        Redirect {
            scheme,
            host: None,
            port,
            path: None,
            status: StatusCode::FOUND,
        }
    }

    /// Scheme and port named or not, on a listener on 80, 443 and 8080: the table of the conformance tests.
    #[test]
    fn the_port_is_the_one_that_the_gateway_api_says() {
        use Scheme::{Http, Https};
        for (listener, scheme, port, expected) in [
            (80, None, None, "http://example.org"),
            (80, None, Some(80), "http://example.org"),
            (80, None, Some(8080), "http://example.org:8080"),
            (80, Some(Https), None, "https://example.org"),
            (80, Some(Https), Some(443), "https://example.org"),
            (80, Some(Https), Some(8443), "https://example.org:8443"),
            (8080, None, None, "http://example.org:8080"),
            (8080, None, Some(80), "http://example.org"),
            (8080, Some(Http), None, "http://example.org"),
            (8080, Some(Http), Some(80), "http://example.org"),
            (8080, Some(Https), None, "https://example.org"),
            (8080, Some(Https), Some(80), "https://example.org:80"),
            (0, None, None, "http://example.org:8080"),
        ] {
            let origin = Origin {
                port: listener,
                ..ORIGIN
            };
            let location = to(scheme, port).location(&origin).unwrap();
            assert_eq!(
                location,
                format!("{expected}/a/b?q=1"),
                "{listener} {scheme:?} {port:?}"
            );
        }
        let tls = Origin {
            scheme: Https,
            port: 443,
            ..ORIGIN
        };
        assert_eq!(
            to(None, None).location(&tls).unwrap(),
            "https://example.org/a/b?q=1"
        );
        assert_eq!(
            to(Some(Http), None).location(&tls).unwrap(),
            "http://example.org/a/b?q=1"
        );
        assert_eq!(
            to(None, Some(80)).location(&tls).unwrap(),
            "https://example.org:80/a/b?q=1"
        );
    }

    #[test]
    fn host_and_path_are_replaced_and_the_query_stays() {
        let redirect = Redirect {
            host: Some("other.org".into()),
            path: Some(PathRewrite::Prefix("/x".into())),
            ..to(Some(Scheme::Https), None)
        };
        assert_eq!(
            redirect.location(&ORIGIN).unwrap(),
            "https://other.org/x/b?q=1"
        );
        let bare = Origin {
            host: "",
            query: None,
            ..ORIGIN
        };
        assert_eq!(redirect.location(&bare).unwrap(), "https://other.org/x/b");
        assert_eq!(to(None, None).location(&bare), None);
        let v6 = Origin {
            host: "[::1]:8080",
            ..bare
        };
        assert_eq!(
            to(None, None).location(&v6).unwrap(),
            "http://[::1]:8080/a/b"
        );
    }
}
