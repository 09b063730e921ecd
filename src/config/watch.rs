//! Notices that the file has changed.
//!
//! Path: `app` runs [`watch`] on the control runtime; a change becomes a reload. [`look_at`] does the same for files whose
//! content is judged elsewhere: certificates. The parent directory is watched, so
//! that an editor's rename, a deletion and Kubernetes' swap of the `..data` link are seen; and because notifications can
//! be lost (network file systems, full queues), the content is compared every other second as well.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

use super::content_hash;

/// Pace of the comparison.
const POLL: Duration = Duration::from_secs(2);

/// Several events in a row are one change; this long without another ends the row.
const SETTLE: Duration = Duration::from_millis(30);

/// A row of events is looked at after this long even if it does not end.
const PATIENCE: Duration = Duration::from_millis(300);

/// Calls `changed` whenever the content of `path` is another than before; at first, than `known`, the hash of what was
/// read. Never returns.
pub async fn watch(path: PathBuf, known: u64, changed: impl Fn()) {
    let (sender, mut events) = mpsc::channel(1);
    // Kept alive for as long as events are wanted; without it, the comparison is all there is.
    let _watcher = notify_about(std::slice::from_ref(&path), sender);
    let mut known = Some(known);
    loop {
        // First of all: the file may have changed between being read and being watched.
        let current = hash(&path);
        if current != known {
            known = current;
            changed();
        }
        tokio::select! {
            () = sleep(POLL) => {}
            Some(()) = events.recv() => settle(&mut events).await,
        }
    }
}

/// Calls `look` at once, after each change in a directory of `paths`, and every other second. Never returns.
pub async fn look_at<F: Future<Output = ()>>(paths: Vec<PathBuf>, look: impl Fn() -> F) {
    let (sender, mut events) = mpsc::channel(1);
    let _watcher = notify_about(&paths, sender);
    loop {
        look().await;
        tokio::select! {
            () = sleep(POLL) => {}
            Some(()) = events.recv() => settle(&mut events).await,
        }
    }
}

async fn settle(events: &mut mpsc::Receiver<()>) {
    let patience = Instant::now() + PATIENCE;
    loop {
        tokio::select! {
            () = sleep(SETTLE) => return,
            () = sleep_until(patience) => return,
            Some(()) = events.recv() => {}
        }
    }
}

fn notify_about(paths: &[PathBuf], sender: mpsc::Sender<()>) -> Option<impl Watcher> {
    let directory = |path: &PathBuf| -> PathBuf {
        let parent = path.parent();
        let named = parent.filter(|parent| !parent.as_os_str().is_empty());
        named.unwrap_or(Path::new(".")).to_owned()
    };
    let directories: BTreeSet<PathBuf> = paths.iter().map(directory).collect();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Reading the file is an event as well, and ours.
        if !event.is_ok_and(|event| event.kind.is_access()) {
            // One event in the queue says as much as many.
            let _ = sender.try_send(());
        }
    })
    .ok()?;
    for directory in directories {
        // One that is missing is looked at without being told of.
        let _ = watcher.watch(&directory, RecursiveMode::NonRecursive);
    }
    Some(watcher)
}

/// `None`: there is no file to read, which is a state like any other.
fn hash(path: &Path) -> Option<u64> {
    fs::read_to_string(path)
        .ok()
        .map(|text| content_hash(&text))
}
