//! Reads the command line, calls the library, prints what came of it and chooses the exit code.

mod against;
mod arguments;
mod build;
mod check;
mod failure;
mod housekeeping;
mod report;
mod statement;
mod sbom;
mod sign;
mod signature;
mod show;
mod test;
mod trust;
mod ui;
mod verify;
mod who;

use std::ffi::OsString;
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};
use etcetera::BaseStrategy as _;
use pgproof::definitions::Definitions;
use pgproof::fetch::{Limits, Mirrors, Network, SNAPSHOT, of_host};
use pgproof::store::Store;

use arguments::{Arguments, Command, Global};
use failure::Failure;
use ui::Ui;

/// Where apt's configuration is.
const APT: &str = "/etc/apt";

/// What every command has: who it talks to, and what it may use.
struct Session {
    ui: Ui,
    json: bool,
    definitions: Definitions,
    store: PathBuf,
    network: Option<Network>,
}

/// What a command came to: what to print, and the exit code.
struct Answer {
    /// For people.
    text: String,
    /// What follows the text.
    end: &'static str,
    /// For machines.
    json: serde_json::Value,
    code: u8,
}

/// Runs the command line.
pub(crate) fn main() -> ExitCode {
    // clap itself prints what is wrong and exits with 2.
    let arguments = Arguments::parse();
    let json = arguments.global.json;
    let answer = Session::new(arguments.global).and_then(|session| session.run(arguments.command));
    let answer = answer.unwrap_or_else(|failure| failure.answer());
    match answer.print(json) {
        Ok(()) => ExitCode::from(answer.code),
        // Whoever read the output has gone; the work is done all the same.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::from(answer.code),
        Err(_) => ExitCode::from(failure::PASSING),
    }
}

impl Session {
    fn new(global: Global) -> Result<Self, Failure> {
        let store = match global.store {
            Some(store) => store,
            None => etcetera::base_strategy::Xdg::new().map_err(Failure::NoHome)?.cache_dir().join("pgproof"),
        };
        let definitions = global.definitions.map_or(Definitions::BuiltIn, Definitions::Directory);
        let network = if global.offline {
            None
        } else {
            let mirrors = global.mirrors.into_iter().chain(of_host(Path::new(APT)));
            let snapshot = SNAPSHOT.parse().map_err(|error| Failure::from(pgproof::Error::from(error)))?;
            Some(Network::new(Mirrors::new(mirrors, snapshot), Limits::default()))
        };
        Ok(Self { ui: Ui::new(global.quiet || global.json), json: global.json, definitions, store, network })
    }

    fn store(&self) -> Result<Store, Failure> {
        Ok(Store::open(&self.store)?)
    }

    fn run(&self, command: Command) -> Result<Answer, Failure> {
        match command {
            Command::Rebuild(rebuild) => build::rebuild(self, &rebuild),
            Command::Build(build) => build::build(self, &build),
            Command::Fetch(fetch) => build::fetch(self, &fetch),
            Command::Plan(plan) => build::plan(self, &plan),
            Command::Pack(pack) => build::pack(self, &pack),
            Command::Check(check) => check::check(self, &check),
            Command::Sbom(request) => sbom::sbom(self, &request),
            Command::Report(report) => show::report(self, &report),
            Command::Shell(shell) => build::shell(self, &shell),
            Command::Sign(sign) => sign::sign(self, &sign),
            Command::Verify(verify) => verify::verify(self, &verify),
            Command::Test(test) => test::test(self, &test),
            Command::Log(log) => housekeeping::log(self, &log),
            Command::Lock(lock) => housekeeping::lock(self, &lock),
            Command::Store { command } => housekeeping::store(self, &command),
            Command::Doctor => housekeeping::doctor(),
            Command::Completions { shell } => {
                let mut script = Vec::new();
                clap_complete::generate(shell, &mut Arguments::command(), "pgproof", &mut script);
                let text = String::from_utf8_lossy(&script).trim_end().to_owned();
                Ok(Answer::new(text.clone(), serde_json::json!({ "script": text })))
            }
        }
    }
}

impl Answer {
    fn new(text: impl Into<String>, json: serde_json::Value) -> Self {
        Self { text: text.into(), end: "\n", json, code: 0 }
    }

    /// Prints these bytes and no other, so that they can be hashed.
    fn verbatim(text: String, json: serde_json::Value) -> Self {
        // A person's prompt begins on a line of its own.
        let end = if std::io::stdout().is_terminal() { "\n" } else { "" };
        Self { text, end, json, code: 0 }
    }

    fn with_code(self, code: u8) -> Self {
        Self { code, ..self }
    }

    fn print(&self, json: bool) -> std::io::Result<()> {
        if json {
            let mut stdout = std::io::stdout().lock();
            serde_json::to_writer_pretty(&mut stdout, &self.json)?;
            writeln!(stdout)
        } else if self.code == 0 || self.code == failure::DIFFERENT {
            write!(std::io::stdout().lock(), "{}{}", self.text, self.end)
        } else {
            write!(std::io::stderr().lock(), "{}{}", self.text, self.end)
        }
    }
}

/// This program, to be started again as the box's helper. Not `argv[0]`: that is whatever the caller says.
fn this_program() -> PathBuf {
    PathBuf::from(OsString::from("/proc/self/exe"))
}
