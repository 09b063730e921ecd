//! `routes[]`

use std::time::Duration;

use super::{
    Action, BodyLimit, HeaderRules, InFlightLimit, Located, Mirror, Pattern, RateLimit, Retry,
    Rewrite,
};

/// One route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// `name`: shown in metrics and logs; unique. Required; same characters as a listener's name.
    pub name: Located<String>,
    /// `listeners`: names of the listeners that use this route. Default (empty): all.
    pub listeners: Vec<Located<String>>,
    /// `match`: any of these; empty: every request.
    pub matches: Vec<Located<RouteMatch>>,
    /// One of `forward`, `redirect`, `respond`. Required.
    pub action: Action,
    /// `rewrite`: another path or host for the app. Only with `forward`. Default: none.
    pub rewrite: Option<Rewrite>,
    /// `request_headers`: changes of what the app reads. Only with `forward`. Default: none.
    pub request_headers: HeaderRules,
    /// `response_headers`: changes of what the client reads. Default: none.
    pub response_headers: HeaderRules,
    /// `mirror`: copies to other upstreams. Only with `forward`. Default: none; at most 8.
    pub mirrors: Vec<Mirror>,
    /// `tunnel`: whether CONNECT leads to the upstream, as bytes. Default `false`: it is refused with 405.
    pub tunnel: bool,
    /// `timeout`: whole request, from its head's arrival to the answer's end; `None` (`off`): unlimited. Default 30 s.
    pub timeout: Option<Duration>,
    /// `retry`: on by default.
    pub retry: Retry,
    /// `rate_limit`: one rule or several, all of which must hold. Default: none.
    pub rate_limits: Vec<RateLimit>,
    /// `limits`: requests of this route under way.
    pub limits: InFlightLimit,
    /// `limits.body_bytes`: size of a request's body. 1 B to 2 GiB; default: that of the listener.
    pub body_bytes: BodyLimit,
}

/// One item of `match`; everything named must hold.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct RouteMatch {
    /// `host`: `example.com` or `*.example.com`; lower-cased, without port.
    pub host: Option<HostMatch>,
    /// `path`: `{ exact: /a }`, `{ regex: /a/[0-9]+ }` or `{ prefix: /a }` (a bare string is a prefix).
    pub path: Option<PathMatch>,
    /// `methods`: any of these; upper-case tokens. Empty: all.
    pub methods: Vec<String>,
    /// `headers`: by name, lower-cased; no name twice. All must hold.
    pub headers: Vec<(String, ValueMatch)>,
    /// `query`: by the parameter's name; no name twice. All must hold.
    pub query: Vec<(String, ValueMatch)>,
}

/// What the value of a header or parameter must be: a text, or one of these.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ValueMatch {
    /// `{ exact: … }`, or the bare text.
    Exact(String),
    /// `{ regex: … }`: the whole value.
    Regex(Pattern),
    /// `{ present: true }`
    Present,
    /// `{ present: false }`
    Absent,
}

/// A host to match.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HostMatch {
    /// The whole name.
    Exact(String),
    /// `*.example.com`: one or more labels before `.example.com`; holds `example.com`.
    Suffix(String),
}

impl HostMatch {
    /// Whether `host`, in lower case and without port, is one of these.
    pub fn takes(&self, host: &str) -> bool {
        match self {
            Self::Exact(name) => name == host,
            Self::Suffix(name) => {
                let labels = host.strip_suffix(name.as_str());
                labels.is_some_and(|labels| labels.len() > 1 && labels.ends_with('.'))
            }
        }
    }
}

/// A path to match.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PathMatch {
    /// The whole path.
    Exact(String),
    /// An expression for the whole path.
    Regex(Pattern),
    /// The path or its leading segments: `/api` takes `/api` and `/api/x`, not `/apix`. No trailing `/` but for `/` itself.
    Prefix(String),
}
