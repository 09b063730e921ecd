//! Headers that a route sets, adds or removes, with variables in their values.
//!
//! Path: `proxy::action` makes them ready for one request, applies those for the app to the request that it sends and
//! those for the client to the answer. Compiled to pieces: a value without variables is a finished header, whatever a
//! client sends cannot end a line.

use std::net::IpAddr;

use http::HeaderValue;
use http::header::{HeaderMap, HeaderName};

/// The rules of one direction; each name occurs once.
#[derive(Debug, Default)]
pub struct HeaderRules {
    /// Names to take away.
    pub remove: Box<[HeaderName]>,
    /// Fields to replace.
    pub set: Box<[(HeaderName, Value)]>,
    /// Fields to add to what is there.
    pub add: Box<[(HeaderName, Value)]>,
}

/// A value.
#[derive(Debug, Clone)]
pub enum Value {
    /// The same for every request.
    Fixed(HeaderValue),
    /// Made of pieces for each request.
    Pieces(Box<[Piece]>),
}

/// A part of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Itself.
    Text(Box<str>),
    /// What is known about the request.
    Variable(Variable),
}

/// What is known about a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variable {
    /// The client's address, as far as trusted peers tell.
    ClientIp,
    /// `X-Request-Id`.
    RequestId,
    /// The route's name.
    Route,
    /// The listener's name.
    Listener,
    /// The upstream's name; empty when there is none.
    Upstream,
    /// The host as the client named it.
    Host,
    /// The path as the client sent it, without query.
    Path,
    /// The method.
    Method,
}

/// The values of the variables for one request.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'r> {
    /// The client's address.
    pub client: IpAddr,
    /// The request's id.
    pub request_id: &'r [u8],
    /// The route's name.
    pub route: &'r str,
    /// The listener's name.
    pub listener: &'r str,
    /// The upstream's name, or nothing.
    pub upstream: &'r str,
    /// The host.
    pub host: &'r [u8],
    /// The path.
    pub path: &'r str,
    /// The method.
    pub method: &'r str,
}

/// Rules whose values are known.
#[derive(Debug)]
pub struct Ready<'c> {
    rules: &'c HeaderRules,
    /// Those made for this request, in the order in which they are used.
    made: Vec<HeaderValue>,
}

impl HeaderRules {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }

    /// Whether some value differs from request to request.
    pub fn has_variables(&self) -> bool {
        let mut fields = self.set.iter().chain(&self.add);
        fields.any(|(_, value)| matches!(value, Value::Pieces(_)))
    }

    /// Without a look at the request, which is enough if there are no variables.
    pub fn ready_as_they_are(&self) -> Ready<'_> {
        let made = Vec::new();
        Ready { rules: self, made }
    }

    /// Makes the values for the request that `facts` are about.
    pub fn ready(&self, facts: &Facts<'_>) -> Ready<'_> {
        let values = self.set.iter().chain(&self.add).map(|(_, value)| value);
        let made = values.filter_map(|value| match value {
            Value::Fixed(_) => None,
            Value::Pieces(pieces) => Some(facts.join(pieces)),
        });
        Ready {
            rules: self,
            made: made.collect(),
        }
    }
}

impl Ready<'_> {
    /// Changes `headers`.
    pub fn apply(self, headers: &mut HeaderMap) {
        let mut made = self.made.into_iter();
        let mut take = |value: &Value| match value {
            Value::Fixed(value) => Some(value.clone()),
            Value::Pieces(_) => made.next(),
        };
        for name in &self.rules.remove {
            headers.remove(name);
        }
        for (name, value) in &self.rules.set {
            if let Some(value) = take(value) {
                headers.insert(name, value);
            }
        }
        for (name, value) in &self.rules.add {
            if let Some(value) = take(value) {
                headers.append(name, value);
            }
        }
    }
}

impl Facts<'_> {
    fn join(&self, pieces: &[Piece]) -> HeaderValue {
        let mut value = Vec::with_capacity(64);
        for piece in pieces {
            match piece {
                Piece::Text(text) => value.extend_from_slice(text.as_bytes()),
                Piece::Variable(Variable::ClientIp) => {
                    value.extend_from_slice(self.client.to_string().as_bytes());
                }
                Piece::Variable(variable) => value.extend_from_slice(self.bytes(*variable)),
            }
        }
        // What came in a head can go out in one; should that change, a value must still not end its line.
        value
            .iter_mut()
            .filter(|byte| byte.is_ascii_control() && **byte != b'\t')
            .for_each(|byte| *byte = b'?');
        HeaderValue::from_maybe_shared(bytes::Bytes::from(value))
            .unwrap_or_else(|_| HeaderValue::from_static(""))
    }

    fn bytes(&self, variable: Variable) -> &[u8] {
        match variable {
            Variable::ClientIp => b"",
            Variable::RequestId => self.request_id,
            Variable::Route => self.route.as_bytes(),
            Variable::Listener => self.listener.as_bytes(),
            Variable::Upstream => self.upstream.as_bytes(),
            Variable::Host => self.host,
            Variable::Path => self.path.as_bytes(),
            Variable::Method => self.method.as_bytes(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts<'static> {
        Facts {
            client: [10, 0, 0, 1].into(),
            request_id: b"id-1",
            route: "pay",
            listener: "inbound",
            upstream: "app",
            host: b"a\r\nb: c",
            path: "/x",
            method: "GET",
        }
    }

    fn name(name: &'static str) -> HeaderName {
        HeaderName::from_static(name)
    }

    #[test]
    fn rules_remove_replace_and_add() {
        let fixed = |value| Value::Fixed(HeaderValue::from_static(value));
        let pieces = Value::Pieces(
            [
                Piece::Variable(Variable::ClientIp),
                Piece::Text("/".into()),
                Piece::Variable(Variable::Route),
            ]
            .into(),
        );
        let rules = HeaderRules {
            remove: [name("x-gone")].into(),
            set: [(name("x-set"), pieces), (name("x-fixed"), fixed("1"))].into(),
            add: [(name("x-add"), fixed("2"))].into(),
        };
        let mut headers = HeaderMap::new();
        for field in ["x-gone", "x-set", "x-add"] {
            headers.append(field, HeaderValue::from_static("old"));
            headers.append(field, HeaderValue::from_static("older"));
        }
        rules.ready(&facts()).apply(&mut headers);
        let all = |field: &str| headers.get_all(field).iter().collect::<Vec<_>>();
        assert_eq!(all("x-gone"), [""; 0]);
        assert_eq!(all("x-set"), ["10.0.0.1/pay"]);
        assert_eq!(all("x-fixed"), ["1"]);
        assert_eq!(all("x-add"), ["old", "older", "2"]);
    }

    #[test]
    fn a_value_cannot_end_its_line() {
        let value = facts().join(&[Piece::Variable(Variable::Host)]);
        assert_eq!(value, "a??b: c");
    }
}
