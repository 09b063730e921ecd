//! On which line of the file each key stands, for whoever tells that a limit fired.
//!
//! Path: [`super::read`] makes it from the tree → the snapshot keeps it with the configuration → `proxy` asks when an
//! exchange failed. Keys are kept as hashes: 16 bytes a key, whatever its name. A key that nobody wrote is a default, and
//! its section's line is where it would be written.

use std::path::Path;

use super::content_hash;
use super::source::Source;
use super::yaml::{Node, Value};

/// Hash of each key's path → its line. All are equal: a file whose lines only moved says the same.
#[derive(Debug, Clone, Default)]
pub struct Places {
    file: Box<str>,
    /// Sorted.
    lines: Box<[(u64, u32)]>,
}

impl PartialEq for Places {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Places {}

impl Places {
    /// Those of the tree that `source` became.
    pub(super) fn of(root: &Node, source: &Source) -> Self {
        let ends = source.text.bytes().enumerate();
        let ends = ends.filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at);
        let mut walk = Walk {
            line_ends: ends.collect(),
            lines: Vec::new(),
        };
        walk.node(root, &mut String::new());
        walk.lines.sort_unstable();
        let name = Path::new(&source.name).file_name();
        let name = name.and_then(|name| name.to_str());
        Self {
            file: name.unwrap_or(&source.name).into(),
            lines: walk.lines.into(),
        }
    }

    /// `outrigger.yaml:12` for `upstreams.pay.timeouts.connect`. Where that is not written: the line of the innermost section
    /// around it that is, and `(default)`.
    pub fn find(&self, key: &str) -> Option<Box<str>> {
        // What stands behind a blank are words about the key.
        let mut path = key.split(' ').next().unwrap_or_default();
        let mut shorter = path.len() < key.len();
        loop {
            if let Some(line) = self.line(path) {
                let default = if shorter { " (default)" } else { "" };
                return Some(format!("{}:{line}{default}", self.file).into());
            }
            shorter = true;
            path = &path[..path.rfind(['.', '['])?];
        }
    }

    fn line(&self, path: &str) -> Option<u32> {
        let hash = content_hash(path);
        let found = self.lines.binary_search_by_key(&hash, |(hash, _)| *hash);
        found.ok().and_then(|at| self.lines.get(at)).map(|it| it.1)
    }
}

struct Walk {
    line_ends: Vec<usize>,
    lines: Vec<(u64, u32)>,
}

impl Walk {
    fn note(&mut self, path: &str, at: usize) {
        let line = self.line_ends.partition_point(|end| *end < at) + 1;
        let line = u32::try_from(line).unwrap_or(u32::MAX);
        self.lines.push((content_hash(path), line));
    }

    fn node(&mut self, node: &Node, path: &mut String) {
        let length = path.len();
        match &node.value {
            Value::Mapping(entries) => {
                for (key, value) in entries {
                    if length > 0 {
                        path.push('.');
                    }
                    path.push_str(&key.value);
                    self.note(path, key.at.start);
                    self.node(value, path);
                    path.truncate(length);
                }
            }
            Value::Sequence(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.item(index, item, path);
                    path.truncate(length);
                }
            }
            Value::Null | Value::Scalar(_) | Value::Told => {}
        }
    }

    /// An item goes by its number, and what is in it by its name if it has one: `routes.pay.timeout`.
    fn item(&mut self, index: usize, item: &Node, path: &mut String) {
        let Value::Mapping(entries) = &item.value else {
            return;
        };
        let length = path.len();
        let first = entries.first().map_or(item.at, |(key, _)| key.at);
        path.push_str(&format!("[{index}]"));
        self.note(path, first.start);
        let name = entries.iter().find(|(key, _)| key.value == "name");
        if let Some((_, node)) = name
            && let Value::Scalar(name) = &node.value
        {
            path.truncate(length);
            path.push('.');
            path.push_str(&name.text);
            self.note(path, first.start);
        }
        self.node(item, path);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{process_env, read};
    use super::*;

    const FILE: &str = "\
listeners:
  inbound: { address: 127.0.0.1:0 }
routes:
  - name: pay
    timeout: 5s
    rate_limit:
      - { name: each, requests: 1, per: 1s }
      - requests: 100
        per: 1m
    forward: app
upstreams:
  app:
    endpoints: [127.0.0.1:3000]
    timeouts:
      connect: 1s
";

    #[test]
    fn a_key_is_found_on_its_line_and_a_default_at_its_section() {
        let (config, _) = read(&Source::inline("/etc/outrigger.yaml", FILE), &process_env);
        let at = |key: &str| config.places.find(key).map(String::from);
        for (key, place) in [
            ("routes.pay.timeout", "outrigger.yaml:5"),
            ("routes.pay.rate_limit[0]", "outrigger.yaml:7"),
            ("routes.pay.rate_limit[1]", "outrigger.yaml:8"),
            ("upstreams.app.timeouts.connect", "outrigger.yaml:15"),
            ("upstreams.app.timeouts.idle", "outrigger.yaml:14 (default)"),
            (
                "listeners.inbound.forward (the default timeout of a route)",
                "outrigger.yaml:2 (default)",
            ),
        ] {
            assert_eq!(at(key).as_deref(), Some(place), "{key}");
        }
        assert_eq!(at("memory.shed_at"), None);
    }
}
