//! `routes[].forward`, `redirect`, `respond`, `rewrite`, `mirror`, and the rules for headers.

use super::{Located, Pattern};

/// What is done with a request: exactly one of `forward`, `redirect`, `respond`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// `forward: UPSTREAM`
    Forward(Located<String>),
    /// `forward: { split: { … } }`
    Split(Split),
    /// `redirect`
    Redirect(Located<Redirect>),
    /// `respond`
    Respond(Respond),
}

impl Action {
    /// The upstreams that it names, as written.
    pub fn upstreams(&self) -> impl Iterator<Item = &Located<String>> {
        let (one, shares): (Option<&Located<String>>, &[Share]) = match self {
            Self::Forward(name) => (Some(name), &[]),
            Self::Split(split) => (None, &split.shares),
            Self::Redirect(_) | Self::Respond(_) => (None, &[]),
        };
        one.into_iter()
            .chain(shares.iter().map(|share| &share.upstream))
    }
}

/// `forward: { split: { pay: 90, pay-next: 10 }, sticky: { header: x-user } }`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// `split`: upstreams and their weights, 0 to 1,000,000; not all 0. At least one, at most 64.
    pub shares: Vec<Share>,
    /// `sticky`. Default: none.
    pub sticky: Option<Sticky>,
}

/// One entry of `split`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// The upstream.
    pub upstream: Located<String>,
    /// Its weight.
    pub weight: u32,
}

/// `sticky`: requests with the same value go to the same upstream; those without one take turns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sticky {
    /// `header: NAME`, lower-cased.
    Header(String),
    /// `cookie: NAME`.
    Cookie(String),
}

/// `redirect`: what is not named is taken from the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    /// `scheme`.
    pub scheme: Option<Scheme>,
    /// `host`: without port, lower-cased.
    pub host: Option<String>,
    /// `port`: 1 to 65535. Default: the well-known one of `scheme` if that is named, else the listener's.
    pub port: Option<u16>,
    /// `path`: `{ full: … }` or `{ prefix: … }`.
    pub path: Option<Located<PathRewrite>>,
    /// `status`: 301, 302, 303, 307 or 308. Default 302.
    pub status: u16,
}

/// `redirect.scheme`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// `http`
    Http,
    /// `https`
    Https,
}

/// `respond`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Respond {
    /// `status`: 200 to 599. Default 200.
    pub status: Located<u16>,
    /// `headers`: names, lower-cased, and values. Default: `content-type` by the look of the body.
    pub headers: Vec<(String, Template)>,
    /// `body`. Default: none.
    pub body: Body,
}

/// `respond.body`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Body {
    /// None.
    #[default]
    Empty,
    /// A text.
    Text(String),
    /// `{ file: PATH }`: a file of at most 1 MiB, relative to the configuration's.
    File {
        /// Where it is.
        path: Located<String>,
        /// What was in it; empty until it is read.
        bytes: Vec<u8>,
    },
}

impl Body {
    /// What is sent.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Empty => &[],
            Self::Text(text) => text.as_bytes(),
            Self::File { bytes, .. } => bytes,
        }
    }
}

/// `rewrite`: of forwarded requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewrite {
    /// `host`: what the app reads in `Host`.
    pub host: Option<String>,
    /// `path`: `{ full: … }`, `{ prefix: … }` or `{ regex: { match: …, replace: … } }`.
    pub path: Option<Located<PathRewrite>>,
}

/// How a path is rewritten; the query stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathRewrite {
    /// `full`: the whole path.
    Full(String),
    /// `prefix`: the prefix that the route matches. Without trailing `/`; may be empty.
    Prefix(String),
    /// `regex`: all that the expression finds.
    Regex(Pattern, Vec<ReplacePiece>),
}

/// A part of `rewrite.path.regex.replace`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplacePiece {
    /// Itself.
    Text(String),
    /// `$1`: what the group found; `$0` is all of it.
    Group(usize),
}

/// `request_headers`, `response_headers`: no name twice. Names are lower-cased.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HeaderRules {
    /// `set`: replaced or added.
    pub set: Vec<(String, Template)>,
    /// `add`: added to what is there.
    pub add: Vec<(String, Template)>,
    /// `remove`.
    pub remove: Vec<String>,
}

impl HeaderRules {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.add.is_empty() && self.remove.is_empty()
    }
}

/// A header's value: texts and `%{variables}`; `%%` is a per cent sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// As written. It may be a secret: never shown.
    pub text: String,
    /// Its parts.
    pub pieces: Vec<Piece>,
}

/// A part of a [`Template`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Itself.
    Text(String),
    /// `%{name}`
    Variable(Variable),
}

/// A variable of a [`Template`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variable {
    /// `%{client_ip}`
    ClientIp,
    /// `%{request_id}`
    RequestId,
    /// `%{route}`
    Route,
    /// `%{listener}`
    Listener,
    /// `%{upstream}`
    Upstream,
    /// `%{host}`
    Host,
    /// `%{path}`
    Path,
    /// `%{method}`
    Method,
}

/// One item of `mirror`: `UPSTREAM`, or `{ upstream: …, percent: 10% }`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// `upstream`. Required.
    pub upstream: Located<String>,
    /// `percent`: how many requests are copied, in hundredths of a per cent. 0 % to 100 %, two decimals. Default 100 %.
    pub hundredths: u32,
}
