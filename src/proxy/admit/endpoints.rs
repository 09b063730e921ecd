//! A place at an endpoint, and the wait for one when all are full.
//!
//! Path: [`super::super::attempts`] before each attempt.

use std::sync::Arc;

use tokio::pin;
use tokio::time::{Instant, timeout_at};

use super::{endpoints_full, overloaded, waiting};
use crate::proxy::error::{Limit, Overload, ProxyError};
use crate::proxy::exchange::Exchange;
use crate::units::Pretty;
use crate::upstream::Upstream;
use crate::upstream::admission::{Admission, NoRoom};
use crate::upstream::endpoint::Endpoint;
use crate::upstream::queue::{Place, Queue};

/// A place at an endpoint of `upstream`, if there is a choice at none that was `tried`. Where the file allows it, waits for
/// one, until `end` at most.
///
/// # Errors
///
/// Whatever stands in the way; see [`NoRoom`].
pub async fn place(
    exchange: &Exchange,
    upstream: &Arc<Upstream>,
    tried: &[Arc<Endpoint>],
    now: Instant,
    end: Option<Instant>,
) -> Result<Admission, ProxyError> {
    match upstream.enter(tried, now.into_std()) {
        Ok(admission) => Ok(admission),
        Err(NoRoom::Full) if let Some(queue) = &upstream.limits.queue => {
            let wait = wait(upstream, queue, tried, end);
            Box::pin(waiting(exchange, wait)).await
        }
        Err(why) => Err(ProxyError::no_room(upstream, why, now.into_std())),
    }
}

async fn wait(
    upstream: &Arc<Upstream>,
    queue: &Arc<Queue>,
    tried: &[Arc<Endpoint>],
    end: Option<Instant>,
) -> Result<Admission, ProxyError> {
    let Some(place) = queue.join() else {
        return Err(endpoints_full(upstream));
    };
    let until = Instant::now() + queue.patience;
    let until = end.map_or(until, |end| end.min(until));
    loop {
        let turn = place.turn();
        pin!(turn);
        // Before the look: a place that becomes free in between wakes this one.
        turn.as_mut().enable();
        let now = Instant::now().into_std();
        match upstream.enter_in_turn(tried, now) {
            Ok(admission) => return Ok(admission),
            Err(NoRoom::Full) => {}
            Err(why) => return Err(ProxyError::no_room(upstream, why, now)),
        }
        if timeout_at(until, turn).await.is_err() {
            return Err(too_long(upstream, queue, &place));
        }
    }
}

fn too_long(upstream: &Upstream, queue: &Queue, place: &Place) -> ProxyError {
    place.timed_out();
    let name = &upstream.name;
    let message = format!(
        "all endpoints of upstream `{name}` are full, and none had room while this request waited"
    );
    let limit = Limit {
        key: format!("upstreams.{name}.limits.pending_wait"),
        value: Pretty::Time(queue.patience).to_string(),
    };
    overloaded(Overload::Queue, message, Some(limit))
}
