//! All keys a file may hold, by place. The readers, their suggestions and the test of `config/reference.yaml`
//! use these lists, so none can forget a key that another knows.

/// The file itself.
pub(super) const ROOT: &[&str] = &[
    "listeners",
    "routes",
    "upstreams",
    "admin",
    "access_log",
    "drain",
    "workers",
    "trusted_proxies",
    "forwarded_headers",
    "header_case",
];
/// `listeners.*`
pub(super) const LISTENER: &[&str] = &[
    "address",
    "direction",
    "forward",
    "reuse_port",
    "timeouts",
    "limits",
    "normalize",
];
/// `listeners.*.normalize`
pub(super) const NORMALIZE: &[&str] = &["encoded_slash", "double_slash", "dot_segments"];
/// `listeners.*.timeouts`
pub(super) const LISTENER_TIMEOUTS: &[&str] = &["request_header", "idle"];
/// `listeners.*.limits`
pub(super) const LISTENER_LIMITS: &[&str] = &["connections", "header_bytes", "headers"];
/// `routes[]`
pub(super) const ROUTE: &[&str] = &[
    "name",
    "listeners",
    "match",
    "forward",
    "timeout",
    "redirect",
    "respond",
    "rewrite",
    "request_headers",
    "response_headers",
    "mirror",
];
/// `routes[].match[]`
pub(super) const MATCH: &[&str] = &["host", "path", "methods", "headers", "query"];
/// `routes[].match[].path`
pub(super) const PATH: &[&str] = &["exact", "prefix", "regex"];
/// `routes[].match[].headers.*`, `routes[].match[].query.*`
pub(super) const VALUE: &[&str] = &["exact", "regex", "present"];
/// `routes[].forward`, if it is not a name
pub(super) const FORWARD: &[&str] = &["split", "sticky"];
/// `routes[].forward.sticky`
pub(super) const STICKY: &[&str] = &["header", "cookie"];
/// `routes[].redirect`
pub(super) const REDIRECT: &[&str] = &["scheme", "host", "port", "path", "status"];
/// `routes[].redirect.path`
pub(super) const REDIRECT_PATH: &[&str] = &["full", "prefix"];
/// `routes[].respond`
pub(super) const RESPOND: &[&str] = &["status", "headers", "body"];
/// `routes[].respond.body`, if it is not a text
pub(super) const BODY: &[&str] = &["file"];
/// `routes[].rewrite`
pub(super) const REWRITE: &[&str] = &["host", "path"];
/// `routes[].rewrite.path`
pub(super) const REWRITE_PATH: &[&str] = &["full", "prefix", "regex"];
/// `routes[].rewrite.path.regex`
pub(super) const REWRITE_REGEX: &[&str] = &["match", "replace"];
/// `routes[].request_headers`, `routes[].response_headers`
pub(super) const HEADER_RULES: &[&str] = &["set", "add", "remove"];
/// `routes[].mirror[]`, if it is not a name
pub(super) const MIRROR: &[&str] = &["upstream", "percent"];
/// `upstreams.*`
pub(super) const UPSTREAM: &[&str] = &["endpoints", "balance", "timeouts", "pool"];
/// `upstreams.*.endpoints[]`
pub(super) const ENDPOINT: &[&str] = &["address", "weight"];
/// `upstreams.*.timeouts`
pub(super) const UPSTREAM_TIMEOUTS: &[&str] = &["connect", "idle"];
/// `upstreams.*.pool`
pub(super) const POOL: &[&str] = &["max_idle", "idle_timeout", "max_age"];
/// `admin`
pub(super) const ADMIN: &[&str] = &["probes", "control"];
/// `access_log`
pub(super) const ACCESS_LOG: &[&str] = &["file"];
/// `drain`
pub(super) const DRAIN: &[&str] = &["timeout", "delay"];

/// Each place and its keys; `*` stands for a name, `[]` for an item of a list.
pub(crate) const ALL: &[(&str, &[&str])] = &[
    ("", ROOT),
    ("listeners.*", LISTENER),
    ("listeners.*.timeouts", LISTENER_TIMEOUTS),
    ("listeners.*.limits", LISTENER_LIMITS),
    ("listeners.*.normalize", NORMALIZE),
    ("routes[]", ROUTE),
    ("routes[].match[]", MATCH),
    ("routes[].match[].path", PATH),
    ("routes[].match[].headers.*", VALUE),
    ("routes[].match[].query.*", VALUE),
    ("routes[].forward", FORWARD),
    ("routes[].forward.sticky", STICKY),
    ("routes[].redirect", REDIRECT),
    ("routes[].redirect.path", REDIRECT_PATH),
    ("routes[].respond", RESPOND),
    ("routes[].respond.body", BODY),
    ("routes[].rewrite", REWRITE),
    ("routes[].rewrite.path", REWRITE_PATH),
    ("routes[].rewrite.path.regex", REWRITE_REGEX),
    ("routes[].request_headers", HEADER_RULES),
    ("routes[].response_headers", HEADER_RULES),
    ("routes[].mirror[]", MIRROR),
    ("upstreams.*", UPSTREAM),
    ("upstreams.*.endpoints[]", ENDPOINT),
    ("upstreams.*.timeouts", UPSTREAM_TIMEOUTS),
    ("upstreams.*.pool", POOL),
    ("admin", ADMIN),
    ("access_log", ACCESS_LOG),
    ("drain", DRAIN),
];
