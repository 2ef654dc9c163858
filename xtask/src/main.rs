//! The project's own commands: `cargo xtask test` proves what README says, `cargo xtask examples`
//! runs every example and `cargo xtask ci` checks what a reviewer should not have to.

mod consumers;
mod examples;
mod markdown;
mod readme;
mod run;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::run::{Error, Project};

/// Set while README's own commands run, so that `cargo xtask test` among them does not start over.
const INSIDE_TEST: &str = "SCORE_SDE_INSIDE_XTASK_TEST";

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "The project's own commands; they need Rust and bash")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Clone, Copy, Subcommand)]
enum Command {
    /// All tests, every code block of README.md, and programs outside the workspace
    ///
    /// First `cargo test --workspace`; then the code blocks of README.md, in order; then one small
    /// program for each library crate that depends on that crate alone.
    Test,
    /// Run every example of the root package in release
    ///
    /// The arguments come from a line `//! ci: --num 4` in the example; without one there are none.
    Examples,
    /// Formatting, lints, documentation, examples: what CI checks after the tests
    Ci,
}

/// A part of a command: what the headline says, and the work, which says in a phrase what it did.
type Stage = (&'static str, fn(&Project) -> Result<String, Error>);

impl Command {
    fn stages(self) -> &'static [Stage] {
        match self {
            Self::Test => &[
                ("workspace tests", workspace_tests),
                ("README", readme::run_blocks),
                ("consumers", consumers::build_all),
            ],
            Self::Examples => &[("examples", examples::run_all)],
            Self::Ci => &[
                ("format", format),
                ("lints", lints),
                ("documentation", documentation),
                ("examples", examples::run_all),
            ],
        }
    }
}

fn workspace_tests(project: &Project) -> Result<String, Error> {
    run::run(project.cargo().args(["test", "--workspace"]))?;
    Ok("workspace tests".into())
}

fn format(project: &Project) -> Result<String, Error> {
    run::run(project.cargo().args(["fmt", "--all", "--check"]))?;
    Ok("format".into())
}

fn lints(project: &Project) -> Result<String, Error> {
    run::run(
        project
            .cargo()
            .args(["clippy", "--workspace", "--all-targets"])
            .args(["--", "-D", "warnings"]),
    )?;
    Ok("lints".into())
}

fn documentation(project: &Project) -> Result<String, Error> {
    let mut doc = project.cargo();
    run::run(doc.args(["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"))?;
    Ok("documentation".into())
}

fn perform(command: Command) -> Result<String, Error> {
    let project = Project::find()?;
    let mut done = Vec::new();
    for (name, work) in command.stages() {
        println!("\n==> {name}");
        done.push(
            work(&project).map_err(|source| Error::Stage { name, source: Box::new(source) })?,
        );
    }
    Ok(done.join(", "))
}

fn main() -> ExitCode {
    let command = Cli::parse().command;
    if matches!(command, Command::Test) && std::env::var_os(INSIDE_TEST).is_some() {
        println!("cargo xtask test: skipped, it is already running");
        return ExitCode::SUCCESS;
    }
    match perform(command) {
        Ok(done) => {
            println!("\npassed: {done}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("\nfailed: {error}");
            ExitCode::FAILURE
        }
    }
}
