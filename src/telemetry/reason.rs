//! Everything that an exchange may end with but an answer from an app: one closed list.
//!
//! Path: `proxy::error` says which one it was; the answer's body, `Proxy-Status` (RFC 9209), the access line and the metric
//! label `reason` all tell the same code. `docs/reasons.md` is printed from here. A new code is one entry below, and one
//! provocation in `tests/it/reasons.rs`, which asks for it.

use std::fmt::Write;

/// On which side the cause lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The client.
    Downstream,
    /// The endpoint, or the way to it.
    Upstream,
    /// The proxy or its configuration.
    Proxy,
}

impl Side {
    /// The word used in answers and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Downstream => "downstream",
            Self::Upstream => "upstream",
            Self::Proxy => "proxy",
        }
    }
}

/// What an exchange was doing when it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Taking a connection.
    Accept,
    /// Agreeing on keys with the client or an endpoint.
    Tls,
    /// Reading the request's head.
    ReadHead,
    /// Looking for a route.
    Route,
    /// Asking limits, breakers and health.
    Policy,
    /// Opening a connection to an endpoint.
    Connect,
    /// Sending the request to an endpoint.
    Send,
    /// Waiting for the head of its answer.
    Wait,
    /// Moving a body.
    Body,
}

impl Phase {
    /// The word used in answers and documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Tls => "tls",
            Self::ReadHead => "read_head",
            Self::Route => "route",
            Self::Policy => "policy",
            Self::Connect => "connect",
            Self::Send => "send",
            Self::Wait => "wait",
            Self::Body => "body",
        }
    }
}

/// What is known of a reason before it occurs.
#[derive(Debug, Clone, Copy)]
pub struct Facts {
    /// Its name in logs and metrics; upper-cased in answers.
    pub code: &'static str,
    /// Whose side the cause lies on.
    pub side: Side,
    /// What the exchange was doing.
    pub phase: Phase,
    /// The status of the answer, if there still can be one.
    pub status: u16,
    /// The error type of RFC 9209 §2.3 that comes closest.
    pub error_type: &'static str,
    /// What happened, as one sentence.
    pub cause: &'static str,
    /// What to do about it, as one sentence.
    pub remedy: &'static str,
}

macro_rules! reasons {
    ($($name:ident = $code:literal $side:ident $phase:ident $status:literal $error_type:literal $cause:literal $remedy:literal;)*) => {
        /// Why an exchange ended without an app's whole answer.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Reason {
            $(#[doc = $cause] $name,)*
        }

        impl Reason {
            /// All of them, in the order of a request's path.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// What is known of it.
            pub const fn facts(self) -> &'static Facts {
                match self {
                    $(Self::$name => &Facts {
                        code: $code,
                        side: Side::$side,
                        phase: Phase::$phase,
                        status: $status,
                        error_type: $error_type,
                        cause: $cause,
                        remedy: $remedy,
                    },)*
                }
            }
        }
    };
}

reasons! {
    HeaderTimeout = "request_header_timeout" Downstream ReadHead 408 "http_request_error"
        "The client did not finish the head of its request in time."
        "Raise `timeouts.request_header` of the listener if its clients are that slow; else look at the client and the way to it.";
    BadRequest = "bad_request" Downstream ReadHead 400 "http_request_error"
        "The request's head contradicts itself or the protocol."
        "Mend the client; the message says what is wrong with its head.";
    RequestHeadersTooLarge = "request_headers_too_large" Downstream ReadHead 431 "http_request_error"
        "The request's head has more lines than it may."
        "Raise `limits.headers` of the listener if its clients need that many.";
    MethodNotAllowed = "method_not_allowed" Downstream ReadHead 405 "http_request_error"
        "The client asked for a tunnel with `CONNECT`, and tunnels are not offered here."
        "Do not use this listener as a forward proxy.";
    NoRoute = "no_route" Proxy Route 404 "destination_not_found"
        "No route of the listener takes the request."
        "Add a route whose `match` takes it, or `forward` to the listener.";
    MemoryOverloaded = "memory_overloaded" Proxy Policy 503 "connection_limit_reached"
        "The process has hardly any memory left and takes no new requests."
        "Give it more memory, or lower the limits of requests under way; `memory.shed_at` says from where on.";
    ListenerOverloaded = "listener_overloaded" Proxy Policy 503 "connection_limit_reached"
        "As many requests of the listener are under way as may be."
        "Raise `limits.in_flight` of the listener if the app can take more; else run more of them.";
    RouteOverloaded = "route_overloaded" Proxy Policy 503 "connection_limit_reached"
        "As many requests of the route are under way as may be."
        "Raise `limits.in_flight` of the route, or let some wait with `limits.pending`.";
    UpstreamOverloaded = "upstream_overloaded" Proxy Policy 503 "connection_limit_reached"
        "As many requests to the upstream are under way as may be, and no place to wait is free."
        "Raise `limits.in_flight` or `limits.pending` of the upstream if its endpoints can take more; else add endpoints.";
    EndpointsOverloaded = "endpoints_overloaded" Proxy Policy 503 "connection_limit_reached"
        "Every endpoint of the upstream has as many requests under way as it may."
        "Raise `limits.endpoint_in_flight` or `limits.connections` of the upstream, or add endpoints.";
    QueueTimeout = "queue_timeout" Proxy Policy 503 "connection_limit_reached"
        "The request waited for its turn as long as one may, and none came."
        "Raise `limits.pending_wait` if callers can wait longer; else the app is too slow for this many requests.";
    RateLimited = "rate_limited" Proxy Policy 429 "http_request_denied"
        "The caller made more requests than the rate limit allows."
        "Come again after `Retry-After`; raise `requests` or `burst` of the `rate_limit` if that was too strict.";
    CircuitOpen = "circuit_open" Upstream Policy 503 "destination_unavailable"
        "A circuit breaker is open, so the upstream is not being called."
        "Look at what its endpoints did before (`last_error`, `/upstreams`); it probes again by itself after `open_for`.";
    NoHealthyEndpoint = "no_healthy_endpoint" Upstream Policy 503 "destination_unavailable"
        "Every endpoint of the upstream is unhealthy or ejected."
        "Look at the endpoints: the message says what is wrong with each; `panic_threshold` would ask them all the same.";
    NoEndpoint = "no_endpoint" Upstream Connect 503 "destination_unavailable"
        "The upstream has no endpoint at all."
        "Add one to `endpoints`, or to what its `discovery` reads.";
    DiscoveryFailed = "discovery_failed" Upstream Connect 503 "dns_error"
        "The upstream's endpoints are not known, because they could not be looked up."
        "Check the name and who resolves it (`dns.servers`); the message has the last error.";
    ConnectRefused = "connect_refused" Upstream Connect 502 "connection_refused"
        "Nobody listens at the endpoint's address."
        "Start the app, or mend the address or port in `endpoints`.";
    ConnectTimeout = "connect_timeout" Upstream Connect 504 "connection_timeout"
        "The endpoint did not take the connection in time."
        "Check the way to it (firewall, host down); raise `timeouts.connect` of the upstream if it is far away.";
    UpstreamTlsTimeout = "upstream_tls_timeout" Upstream Tls 504 "connection_timeout"
        "The endpoint took the connection and did not finish the TLS handshake in time."
        "Check that its port speaks TLS; raise `timeouts.tls` of the upstream if it is that slow.";
    UpstreamCertificate = "upstream_certificate" Upstream Tls 502 "tls_certificate_error"
        "The endpoint's certificate is not to be believed, so nothing was sent to it."
        "The message says why: name its authority in `tls.ca`, its name in `tls.server_name`, or renew the certificate.";
    UpstreamTlsRefused = "upstream_tls_refused" Upstream Tls 502 "tls_alert_received"
        "The endpoint broke off the TLS handshake, and said why."
        "The message has its word: mostly it wants a certificate (`tls.certificate`), another name or another `protocol`.";
    UpstreamTlsFailed = "upstream_tls_failed" Upstream Tls 502 "tls_protocol_error"
        "No TLS handshake with the endpoint was to be had."
        "The message says why: mostly its port does not speak TLS, or the files of `tls` cannot be used.";
    UpstreamNotHttp2 = "upstream_not_http2" Upstream Connect 502 "http_protocol_error"
        "The endpoint does not speak HTTP/2, which the file says it does."
        "Set `protocol` of the upstream to what its app speaks, or switch HTTP/2 on in the app.";
    ConnectFailed = "connect_failed" Upstream Connect 502 "destination_ip_unroutable"
        "No connection to the endpoint was to be had."
        "Check the address and the network; `last_error` has the system's word.";
    UpstreamReset = "upstream_reset" Upstream Wait 502 "connection_terminated"
        "The endpoint closed the connection before the head of its answer was complete."
        "Look at the app's log: it crashed, restarted, or closed on its own idle timeout.";
    UpstreamProtocolError = "upstream_protocol_error" Upstream Wait 502 "http_protocol_error"
        "What the endpoint answered is not valid HTTP."
        "Check that the port speaks plain HTTP/1.1 and not TLS, HTTP/2 or something else.";
    UpstreamHeadersTooLarge = "upstream_headers_too_large" Upstream Wait 502 "http_response_header_section_size"
        "The head of the endpoint's answer has more bytes or lines than it may."
        "Raise `limits.header_bytes` or `limits.headers` of the upstream, or let the app send less.";
    UpstreamIdleTimeout = "upstream_idle_timeout" Upstream Wait 504 "http_response_timeout"
        "The endpoint neither sent nor took anything for too long."
        "Raise `timeouts.idle` of the upstream if it may be silent that long; else look why the app hangs.";
    AttemptTimeout = "attempt_timeout" Upstream Wait 504 "http_response_timeout"
        "The endpoint took longer than one attempt may, and no further attempt had an answer."
        "Raise `retry.per_try_timeout` of the route, or look why the app is slow.";
    RequestTimeout = "request_timeout" Upstream Wait 504 "http_response_timeout"
        "The answer was not complete within the time of its route."
        "Raise `timeout` of the route, or look why the app is slow; `attempts` in the access line shows where the time went.";
    DeadlineExceeded = "deadline_exceeded" Upstream Wait 504 "http_response_timeout"
        "The time that the client allowed is over."
        "Let the client allow more (`grpc-timeout` or the `deadline_header`), or look why the app is slow.";
    UpstreamBodyReset = "upstream_body_reset" Upstream Body 502 "http_response_incomplete"
        "The endpoint broke off its answer; the client saw a cut connection or stream."
        "Look at the app's log: it crashed or gave up while it was answering.";
    UpgradedIdleTimeout = "upgraded_idle_timeout" Proxy Body 504 "http_response_timeout"
        "Nothing moved on an upgraded connection (WebSocket) for too long."
        "Raise the idle time of upgraded connections, or let one side send pings.";
    BodyTooLarge = "body_too_large" Downstream Body 413 "http_request_error"
        "The request's body is longer than it may be."
        "Raise `limits.body_bytes` of the route or listener if bodies that long are welcome.";
    ClientIdleTimeout = "client_idle_timeout" Downstream Body 408 "http_request_error"
        "The client stopped sending the body of its request."
        "Look at the client and the way to it; raise `timeouts.idle` of the upstream if it may pause that long.";
    ClientBodyTooSlow = "client_body_too_slow" Downstream Body 408 "http_request_error"
        "The client sent the body of its request more slowly than it must."
        "Lower `limits.min_body_rate` of the listener if clients that slow are welcome.";
    ClientBodyAborted = "client_body_aborted" Downstream Body 400 "http_request_error"
        "The client broke off the body of its request."
        "Look at the client: it crashed, gave up, or framed its body wrongly.";
    ClientGone = "client_gone" Downstream Body 400 "http_request_error"
        "The client left before the answer was complete; nobody is to blame at the upstream."
        "If it is frequent, clients wait less than the app takes: compare their timeouts with `duration_ms`.";
    InternalError = "internal_error" Proxy Policy 500 "proxy_internal_error"
        "The proxy has a defect, and this request met it; others go on."
        "Report it with the log's line about the panic.";
}

impl Reason {
    /// The code in logs and metrics.
    pub const fn as_str(self) -> &'static str {
        self.facts().code
    }
}

/// The page about all reasons, in Markdown.
pub fn page() -> String {
    let mut page = String::from(
        "# Reasons\n\n\
         Why an exchange ended without an app's whole answer. The same code stands in the answer's body (`code`, upper case),\n\
         in `Proxy-Status` (`details`), in the access line (`reason`) and in `outrigger_errors_total{reason=…}`.\n\
         *Side* is who to look at: `downstream` the client, `upstream` the app or the way to it, `proxy` this configuration.\n\
         The answer's `details.limit` names the key that fired, its value and its line (`at`).\n\n\
         This page is printed from `src/telemetry/reason.rs`; `BLESS=1 cargo test --test it reasons` writes it anew.\n\n\
         | code | side | phase | status | `Proxy-Status` error |\n|---|---|---|---|---|\n",
    );
    // Writing to a `String` cannot fail.
    for reason in Reason::ALL {
        let facts = reason.facts();
        let (side, phase) = (facts.side.as_str(), facts.phase.as_str());
        let _ = writeln!(
            page,
            "| [`{code}`](#{code}) | {side} | {phase} | {} | `{}` |",
            facts.status,
            facts.error_type,
            code = facts.code,
        );
    }
    for reason in Reason::ALL {
        let facts = reason.facts();
        let _ = write!(
            page,
            "\n## {}\n\n{}\n\n**What to do**: {}\n",
            facts.code, facts.cause, facts.remedy
        );
    }
    page
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// RFC 9209 §2.3.
    const ERROR_TYPES: [&str; 32] = [
        "dns_timeout",
        "dns_error",
        "destination_not_found",
        "destination_unavailable",
        "destination_ip_prohibited",
        "destination_ip_unroutable",
        "connection_refused",
        "connection_terminated",
        "connection_timeout",
        "connection_read_timeout",
        "connection_write_timeout",
        "connection_limit_reached",
        "tls_protocol_error",
        "tls_certificate_error",
        "tls_alert_received",
        "http_request_error",
        "http_request_denied",
        "http_response_incomplete",
        "http_response_header_section_size",
        "http_response_header_size",
        "http_response_body_size",
        "http_response_trailer_section_size",
        "http_response_trailer_size",
        "http_response_transfer_coding",
        "http_response_content_coding",
        "http_response_timeout",
        "http_upgrade_failed",
        "http_protocol_error",
        "proxy_internal_response",
        "proxy_internal_error",
        "proxy_configuration_error",
        "proxy_loop_detected",
    ];

    #[test]
    fn codes_are_unique_words_and_their_error_types_are_registered() {
        let mut seen = HashSet::new();
        for reason in Reason::ALL {
            let facts = reason.facts();
            assert!(seen.insert(facts.code), "{} twice", facts.code);
            let legal = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_');
            assert!(facts.code.bytes().all(legal), "{}", facts.code);
            assert!(ERROR_TYPES.contains(&facts.error_type), "{facts:?}");
            assert!((400..600).contains(&facts.status), "{facts:?}");
            for text in [facts.cause, facts.remedy] {
                assert!(text.ends_with('.') && !text.contains('\n'), "{text}");
            }
        }
    }
}
