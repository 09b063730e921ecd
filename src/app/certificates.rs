//! Follows the files that `tls` names: certificates, keys, authorities.
//!
//! Path: [`super::start`] and [`super::reload`] call `Shared::follow_certificates` with each snapshot that is put in force.
//! One task on the control runtime looks whenever something happens in a directory of these files, and every other second
//! besides; what changed is read, judged and told by `snapshot::compile`. Without `tls` there is no task.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio_util::task::AbortOnDropHandle;

use super::Shared;
use crate::config::watch;
use crate::snapshot::Snapshot;
use crate::snapshot::compile::{followed, read_again};

/// The task.
#[derive(Debug, Default)]
pub(super) struct Certificates(Mutex<Option<AbortOnDropHandle<()>>>);

impl Shared {
    /// Follows the files of `next`, and no others anymore. Called within the control runtime.
    pub(super) fn follow_certificates(&self, next: &Arc<Snapshot>) {
        let files = followed(next);
        let task = (!files.is_empty()).then(|| {
            let (snapshot, environment) = (Arc::clone(next), self.environment.clone());
            let look = move || {
                let (snapshot, environment) = (Arc::clone(&snapshot), environment.clone());
                let reading =
                    tokio::task::spawn_blocking(move || read_again(&snapshot, &environment));
                async move {
                    // A panic in there is the log's; the next look comes all the same.
                    let _ = reading.await;
                }
            };
            AbortOnDropHandle::new(tokio::spawn(watch::look_at(files, look)))
        });
        *self.upkeep.certificates.0.lock() = task;
    }
}
