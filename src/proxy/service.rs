//! The stack as hyper wants it.
//!
//! Path: `downstream` makes one for each connection; hyper calls it for each request on it.

use std::cell::RefCell;
use std::convert::Infallible;
use std::ops::Deref;
use std::sync::Arc;

use arc_swap::ArcSwap;
use arc_swap::cache::Cache;
use http::{Request, Response};
use hyper::body::Incoming;

use super::body::ProxyBody;
use super::stack::Arrival;
use super::{ConnInfo, Engine};
use crate::snapshot::{Snapshot, Store};

/// Serves the requests of one connection with `stack`.
#[derive(Debug)]
pub struct ConnService<S> {
    stack: S,
    engine: Arc<Engine>,
    connection: Arc<ConnInfo>,
    snapshots: RefCell<Cache<StoreRef, Arc<Snapshot>>>,
}

/// A [`Store`] as the cache wants it.
#[derive(Debug, Clone)]
struct StoreRef(Arc<Store>);

impl Deref for StoreRef {
    type Target = ArcSwap<Snapshot>;

    fn deref(&self) -> &ArcSwap<Snapshot> {
        self.0.swap()
    }
}

impl<S> ConnService<S> {
    /// For the requests of `connection`.
    pub fn new(stack: S, engine: Arc<Engine>, connection: Arc<ConnInfo>) -> Self {
        let snapshots = RefCell::new(Cache::new(StoreRef(Arc::clone(&engine.snapshots))));
        Self {
            stack,
            engine,
            connection,
            snapshots,
        }
    }
}

impl<S> hyper::service::Service<Request<Incoming>> for ConnService<S>
where
    S: tower::Service<Arrival, Response = Response<ProxyBody>, Error = Infallible> + Clone,
{
    type Response = Response<ProxyBody>;
    type Error = Infallible;
    type Future = S::Future;

    fn call(&self, request: Request<Incoming>) -> S::Future {
        // The stack is always ready and a clone of it is free; see `stack`.
        self.stack.clone().call(Arrival {
            request,
            engine: Arc::clone(&self.engine),
            connection: Arc::clone(&self.connection),
            snapshot: Arc::clone(self.snapshots.borrow_mut().load()),
        })
    }
}
