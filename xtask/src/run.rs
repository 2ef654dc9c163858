//! Where the project stands, how its commands start child processes, and what can go wrong.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use cargo_metadata::{Metadata, MetadataCommand};

use crate::libtorch;

/// Why a command stopped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("stage `{name}`: {source}")]
    Stage { name: &'static str, source: Box<Error> },
    #[error("cannot start `{command}`: {source}")]
    Start { command: String, source: io::Error },
    #[error("`{command}` ended with {status}")]
    Ended { command: String, status: ExitStatus },
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("README.md, line {line}: {what}")]
    Readme { line: usize, what: String },
    #[error("a program that uses `{user}` alone pulls in `{found}`")]
    PullsIn { user: String, found: String },
    #[error(transparent)]
    Libtorch(#[from] libtorch::Error),
    #[error("cargo metadata: {0}")]
    Metadata(#[from] cargo_metadata::Error),
}

/// The workspace, as `cargo metadata` describes it.
#[derive(Debug)]
pub(crate) struct Project {
    pub(crate) metadata: Metadata,
}

impl Project {
    /// The workspace around the current directory.
    pub(crate) fn find() -> Result<Self, Error> {
        Ok(Self { metadata: MetadataCommand::new().no_deps().exec()? })
    }

    pub(crate) fn root(&self) -> &Path {
        self.metadata.workspace_root.as_std_path()
    }

    /// `cargo` in the root of the workspace.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = cargo();
        command.current_dir(self.root());
        command
    }
}

/// The `cargo` that started this program, so that one toolchain does all the work.
pub(crate) fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")))
}

/// Runs a command with its output on the terminal.
pub(crate) fn run(command: &mut Command) -> Result<(), Error> {
    println!("$ {}", spelled(command));
    let status = command.status().map_err(|source| start(command, source))?;
    succeeded(command, status)
}

/// Runs a command and returns what it wrote to stdout.
pub(crate) fn stdout_of(command: &mut Command) -> Result<String, Error> {
    let output =
        command.stderr(Stdio::inherit()).output().map_err(|source| start(command, source))?;
    succeeded(command, output.status)?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn succeeded(command: &Command, status: ExitStatus) -> Result<(), Error> {
    if status.success() {
        return Ok(());
    }
    Err(Error::Ended { command: spelled(command), status })
}

/// The command as a person would type it: the program without its folder, of a script the first line.
pub(crate) fn spelled(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let mut text =
        program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned();
    for word in command.get_args() {
        text = text + " " + &word.to_string_lossy();
    }
    match text.split_once('\n') {
        Some((first, rest)) if !rest.trim().is_empty() => format!("{first} …"),
        Some((first, _)) => first.to_owned(),
        None => text,
    }
}

/// The error of a command that did not start.
pub(crate) fn start(command: &Command, source: io::Error) -> Error {
    Error::Start { command: spelled(command), source }
}

/// The error of a file or a folder.
pub(crate) fn file(path: &Path, source: io::Error) -> Error {
    Error::File { path: path.to_owned(), source }
}

pub(crate) fn read(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|source| file(path, source))
}

/// Writes a file, making the folders above it.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), Error> {
    let folders = path.parent().map_or(Ok(()), fs::create_dir_all);
    folders.and_then(|()| fs::write(path, text)).map_err(|source| file(path, source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_spelled_without_its_folder() {
        let mut command = Command::new("some/folder/cargo");
        command.args(["test", "--workspace"]);
        assert_eq!(spelled(&command), "cargo test --workspace");
        command.arg("first\nsecond\n");
        assert_eq!(spelled(&command), "cargo test --workspace first …");
    }

    #[test]
    fn a_failing_command_is_named() {
        let error = run(cargo().arg("no-such-subcommand").stderr(Stdio::null())).unwrap_err();
        assert!(error.to_string().starts_with("`cargo no-such-subcommand` ended with"), "{error}");
    }
}
