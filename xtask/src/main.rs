//! The project's own commands: `cargo xtask libtorch` gets what the network needs, `cargo xtask sample`
//! draws with it, `cargo xtask test` proves what README says, `cargo xtask examples` runs every example
//! and `cargo xtask ci` checks what a reviewer should not have to.

mod consumers;
mod examples;
mod libtorch;
mod markdown;
mod readme;
mod run;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::libtorch::Wanted;
use crate::run::{Error, Project};

/// Set while README's own commands run, so that `cargo xtask test` among them does not start over.
const INSIDE_TEST: &str = "SCORE_SDE_INSIDE_XTASK_TEST";

/// What brings libtorch into a build.
const TORCH: [&str; 2] = ["--features", "torch"];

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "The project's own commands")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Install libtorch into .libtorch, or check the one that LIBTORCH names
    ///
    /// Once, with pip: 545 MB are downloaded and 525 MB kept. The commands below that need libtorch
    /// begin with it.
    Libtorch {
        /// With what a GPU needs, 3 GB to download; without this flag that is taken out
        #[arg(long)]
        cuda: bool,
    },
    /// Draw digits with the network in assets/digits-unet
    #[command(disable_help_flag = true)]
    Sample {
        /// Arguments of the example; try --help
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// All tests, every code block of README.md, and programs outside the workspace
    ///
    /// First libtorch and `cargo test --workspace`; then the code blocks of README.md, in order; then
    /// one small program for each library crate that depends on that crate alone.
    Test,
    /// Run every example of the root package in release
    ///
    /// The arguments come from a line `//! ci: --num 4` in the example; without one there are none. A
    /// line `//! ci --features torch: --num 4` runs it again with what stands before the colon.
    Examples,
    /// Formatting, lints, documentation, examples: what CI checks after the tests
    Ci,
}

/// A part of a command: what the headline says, and the work, which says in a phrase what it did.
type Stage = (&'static str, fn(&Project) -> Result<String, Error>);

const TEST: &[Stage] = &[
    ("libtorch", libtorch::stage),
    ("workspace tests", workspace_tests),
    ("README", readme::run_blocks),
    ("consumers", consumers::build_all),
];

const EXAMPLES: &[Stage] = &[("libtorch", libtorch::stage), ("examples", examples::run_all)];

const CI: &[Stage] = &[
    ("format", format),
    ("libtorch", libtorch::stage),
    ("lints", lints),
    ("documentation", documentation),
    ("examples", examples::run_all),
];

fn workspace_tests(project: &Project) -> Result<String, Error> {
    run::run(project.cargo().args(["test", "--workspace"]).args(TORCH))?;
    Ok("workspace tests".into())
}

fn format(project: &Project) -> Result<String, Error> {
    run::run(project.cargo().args(["fmt", "--all", "--check"]))?;
    Ok("format".into())
}

/// With libtorch, and what remains without it.
fn lints(project: &Project) -> Result<String, Error> {
    let strict = ["--all-targets", "--", "-D", "warnings"];
    run::run(project.cargo().args(["clippy", "--workspace"]).args(TORCH).args(strict))?;
    let without = ["-p", "pipeline", "-p", "score-sde", "--no-default-features"];
    run::run(project.cargo().arg("clippy").args(without).args(strict))?;
    Ok("lints".into())
}

fn documentation(project: &Project) -> Result<String, Error> {
    let mut doc = project.cargo();
    doc.args(["doc", "--workspace", "--no-deps"]).args(TORCH).env("RUSTDOCFLAGS", "-D warnings");
    run::run(&mut doc)?;
    Ok("documentation".into())
}

fn sample(project: &Project, args: &[OsString]) -> Result<(), Error> {
    println!("{}", libtorch::stage(project)?);
    let mut cargo = project.cargo();
    cargo.args(["run", "--release"]).args(TORCH).args(["--example", "vp_sde_sample"]);
    run::run(cargo.args(["--", "--model", "assets/digits-unet"]).args(args))
}

/// Does the stages in order, and sums up what they did.
fn perform(project: &Project, stages: &[Stage]) -> Result<(), Error> {
    let mut done = Vec::new();
    for &(name, work) in stages {
        println!("\n==> {name}");
        done.push(work(project).map_err(|source| Error::Stage { name, source: Box::new(source) })?);
    }
    println!("\npassed: {}", done.join(", "));
    Ok(())
}

fn obey(command: &Command) -> Result<(), Error> {
    let project = Project::find()?;
    match command {
        Command::Libtorch { cuda } => {
            let wanted = if *cuda { Wanted::Cuda } else { Wanted::Cpu };
            println!("{}", libtorch::get(&project, wanted)?);
            Ok(())
        }
        Command::Sample { args } => sample(&project, args),
        Command::Test => perform(&project, TEST),
        Command::Examples => perform(&project, EXAMPLES),
        Command::Ci => perform(&project, CI),
    }
}

fn main() -> ExitCode {
    let command = Cli::parse().command;
    if matches!(command, Command::Test) && std::env::var_os(INSIDE_TEST).is_some() {
        println!("cargo xtask test: skipped, it is already running");
        return ExitCode::SUCCESS;
    }
    match obey(&command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nfailed: {error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sample_hands_every_word_to_the_example() {
        let typed = ["cargo xtask", "sample", "--num", "4", "--help"];
        match Cli::try_parse_from(typed).unwrap().command {
            Command::Sample { args } => assert_eq!(args, ["--num", "4", "--help"]),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn libtorch_is_for_the_cpu_unless_cuda_is_asked_for() {
        for (typed, expected) in
            [(&["x", "libtorch"][..], false), (&["x", "libtorch", "--cuda"], true)]
        {
            let command = Cli::try_parse_from(typed).unwrap().command;
            assert!(matches!(command, Command::Libtorch { cuda } if cuda == expected));
        }
    }
}
