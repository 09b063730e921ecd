//! `routes[]`

use std::time::Duration;

use super::{InFlightLimit, Located, RateLimit, Retry};

/// One route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// `name`: shown in metrics and logs; unique. Required; same characters as a listener's name.
    pub name: Located<String>,
    /// `listeners`: names of the listeners that use this route. Default (empty): all.
    pub listeners: Vec<Located<String>>,
    /// `match`: any of these; empty: every request.
    pub matches: Vec<Located<RouteMatch>>,
    /// `forward`: the upstream's name. Required.
    pub forward: Located<String>,
    /// `timeout`: whole request, from its head's arrival to the answer's end; `None` (`off`): unlimited. Default 30 s.
    pub timeout: Option<Duration>,
    /// `retry`: on by default.
    pub retry: Retry,
    /// `rate_limit`: one rule or several, all of which must hold. Default: none.
    pub rate_limits: Vec<RateLimit>,
    /// `limits`: requests of this route under way.
    pub limits: InFlightLimit,
}

/// One item of `match`; everything named must hold.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct RouteMatch {
    /// `host`: `example.com` or `*.example.com`; lower-cased, without port.
    pub host: Option<HostMatch>,
    /// `path`: `{ exact: /a }` or `{ prefix: /a }` (a bare string is a prefix).
    pub path: Option<PathMatch>,
    /// `methods`: any of these; upper-case tokens. Empty: all.
    pub methods: Vec<String>,
}

/// A host to match.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HostMatch {
    /// The whole name.
    Exact(String),
    /// `*.example.com`: one or more labels before `.example.com`; holds `example.com`.
    Suffix(String),
}

/// A path to match.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PathMatch {
    /// The whole path.
    Exact(String),
    /// The path or its leading segments: `/api` takes `/api` and `/api/x`, not `/apix`. No trailing `/` but for `/` itself.
    Prefix(String),
}
