//! Connections whose bytes are nobody's business: joined with an endpoint, both ways, until both sides have said all.
//!
//! Path: `downstream::connection` comes here instead of to HTTP when the listener's `protocol` is `tcp`. The connection
//! is the unit that is balanced: it holds its place at the endpoint to its end. A connect that fails speaks against the
//! endpoint, and another one is tried while the retry budget allows; afterwards nothing is tried again, for nobody knows
//! what the bytes meant. The end of one direction is passed on and leaves the other open.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus::IntGauge;
use tokio::io::copy_bidirectional;
use tokio::time::Instant;

use super::upgrade::counted;
use crate::policy::failure::{Failure, Verdict};
use crate::snapshot::TcpForward;
use crate::telemetry::tcp::{TcpResult, TcpTelemetry};
use crate::upstream::admission::Admission;
use crate::upstream::connect::{ConnectError, Dialled, Opening};
use crate::upstream::endpoint::Endpoint;
use crate::upstream::proxy_header::Ends;
use crate::wire::Wire;

/// Endpoints that are tried for one connection, at most.
const TRIES: usize = 3;

/// Looks for movement within one idle time: what ends a connection is at most an eighth late.
const LOOKS: u32 = 8;

/// Counts the connection's end; if nobody says otherwise, it was cut.
struct Ending<'a> {
    telemetry: &'a TcpTelemetry,
    result: TcpResult,
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.telemetry.ended(self.result);
    }
}

/// A place at an endpoint and the connection there.
struct Joined {
    admission: Admission,
    dialled: Dialled,
}

/// Joins `client` with an endpoint until both are done, or nothing has moved for `idle`. Dropping it cuts both.
pub async fn serve(client: Wire, peer: SocketAddr, forward: &TcpForward, idle: Duration) {
    let mut ending = Ending {
        telemetry: &forward.telemetry,
        result: TcpResult::Cut,
    };
    ending.result = match open(forward, ends(&client, peer)).await {
        Ok(joined) => join(client, joined, &forward.telemetry, idle).await,
        Err(result) => result,
    };
}

/// What the endpoint is told of the client's connection, if it is told.
fn ends(client: &Wire, peer: SocketAddr) -> Option<Ends> {
    let server = client.local_address()?;
    Some(Ends {
        client: peer,
        server,
    })
}

async fn open(forward: &TcpForward, ends: Option<Ends>) -> Result<Joined, TcpResult> {
    let upstream = &forward.upstream;
    let budget = upstream.retry_budget.as_ref();
    if let Some(budget) = budget {
        budget.deposit(Instant::now().into_std());
    }
    let mut tried: Vec<Arc<Endpoint>> = Vec::new();
    let mut failure = TcpResult::NoEndpoint;
    while tried.len() < TRIES {
        let started = Instant::now();
        let now = started.into_std();
        let again = !tried.is_empty();
        if again && budget.is_some_and(|budget| !budget.withdraw(now)) {
            break;
        }
        let Ok(mut admission) = upstream.enter(&tried, now) else {
            break;
        };
        // The only endpoint again would refuse again.
        if tried.iter().any(|it| Arc::ptr_eq(it, admission.endpoint())) {
            break;
        }
        let endpoint = Arc::clone(admission.endpoint());
        let dialled = Opening::to(upstream, None).bytes(&endpoint, ends).await;
        let verdict = match &dialled {
            Ok(_) => Verdict::Success,
            Err(ConnectError::Full) => Verdict::Ignored,
            Err(_) => Verdict::Failure(Failure::Connect),
        };
        admission.report(verdict, started.elapsed(), Instant::now().into_std());
        match dialled {
            Ok(dialled) => return Ok(Joined { admission, dialled }),
            Err(_) => failure = TcpResult::ConnectFailed,
        }
        tried.push(endpoint);
    }
    Err(failure)
}

async fn join(client: Wire, joined: Joined, telemetry: &TcpTelemetry, idle: Duration) -> TcpResult {
    let Joined {
        admission,
        dialled:
            Dialled {
                mut stream,
                counted: connection,
                ..
            },
    } = joined;
    let _active = Active::new(&telemetry.active);
    let moved = AtomicU64::new(0);
    let note = |bytes: &[u8]| {
        let count = bytes.len() as u64;
        moved.fetch_add(count, Ordering::Relaxed);
        count
    };
    let mut client = counted(
        client,
        |bytes: &[u8]| telemetry.up.inc_by(note(bytes)),
        |bytes: &[u8]| telemetry.down.inc_by(note(bytes)),
    );
    let result = tokio::select! {
        talk = copy_bidirectional(&mut client, &mut stream) => match talk {
            Ok(_) => TcpResult::Closed,
            Err(_) => TcpResult::Reset,
        },
        () = stalled(&moved, idle) => TcpResult::Idle,
    };
    drop((admission, connection));
    result
}

/// Completes when nothing has moved for `idle`.
async fn stalled(moved: &AtomicU64, idle: Duration) {
    let (mut before, mut quiet) = (moved.load(Ordering::Relaxed), 0);
    while quiet < LOOKS {
        tokio::time::sleep(idle / LOOKS).await;
        let now = moved.load(Ordering::Relaxed);
        quiet = if now == before { quiet + 1 } else { 0 };
        before = now;
    }
}

/// Counts a joined connection for as long as it lives.
struct Active(IntGauge);

impl Active {
    fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.dec();
    }
}
