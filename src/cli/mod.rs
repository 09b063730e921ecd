//! Arguments → one command → an exit code.
//!
//! Path: `main` → here → `app`. Exit codes: 0 done, 1 the configuration or the start failed, 2 wrong usage, 130 or 143
//! a second signal cut the drain short.

pub mod check;

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

use crate::app::signals::Signals;
use crate::app::start::StartError;
use crate::app::{App, demo, logging};
use crate::config::render::Colour;

const FAILED: u8 = 1;
const WRONG_USAGE: u8 = 2;

/// Shown when `run` is called without a file.
const FIRST_STEPS: &str = "\
outrigger needs a configuration file. The smallest useful one:

    listeners:
      inbound: { address: 127.0.0.1:8080, forward: app }
    upstreams:
      app: { endpoints: [127.0.0.1:3000] }

  outrigger run --config FILE    serve        outrigger check FILE     find mistakes
  outrigger demo                 see it work  outrigger help           everything else
";

/// A sidecar proxy: one small binary, one YAML file, a reason for every decision.
#[derive(Debug, Parser)]
#[command(name = "outrigger", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve what a file says; follow its changes
    Run {
        /// The configuration file
        #[arg(short, long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Find mistakes in a file without serving it; exit code 0 if there are none, else 1
    Check {
        /// The configuration file
        file: PathBuf,
        /// How to print what is found
        #[arg(long, value_enum, default_value_t = Format::Human)]
        format: Format,
    },
    /// Serve three small built-in apps, and say what to try
    Demo,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// For people
    Human,
    /// For programs
    Json,
}

/// Runs the command that the arguments name.
pub fn run() -> ExitCode {
    match Arguments::parse().command {
        Command::Run { config: None } => fail(FIRST_STEPS, WRONG_USAGE),
        Command::Run { config: Some(path) } => serve(|| App::start(&path)),
        Command::Check { file, format } => check(&file, format),
        Command::Demo => serve(|| {
            let (app, hints) = demo::start()?;
            print(&hints);
            Ok(app)
        }),
    }
}

fn serve(start: impl FnOnce() -> Result<App, StartError>) -> ExitCode {
    logging::install();
    let served = match Signals::catch() {
        Ok(signals) => start().map(|app| app.run_until_signalled(signals)),
        Err(error) => Err(error.into()),
    };
    served.unwrap_or_else(|error| fail(&format!("{error}\n"), FAILED))
}

fn check(file: &std::path::Path, format: Format) -> ExitCode {
    let format = match format {
        Format::Human if std::io::stdout().is_terminal() => check::Format::Human(Colour::Always),
        Format::Human => check::Format::Human(Colour::Never),
        Format::Json => check::Format::Json,
    };
    let (text, valid) = check::run(file, format);
    print(&text);
    if valid {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(FAILED)
    }
}

fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    // A reader that has gone away wants no more.
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
}

fn fail(text: &str, code: u8) -> ExitCode {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
    ExitCode::from(code)
}
