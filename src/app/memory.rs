//! Watches the memory of the process and of its cgroup.
//!
//! Path: [`super::start`] runs it on the control runtime, so that it goes on when all workers are busy. What it finds is
//! noted in the [`Budget`] that workers read. On the way it forgets keys of rate limits that are as good as new. The root of
//! the file system is an argument, so that tests bring their own.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};

use crate::config::model::{Memory, MemoryLimit};
use crate::policy::memory::{Budget, Level, Thresholds, Use};
use crate::snapshot::Store;
use crate::telemetry::metrics::Metrics;
use crate::units::Pretty;

/// Between two measurements: a few files of a line each.
const PACE: Duration = Duration::from_millis(100);
/// Between two looks for keys to forget: they cost nobody anything but memory.
const SWEEP: Duration = Duration::from_secs(5);
/// What version 1 says when there is no limit: all bits of a page counter.
const UNLIMITED: u64 = 1 << 60;

/// Measures for as long as the runtime lives.
pub(super) async fn watch(store: Arc<Store>, metrics: Arc<Metrics>) {
    let mut group = Group::find(Path::new("/"));
    let mut swept = Instant::now();
    let mut ticks = tokio::time::interval(PACE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let snapshot = store.load();
        let section = &snapshot.config.memory;
        let measured = group.measure(section);
        note(&snapshot.limits.memory, measured, section, &metrics);
        if swept.elapsed() >= SWEEP {
            swept = Instant::now();
            snapshot.limits.sweep(swept.into_std());
            // A limit may be changed while the process runs.
            group = Group::find(Path::new("/"));
        }
    }
}

fn note(budget: &Budget, measured: Use, section: &Memory, metrics: &Metrics) {
    let thresholds = Thresholds {
        replay_at: section.replay_at,
        shed_at: section.shed_at,
    };
    let (before, after) = budget.note(measured, thresholds);
    let gauge = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    let handles = metrics.memory();
    handles.used.set(gauge(measured.used));
    handles.limit.set(gauge(measured.limit));
    handles.level.set(after as i64);
    if before == after {
        return;
    }
    let in_use = format!(
        "{} of {} in use",
        Pretty::Bytes(rounded(measured.used)),
        Pretty::Bytes(rounded(measured.limit))
    );
    let what = match after {
        Level::Normal => "nothing is given up anymore",
        Level::NoReplay => "request bodies are not kept for retries",
        Level::Shed => "new requests are refused",
    };
    let detail = format!("{in_use}: {what}");
    if after > before {
        tracing::warn!(detail, "memory is short");
    } else {
        tracing::info!(detail, "memory");
    }
}

/// To whole MiB: nobody reads the rest.
fn rounded(bytes: u64) -> u64 {
    bytes.next_multiple_of(1 << 20)
}

/// Where the process's memory is counted.
#[derive(Debug)]
struct Group {
    root: PathBuf,
    /// The group whose limit is the smallest on the way to the root, and that limit.
    limited: Option<(PathBuf, Version, u64)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

impl Group {
    /// Version 2, else version 1.
    fn find(root: &Path) -> Self {
        let membership = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
        let unified = membership.lines().find_map(|line| line.strip_prefix("0::"));
        let memory = membership.lines().find_map(|line| {
            let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
            let named = controllers.split(',').any(|name| name == "memory");
            named.then_some(path)
        });
        let base = root.join("sys/fs/cgroup");
        let limited = smallest(&base, unified.unwrap_or("/"), Version::Two)
            .or_else(|| smallest(&base.join("memory"), memory.unwrap_or("/"), Version::One));
        Self {
            root: root.to_path_buf(),
            limited,
        }
    }

    /// What is in use of what is allowed; a limit of 0 is none.
    fn measure(&self, section: &Memory) -> Use {
        let own = resident(&self.root).unwrap_or_default();
        match (section.limit, &self.limited) {
            (MemoryLimit::Bytes(limit), _) => Use { used: own, limit },
            // The kernel ends whoever is in the group when all of them together use too much.
            (MemoryLimit::Auto, Some((group, version, limit))) => Use {
                used: working_set(group, *version).unwrap_or_default().max(own),
                limit: *limit,
            },
            (MemoryLimit::Auto, None) | (MemoryLimit::Off, _) => Use {
                used: own,
                limit: 0,
            },
        }
    }
}

/// In a container the path may be the host's, of which only the root is mounted: then the root's own file counts.
fn smallest(base: &Path, path: &str, version: Version) -> Option<(PathBuf, Version, u64)> {
    let mut group = base.join(path.trim_start_matches('/'));
    let mut least: Option<(PathBuf, Version, u64)> = None;
    loop {
        if let Some(limit) = limit(&group, version)
            && least.as_ref().is_none_or(|(_, _, least)| limit < *least)
        {
            least = Some((group.clone(), version, limit));
        }
        if group == *base || !group.pop() {
            return least;
        }
    }
}

/// `max`, or about all there can be, is no limit.
fn limit(group: &Path, version: Version) -> Option<u64> {
    let name = match version {
        Version::Two => "memory.max",
        Version::One => "memory.limit_in_bytes",
    };
    number(&group.join(name)).filter(|limit| (1..UNLIMITED).contains(limit))
}

/// What the group uses, without the file cache that the kernel would give up first.
fn working_set(group: &Path, version: Version) -> Option<u64> {
    let (usage, cache) = match version {
        Version::Two => ("memory.current", "inactive_file "),
        Version::One => ("memory.usage_in_bytes", "total_inactive_file "),
    };
    let usage = number(&group.join(usage))?;
    let stat = fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
    let cache = stat.lines().find_map(|line| line.strip_prefix(cache));
    let cache = cache.and_then(|bytes| bytes.trim().parse().ok());
    Some(usage.saturating_sub(cache.unwrap_or(0)))
}

/// Memory of the process that is not swapped out. In kilobytes, unlike `statm`, which counts in pages of unknown size.
fn resident(root: &Path) -> Option<u64> {
    let status = fs::read_to_string(root.join("proc/self/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}

fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn measured(files: &[(&str, &str)], limit: MemoryLimit) -> Use {
        let root = tempfile::tempdir().unwrap();
        let status = (
            "proc/self/status",
            "Name:\tx\nVmRSS:\t    2048 kB\nThreads:\t3\n",
        );
        for (path, text) in files.iter().chain([&status]) {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Group::find(root.path()).measure(&Memory {
            limit,
            ..Memory::default()
        })
    }

    #[test]
    fn version_2_counts_the_working_set_against_the_smallest_limit_on_the_way_to_the_root() {
        let files = [
            ("proc/self/cgroup", "0::/pod/app\n"),
            ("sys/fs/cgroup/pod/memory.max", "104857600\n"),
            ("sys/fs/cgroup/pod/memory.current", "60000000\n"),
            (
                "sys/fs/cgroup/pod/memory.stat",
                "anon 1\ninactive_file 10000000\nactive_file 5\n",
            ),
            ("sys/fs/cgroup/pod/app/memory.max", "max\n"),
        ];
        let expected = Use {
            used: 50_000_000,
            limit: 100 * MIB,
        };
        assert_eq!(measured(&files, MemoryLimit::Auto), expected);
    }

    #[test]
    fn version_1_is_read_too() {
        let files = [
            (
                "proc/self/cgroup",
                "4:memory:/docker/abc\n1:name=systemd:/docker/abc\n",
            ),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "104857600\n"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "60000000\n"),
            (
                "sys/fs/cgroup/memory/memory.stat",
                "cache 1\ntotal_inactive_file 20000000\n",
            ),
        ];
        let expected = Use {
            used: 40_000_000,
            limit: 100 * MIB,
        };
        assert_eq!(measured(&files, MemoryLimit::Auto), expected);
    }

    #[test]
    fn without_a_limit_there_is_no_budget() {
        let none = Use {
            used: 2 * MIB,
            limit: 0,
        };
        assert_eq!(measured(&[], MemoryLimit::Auto), none);
        let files = [
            ("sys/fs/cgroup/memory.max", "max\n"),
            (
                "sys/fs/cgroup/memory/memory.limit_in_bytes",
                "9223372036854771712\n",
            ),
        ];
        assert_eq!(measured(&files, MemoryLimit::Auto), none);
        let limited = [("sys/fs/cgroup/memory.max", "104857600\n")];
        assert_eq!(measured(&limited, MemoryLimit::Off), none);
        assert_eq!(
            measured(
                &[("sys/fs/cgroup/memory.max", "garbage")],
                MemoryLimit::Auto
            ),
            none
        );
    }

    #[test]
    fn a_limit_of_the_file_counts_the_process_alone() {
        let files = [
            ("sys/fs/cgroup/memory.max", "104857600\n"),
            ("sys/fs/cgroup/memory.current", "60000000\n"),
        ];
        let expected = Use {
            used: 2 * MIB,
            limit: 3 * MIB,
        };
        assert_eq!(measured(&files, MemoryLimit::Bytes(3 * MIB)), expected);
    }

    #[test]
    fn the_process_knows_its_own_size() {
        let own = resident(Path::new("/")).expect("this is Linux");
        assert!(own > MIB, "{own}");
    }
}
