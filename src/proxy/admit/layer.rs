//! The layer that refuses what cannot be served before anything is done for it.
//!
//! Path: [`super::super::stack`], between `Respond` and `Forward`. It reads the memory's level and, if the listener limits
//! its requests, takes a permit. Only whoever has to wait for one costs an allocation.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::Response;
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use super::super::body::ProxyBody;
use super::super::error::ProxyError;
use super::super::exchange::Exchange;
use super::super::stack::{Opened, Received};
use super::{denied_by, out_of_memory, waiting};
use crate::policy::concurrency::{Entry, Permit};
use crate::telemetry::limits::Scope;

/// Lets in as many as there may be.
#[derive(Debug, Clone, Copy)]
pub struct AdmitLayer;

/// See [`AdmitLayer`].
#[derive(Debug, Clone, Copy)]
pub struct Admit<S> {
    inner: S,
}

impl<S> Layer<S> for AdmitLayer {
    type Service = Admit<S>;

    fn layer(&self, inner: S) -> Admit<S> {
        Admit { inner }
    }
}

impl<S, B> Service<Opened<B>> for Admit<S>
where
    S: Service<Opened<B>, Response = Response<ProxyBody>, Error = ProxyError> + Clone,
{
    type Response = Response<ProxyBody>;
    type Error = ProxyError;
    type Future = Admitting<S, B, S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ProxyError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, (exchange, request): Opened<B>) -> Self::Future {
        match enter(&exchange) {
            Ok(None) => Admitting::Running {
                answer: self.inner.call((exchange, request)),
            },
            Ok(Some(permit)) => Admitting::Waiting {
                permit,
                pending: Some(Box::new(Pending {
                    inner: self.inner.clone(),
                    exchange,
                    request,
                })),
            },
            Err(error) => Admitting::Refused { error: Some(error) },
        }
    }
}

type Wait = Pin<Box<dyn Future<Output = Result<Permit, ProxyError>> + Send>>;

/// What waits for its permit, if the request may not go on at once.
fn enter(exchange: &Arc<Exchange>) -> Result<Option<Wait>, ProxyError> {
    if exchange.snapshot.limits.memory.sheds() {
        return Err(out_of_memory(exchange));
    }
    let Some(limit) = &exchange.listener.requests else {
        return Ok(None);
    };
    match limit.enter().map_err(|denied| denied_by(limit, denied))? {
        Entry::Now(permit) => {
            exchange.held.keep(permit, Scope::Listener);
            Ok(None)
        }
        Entry::Later(queued) => {
            let (exchange, limit) = (Arc::clone(exchange), Arc::clone(limit));
            Ok(Some(Box::pin(async move {
                let waited = waiting(&exchange, limit.wait(queued, None)).await;
                waited.map_err(|denied| denied_by(&limit, denied))
            })))
        }
    }
}

/// A request that waits.
#[derive(Debug)]
pub struct Pending<S, B> {
    inner: S,
    exchange: Arc<Exchange>,
    request: Box<Received<B>>,
}

pin_project! {
    /// The answer under way, or the way to it.
    #[project = Stage]
    #[project_replace = Replaced]
    #[allow(missing_docs, reason = "its fields are its own business")]
    pub enum Admitting<S, B, F> {
        /// The listener has as many requests under way as it may.
        Waiting {
            permit: Wait,
            pending: Option<Box<Pending<S, B>>>,
        },
        /// It goes on.
        Running {
            #[pin]
            answer: F,
        },
        /// It does not.
        Refused {
            error: Option<ProxyError>,
        },
    }
}

impl<S, B> Future for Admitting<S, B, S::Future>
where
    S: Service<Opened<B>, Response = Response<ProxyBody>, Error = ProxyError>,
{
    type Output = Result<Response<ProxyBody>, ProxyError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let (permit, pending) = match self.as_mut().project() {
                Stage::Running { answer } => return answer.poll(cx),
                Stage::Refused { error } => {
                    let error = error.take().unwrap_or(ProxyError::Panic);
                    return Poll::Ready(Err(error));
                }
                Stage::Waiting { permit, pending } => {
                    (ready!(permit.as_mut().poll(cx)), pending.take())
                }
            };
            let next = match (permit, pending) {
                (Ok(permit), Some(pending)) => {
                    let Pending {
                        mut inner,
                        exchange,
                        request,
                    } = *pending;
                    exchange.held.keep(permit, Scope::Listener);
                    Self::Running {
                        answer: inner.call((exchange, request)),
                    }
                }
                (Err(error), _) => Self::Refused { error: Some(error) },
                // Polled after its end.
                (Ok(_), None) => Self::Refused { error: None },
            };
            self.as_mut().project_replace(next);
        }
    }
}
