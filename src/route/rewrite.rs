//! Another path for the app, or for the place that a redirect names.
//!
//! Path: `proxy::action` for forwarded requests, [`super::redirect`] for the others. Works on the path in its normal form.
//! Prefixes are replaced as the Gateway API's table says (HTTPPathModifier): whole segments, a trailing `/` of either
//! prefix ignored. The result always begins with one `/`: with two, an app may take what follows for a host.

use std::borrow::Cow;

use http::HeaderValue;
use http::uri::PathAndQuery;
use regex::{Captures, Regex};

/// What is different in the request that the app gets.
#[derive(Debug, Default)]
pub struct Rewrite {
    /// Its `Host`.
    pub host: Option<HeaderValue>,
    /// Its path.
    pub path: Option<PathRewrite>,
}

/// How a path is rewritten.
#[derive(Debug)]
pub enum PathRewrite {
    /// To this one.
    Full(Box<str>),
    /// Its prefix, as matched, to this one without trailing `/`.
    Prefix(Box<str>),
    /// What the expression finds, each time.
    Regex(Regex, Box<[Piece]>),
}

/// A part of a replacement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Itself.
    Text(Box<str>),
    /// What this group of the expression has found; 0 is all of it.
    Group(usize),
}

impl PathRewrite {
    /// The new path. `prefix` is the length of what the route's prefix has matched, without trailing `/`.
    pub fn apply(&self, path: &str, prefix: usize) -> String {
        let path = match self {
            Self::Full(full) => Cow::Borrowed(&**full),
            Self::Prefix(replacement) => {
                let rest = path.get(prefix..).unwrap_or_default();
                Cow::Owned(format!("{replacement}{rest}"))
            }
            Self::Regex(regex, pieces) => {
                regex.replace_all(path, |found: &Captures<'_>| replacement(pieces, found))
            }
        };
        format!("/{}", path.trim_start_matches('/'))
    }
}

fn replacement(pieces: &[Piece], found: &Captures<'_>) -> String {
    let text = pieces.iter().map(|piece| match piece {
        Piece::Text(text) => &**text,
        Piece::Group(number) => found.get(*number).map_or("", |group| group.as_str()),
    });
    text.collect()
}

/// `path` with the query of the request.
pub fn with_query(path: &str, query: Option<&str>) -> Option<PathAndQuery> {
    let text = match query {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    PathAndQuery::try_from(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of the Gateway API's HTTPPathModifier, and what follows from it.
    #[test]
    fn a_prefix_is_replaced_as_the_gateway_api_says() {
        for (path, prefix, replacement, expected) in [
            ("/foo/bar", "/foo", "/xyz", "/xyz/bar"),
            ("/foo/bar", "/foo", "/xyz/", "/xyz/bar"),
            ("/foo/bar", "/foo/", "/xyz", "/xyz/bar"),
            ("/foo/bar", "/foo/", "/xyz/", "/xyz/bar"),
            ("/foo", "/foo", "/xyz", "/xyz"),
            ("/foo/", "/foo", "/xyz", "/xyz/"),
            ("/foo/bar", "/foo", "", "/bar"),
            ("/foo/", "/foo", "", "/"),
            ("/foo", "/foo", "", "/"),
            ("/foo/", "/foo", "/", "/"),
            ("/foo", "/foo", "/", "/"),
            ("/bar", "/", "/xyz", "/xyz/bar"),
            ("/", "/", "/xyz", "/xyz/"),
            ("/foo//evil.example", "/foo", "/", "/evil.example"),
        ] {
            let rewrite = PathRewrite::Prefix(replacement.trim_end_matches('/').into());
            let prefix = prefix.trim_end_matches('/').len();
            assert_eq!(
                rewrite.apply(path, prefix),
                expected,
                "{path} {replacement}"
            );
        }
    }

    #[test]
    fn an_expression_replaces_each_of_its_finds_and_knows_its_groups() {
        let rewrite = |pattern: &str, pieces: &[Piece]| {
            PathRewrite::Regex(Regex::new(pattern).unwrap(), pieces.into())
        };
        let text = |text: &str| Piece::Text(text.into());
        let whole = rewrite("^/a/(.*)$", &[text("/b/"), Piece::Group(1)]);
        assert_eq!(whole.apply("/a/x/y", 0), "/b/x/y");
        assert_eq!(whole.apply("/c/x", 0), "/c/x");
        let each = rewrite("/v1", &[text("/v2")]);
        assert_eq!(each.apply("/v1/a/v1", 0), "/v2/a/v2");
        assert_eq!(rewrite("^/+", &[]).apply("/a", 0), "/a");
        assert_eq!(
            rewrite("(x)?$", &[Piece::Group(1), text("!")]).apply("/a", 0),
            "/a!"
        );
    }
}
