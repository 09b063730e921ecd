//! `outrigger check FILE`: finds mistakes without starting anything.
//!
//! Reads, checks and prints; binds nothing. What it accepts, `run` accepts as well, up to what only the machine can
//! refuse: a taken port, a log file that cannot be opened.

use std::path::Path;

use serde_json::json;

use crate::config::diagnostics::{Diagnostics, counted};
use crate::config::model::Config;
use crate::config::render::{self, Colour};
use crate::config::source::Source;
use crate::config::{self, Env};
use crate::snapshot;

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people, with the file's lines.
    Human(Colour),
    /// One JSON object.
    Json,
}

/// Checks the file at `path` with the variables of this process: what to print, and whether the file is valid.
pub fn run(path: &Path, format: Format) -> (String, bool) {
    match config::load(path) {
        Ok(source) => source_text(&source, &config::process_env, format),
        Err(error) => match format {
            Format::Human(_) => (format!("error: {error}\n"), false),
            Format::Json => (unreadable(path, &error.to_string()), false),
        },
    }
}

/// The same for a text that was already read, with variables from `env`.
pub fn source_text(source: &Source, env: Env<'_>, format: Format) -> (String, bool) {
    let (config, mut diagnostics) = config::read(source, env);
    snapshot::check::check(&config, &mut diagnostics);
    let text = match format {
        Format::Human(colour) => human(source, &config, &diagnostics, colour),
        Format::Json => format!("{}\n", render::json(source, &diagnostics)),
    };
    (text, !diagnostics.has_errors())
}

fn human(source: &Source, config: &Config, diagnostics: &Diagnostics, colour: Colour) -> String {
    let mut text = render::human(source, diagnostics, colour);
    if diagnostics.has_errors() {
        text.push_str(&format!("{}\n", diagnostics.summary()));
        return text;
    }
    text.push_str(&format!("{} is valid: {}", source.name, contents(config)));
    let warnings = if diagnostics.is_empty() {
        String::new()
    } else {
        format!("; {}", diagnostics.summary())
    };
    text.push_str(&format!("{warnings}\n"));
    text
}

/// `2 listeners, 3 routes, 2 upstreams (4 endpoints)`
pub fn contents(config: &Config) -> String {
    let endpoints = config
        .upstreams
        .iter()
        .map(|upstream| upstream.endpoints.len())
        .sum();
    format!(
        "{}, {}, {} ({})",
        counted(config.listeners.len(), "listener"),
        counted(config.routes.len(), "route"),
        counted(config.upstreams.len(), "upstream"),
        counted(endpoints, "endpoint"),
    )
}

fn unreadable(path: &Path, message: &str) -> String {
    let file = path.display().to_string();
    let diagnostic = json!({ "severity": "error", "message": message, "file": file });
    format!(
        "{}\n",
        json!({ "valid": false, "file": file, "errors": 1, "warnings": 0, "diagnostics": [diagnostic] })
    )
}
