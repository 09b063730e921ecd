//! How many workers: from the CPU quota of the cgroup, which is what a container gets, not what its host has.
//!
//! Path: [`super::start`]. The root of the file system is an argument, so that tests bring their own.

use std::fmt;
use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

/// Workers without a quota, at most: a sidecar shares its host with others.
const UNLIMITED: usize = 4;

/// A number of workers and where it comes from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Workers {
    /// How many.
    pub count: NonZeroUsize,
    origin: Origin,
    host: usize,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Origin {
    Config,
    Quota(f64),
    Host,
}

impl fmt::Display for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { count, host, .. } = self;
        match self.origin {
            Origin::Config => write!(
                f,
                "{count} (`workers` in the file; this machine has {host})"
            ),
            Origin::Quota(cpus) => write!(f, "{count} (cgroup quota {cpus} CPU; host has {host})"),
            Origin::Host => write!(
                f,
                "{count} (no cgroup quota; usable CPUs: {host}, at most {UNLIMITED} are used)"
            ),
        }
    }
}

/// Decides: the file's word, else the quota rounded up, else what the host has, at most 4.
pub fn workers(configured: Option<usize>, root: &Path) -> Workers {
    let host = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let (count, origin) = match (configured, quota(root)) {
        (Some(count), _) => (count, Origin::Config),
        (None, Some(cpus)) => (round_up(cpus), Origin::Quota(cpus)),
        (None, None) => (host.min(UNLIMITED), Origin::Host),
    };
    Workers {
        count: NonZeroUsize::new(count).unwrap_or(NonZeroUsize::MIN),
        origin,
        host,
    }
}

/// Smallest quota in CPUs on the way from the process's cgroup to the root; version 2, else version 1.
fn quota(root: &Path) -> Option<f64> {
    let membership = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let unified = membership.lines().find_map(|line| line.strip_prefix("0::"));
    let cpu = membership.lines().find_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        controllers
            .split(',')
            .any(|controller| controller == "cpu")
            .then_some(path)
    });
    let base = root.join("sys/fs/cgroup");
    smallest(&base, unified.unwrap_or("/"), read_v2)
        .or_else(|| smallest(&base.join("cpu"), cpu.unwrap_or("/"), read_v1))
        .or_else(|| smallest(&base.join("cpu,cpuacct"), cpu.unwrap_or("/"), read_v1))
}

/// In a container the path may be the host's, of which only the root is mounted: then the root's own file counts.
fn smallest(base: &Path, path: &str, read: fn(&Path) -> Option<f64>) -> Option<f64> {
    let mut group: PathBuf = base.join(path.trim_start_matches('/'));
    let mut least: Option<f64> = None;
    loop {
        if let Some(cpus) = read(&group) {
            least = Some(least.map_or(cpus, |least| least.min(cpus)));
        }
        if group == *base || !group.pop() {
            return least;
        }
    }
}

/// `cpu.max` holds `QUOTA PERIOD` in microseconds, or `max`.
fn read_v2(group: &Path) -> Option<f64> {
    let text = fs::read_to_string(group.join("cpu.max")).ok()?;
    let (quota, period) = text.trim().split_once(' ')?;
    ratio(quota.parse().ok()?, period.parse().ok()?)
}

/// A quota of -1 is none.
fn read_v1(group: &Path) -> Option<f64> {
    let number = |name| {
        fs::read_to_string(group.join(name))
            .ok()?
            .trim()
            .parse()
            .ok()
    };
    ratio(number("cpu.cfs_quota_us")?, number("cpu.cfs_period_us")?)
}

fn ratio(quota: f64, period: f64) -> Option<f64> {
    (quota > 0.0 && period > 0.0).then(|| quota / period)
}

fn round_up(cpus: f64) -> usize {
    (1..=512)
        .find(|&count| f64::from(count) >= cpus)
        .map_or(512, |count| usize::try_from(count).unwrap_or(512))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    fn counted(files: &[(&str, &str)]) -> (usize, String) {
        let root = root(files);
        let workers = workers(None, root.path());
        (workers.count.get(), workers.to_string())
    }

    #[test]
    fn half_a_cpu_makes_one_worker_and_one_and_a_half_make_two() {
        let max = "sys/fs/cgroup/cpu.max";
        assert_eq!(counted(&[(max, "50000 100000\n")]).0, 1);
        let (count, text) = counted(&[(max, "150000 100000\n")]);
        assert_eq!(count, 2);
        assert!(
            text.starts_with("2 (cgroup quota 1.5 CPU; host has "),
            "{text}"
        );
        assert_eq!(counted(&[(max, "200000 100000\n")]).0, 2);
    }

    #[test]
    fn the_smallest_quota_on_the_way_to_the_root_counts() {
        let files = [
            ("proc/self/cgroup", "0::/pod/app\n"),
            ("sys/fs/cgroup/cpu.max", "max 100000\n"),
            ("sys/fs/cgroup/pod/cpu.max", "300000 100000\n"),
            ("sys/fs/cgroup/pod/app/cpu.max", "max 100000\n"),
        ];
        assert_eq!(counted(&files).0, 3);
    }

    #[test]
    fn cgroup_version_1_is_read_too() {
        let files = [
            (
                "proc/self/cgroup",
                "4:cpu,cpuacct:/docker/abc\n1:name=systemd:/docker/abc\n",
            ),
            ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "250000\n"),
            ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n"),
        ];
        assert_eq!(counted(&files).0, 3);
    }

    #[test]
    fn without_a_quota_the_host_decides_within_reason() {
        let (count, text) = counted(&[("sys/fs/cgroup/cpu.max", "max 100000\n")]);
        assert!((1..=UNLIMITED).contains(&count));
        assert!(text.contains("no cgroup quota"), "{text}");
        assert_eq!(counted(&[("sys/fs/cgroup/cpu.max", "garbage")]).0, count);
    }

    #[test]
    fn the_file_has_the_last_word() {
        let root = root(&[("sys/fs/cgroup/cpu.max", "50000 100000\n")]);
        assert_eq!(workers(Some(7), root.path()).count.get(), 7);
    }
}
