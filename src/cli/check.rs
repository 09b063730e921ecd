//! `outrigger check FILE`: finds mistakes without running anything.
//!
//! Path: `cli` prints what [`run`] returns. A file that cannot be had is a mistake like any other, in both forms.

use std::path::Path;

use serde_json::json;

use crate::config::diagnostics::{Diagnostics, counted};
use crate::config::render::{self, Colour};
use crate::config::{Config, LoadError, Source, load, read};

/// How to say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// Text with the lines that are wrong.
    #[default]
    Human,
    /// One object.
    Json,
}

/// Checks the file at `path` with the variables of this process: what to print, and whether the file is valid.
pub fn run(path: &Path, format: Format) -> (String, bool) {
    let source = match load(path) {
        Ok(source) => source,
        Err(error) => return (unreadable(path, &error, format), false),
    };
    let (config, mut diagnostics) = read(&source, &|name| std::env::var(name).ok());
    crate::snapshot::check::check(&config, &mut diagnostics);
    let text = match format {
        Format::Human => human(&source, &config, &diagnostics),
        Format::Json => format!("{:#}\n", render::json(&source, &diagnostics)),
    };
    (text, !diagnostics.has_errors())
}

fn unreadable(path: &Path, error: &LoadError, format: Format) -> String {
    match format {
        Format::Human => format!("error: {error}\n"),
        Format::Json => {
            let file = path.display().to_string();
            let item = json!({
                "severity": "error", "message": error.to_string(), "file": file, "line": null, "column": null,
                "length": null, "hint": null, "notes": [], "related": null,
            });
            let all = json!({ "valid": false, "file": file, "errors": 1, "warnings": 0, "diagnostics": [item] });
            format!("{all:#}\n")
        }
    }
}

fn human(source: &Source, config: &Config, diagnostics: &Diagnostics) -> String {
    let told = render::human(source, diagnostics, Colour::Never);
    if diagnostics.has_errors() {
        return format!("{told}{}\n", diagnostics.summary());
    }
    let summary = if diagnostics.is_empty() {
        String::new()
    } else {
        format!("; {}", diagnostics.summary())
    };
    format!(
        "{told}{} is valid: {}{summary}\n",
        source.name,
        overview(config)
    )
}

/// `2 listeners, 3 routes, 2 upstreams (4 endpoints)`
pub fn overview(config: &Config) -> String {
    let endpoints: usize = config
        .upstreams
        .iter()
        .map(|upstream| upstream.endpoints.len())
        .sum();
    let [listeners, routes, upstreams, endpoints] = [
        (config.listeners.len(), "listener"),
        (config.routes.len(), "route"),
        (config.upstreams.len(), "upstream"),
        (endpoints, "endpoint"),
    ]
    .map(|(count, word)| counted(count, word));
    format!("{listeners}, {routes}, {upstreams} ({endpoints})")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(text: &str, format: Format) -> (String, bool) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sidecar.yaml");
        std::fs::write(&path, text).unwrap();
        let (text, valid) = run(&path, format);
        (
            text.replace(&format!("{}/", dir.path().display()), ""),
            valid,
        )
    }

    #[test]
    fn a_valid_file_is_counted() {
        let text = "listeners:\n  inbound: { address: 127.0.0.1:8080, forward: app }\nupstreams:\n  app: { endpoints: [127.0.0.1:3000, 127.0.0.1:3001] }\n";
        let said = "sidecar.yaml is valid: 1 listener, 0 routes, 1 upstream (2 endpoints)\n";
        assert_eq!(checked(text, Format::Human), (said.to_owned(), true));
    }

    #[test]
    fn json_has_the_same_fields() {
        let text = "listeners:\n  inbound: { address: 127.0.0.1:8080, forward: ap }\nupstreams:\n  app: { endpoints: [127.0.0.1:3000] }\n";
        let (text, valid) = checked(text, Format::Json);
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert!(
            !valid
                && json["valid"] == false
                && json["errors"] == 1
                && json["file"] == "sidecar.yaml"
        );
        let item = &json["diagnostics"][0];
        assert_eq!(item["hint"], "did you mean `app`?");
        assert_eq!(
            (item["line"].as_u64(), item["column"].as_u64()),
            (Some(2), Some(48))
        );
        assert_eq!(item["notes"][0], "upstreams in this file: app");
    }

    #[test]
    fn a_missing_file_is_told_in_both_forms() {
        let path = Path::new("does-not-exist.yaml");
        assert!(
            run(path, Format::Human)
                .0
                .starts_with("error: does-not-exist.yaml does not exist; ")
        );
        let json: serde_json::Value = serde_json::from_str(&run(path, Format::Json).0).unwrap();
        assert_eq!(json["diagnostics"][0]["severity"], "error");
    }
}
