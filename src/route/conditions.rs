//! What a rule asks of headers and query.
//!
//! Path: [`super::table`] asks when host, path and method fit; all conditions must hold. Names of headers are compared
//! without case, of a repeated one its values as one list (RFC 9110 §5.3); of a repeated query parameter the first value
//! counts (Gateway API, HTTPQueryParamMatch). Expressions are for the whole value.

use std::borrow::Cow;

use http::header::{COOKIE, HeaderName};
use http::{HeaderMap, HeaderValue};
use regex::Regex;

use super::table::Asked;

/// Conditions on headers and query.
#[derive(Debug, Clone, Default)]
pub struct Conditions {
    /// On headers; no name twice.
    pub headers: Box<[(HeaderName, Test)]>,
    /// On parameters of the query; no name twice.
    pub query: Box<[(Box<str>, Test)]>,
}

/// What a value must be.
#[derive(Debug, Clone)]
pub enum Test {
    /// This.
    Is(Box<str>),
    /// What the expression takes; anchored on both sides.
    Matches(Regex),
    /// Anything, but it must be there.
    Present,
    /// Not there.
    Absent,
}

impl Conditions {
    /// Whether nothing is asked.
    pub fn is_empty(&self) -> bool {
        self.headers.is_empty() && self.query.is_empty()
    }

    /// Whether all of them hold.
    pub fn hold(&self, asked: &Asked<'_>) -> bool {
        let header = |(name, test): &(HeaderName, Test)| test.holds(|| list(asked.headers, name));
        let parameter =
            |(name, test): &(Box<str>, Test)| test.holds(|| parameter(asked.query?, name));
        self.headers.iter().all(header) && self.query.iter().all(parameter)
    }
}

impl Test {
    fn holds<'v>(&self, value: impl FnOnce() -> Option<Cow<'v, str>>) -> bool {
        match (self, value()) {
            (Self::Is(expected), Some(value)) => **expected == *value,
            (Self::Matches(regex), Some(value)) => regex.is_match(&value),
            (Self::Present, value) => value.is_some(),
            (Self::Absent, value) => value.is_none(),
            (Self::Is(_) | Self::Matches(_), None) => false,
        }
    }
}

/// The value of `name`; of several, all as one list.
fn list<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<Cow<'h, str>> {
    let text = |value: &'h HeaderValue| String::from_utf8_lossy(value.as_bytes());
    let mut values = headers.get_all(name).iter();
    let first = text(values.next()?);
    // HTTP/2 may cut a cookie into crumbs (RFC 9113 §8.2.3).
    let separator = if *name == COOKIE { "; " } else { ", " };
    Some(values.fold(first, |list, value| {
        Cow::Owned(format!("{list}{separator}{}", text(value)))
    }))
}

/// The first value of `name` in a query, decoded.
pub fn parameter<'q>(query: &'q str, name: &str) -> Option<Cow<'q, str>> {
    let mut pairs = query.split('&');
    let value = pairs.find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (!pair.is_empty() && *decoded(key) == *name).then_some(value)
    });
    value.map(decoded)
}

/// Resolves `%XX` and `+` as forms write them.
fn decoded(text: &str) -> Cow<'_, str> {
    if !text.bytes().any(|byte| byte == b'%' || byte == b'+') {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let digit = |at: usize| {
            after
                .get(at)
                .and_then(|&byte| char::from(byte).to_digit(16))
        };
        let encoded = (first == b'%')
            .then(|| Some((digit(0)?, digit(1)?)))
            .flatten();
        rest = match encoded.and_then(|(high, low)| u8::try_from(high * 16 + low).ok()) {
            Some(byte) => {
                out.push(byte);
                after.get(2..).unwrap_or_default()
            }
            None => {
                out.push(if first == b'+' { b' ' } else { first });
                after
            }
        };
    }
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find<'q>(query: &'q str, name: &str) -> Option<Cow<'q, str>> {
        parameter(query, name)
    }

    #[test]
    fn the_first_value_of_a_parameter_counts_and_is_decoded() {
        for (query, expected) in [
            ("a=1&a=2", Some("1")),
            ("b=2&a=x%20y+z", Some("x y z")),
            ("%61=1", Some("1")),
            ("a", Some("")),
            ("a=", Some("")),
            ("a==b", Some("=b")),
            ("a=%zz%4", Some("%zz%4")),
            ("a=%FF", Some("\u{fffd}")),
            ("aa=1&A=2", None),
            ("", None),
            ("&&", None),
        ] {
            assert_eq!(find(query, "a").as_deref(), expected, "{query}");
        }
    }

    #[test]
    fn repeated_headers_are_one_list_and_crumbs_one_cookie() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("x-a", "1"),
            ("x-a", "2"),
            ("cookie", "a=1"),
            ("cookie", "b=2"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        let list = |name| list(&headers, &HeaderName::from_static(name)).map(Cow::into_owned);
        assert_eq!(list("x-a").as_deref(), Some("1, 2"));
        assert_eq!(list("cookie").as_deref(), Some("a=1; b=2"));
        assert_eq!(list("x-b"), None);
    }
}
