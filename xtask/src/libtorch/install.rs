//! Installs libtorch from the wheel that PyTorch publishes, which holds libraries and headers; pip does the work and
//! Python is not needed afterwards. For the CPU 545 MB are downloaded and 525 MB kept: CUDA's libraries and Python's
//! modules go, except two small libraries of NVIDIA that `libtorch_cpu.so` itself loads. With CUDA nothing goes, 3 GB
//! are downloaded, and the wheels' own run paths (`$ORIGIN/../../nvidia/…`) find each other.
//!
//! Everything happens in `.libtorch.partial`, which becomes `.libtorch` by renaming: a run that is killed leaves only
//! a folder that the next one replaces.

use std::fs;
use std::io::{self, ErrorKind, IsTerminal};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use super::folder::{Libtorch, VERSION, check};
use super::{Error, OWN};
use crate::run::{self, spelled};

/// The installation, and where it is prepared and where it waits to be deleted, seen from the root.
pub(super) const FINAL: &str = ".libtorch";
const PARTIAL: &str = ".libtorch.partial";
const OLD: &str = ".libtorch.old";

/// Says in `torch` which build this is; `torch-sys` reads it too. Written last.
pub(super) const STAMP: &str = "build-version";

/// What `libtorch_cpu.so` of the wheel loads besides libtorch, in the versions that the wheel asks for.
const LOADED: [&str; 2] = ["nvidia-cuda-runtime==13.0.96", "nvidia-cuda-cupti==13.0.85"];

const PYTHON: &str = "Debian, Ubuntu: `apt-get install python3 python3-pip`; \
                      Fedora: `dnf install python3 python3-pip`; macOS: `brew install python`";

/// Downloads and installs into `.libtorch`, replacing what is there.
pub(super) fn install(root: &Path, python: &Path, cuda: bool) -> Result<Libtorch, run::Error> {
    has_pip(python)?;
    remove(&root.join(PARTIAL))?;
    // pip unpacks there first, and nothing is left in /tmp if it is killed.
    let temporary = root.join(PARTIAL).join("tmp");
    fs::create_dir_all(&temporary).map_err(|source| run::file(&temporary, source))?;
    let mut pip = pip_install(python, cuda, io::stdout().is_terminal());
    pip.current_dir(root).env("TMPDIR", &temporary);
    let size = if cuda { "with CUDA: 3 GB" } else { "for the CPU: 545 MB" };
    println!("installing libtorch {VERSION} {size} to download\n$ {}", spelled(&pip));
    let output =
        pip.stdout(Stdio::inherit()).output().map_err(|source| run::start(&pip, source))?;
    if !output.status.success() {
        remove(&root.join(PARTIAL))?;
        return Err(Error::Pip { command: spelled(&pip), line: complaint(&output) }.into());
    }
    remove(&temporary)?;
    stamp(prepare(&root.join(PARTIAL), python, cuda)?)?;
    replace(root)?;
    Ok(check(&root.join(OWN)).map_err(Error::Installed)?)
}

/// Whether `python3` and its pip run at all.
fn has_pip(python: &Path) -> Result<(), Error> {
    let output = Command::new(python).args(["-m", "pip", "--version"]).output();
    let what = match output {
        Ok(output) if output.status.success() => return Ok(()),
        Ok(_) => "python3 has no pip, which downloads libtorch",
        Err(_) => "there is no python3, whose pip downloads libtorch",
    };
    Err(Error::Missing { what: what.to_owned(), packages: PYTHON })
}

/// The command that downloads, to be run in the root.
fn pip_install(python: &Path, cuda: bool, terminal: bool) -> Command {
    let mut pip = Command::new(python);
    pip.args(["-m", "pip", "install", "--target", PARTIAL]);
    // Any version of Python may run pip: the modules for 3.12 come with the wheel and are not used.
    pip.args(["--python-version", "3.12", "--only-binary=:all:", "--no-compile"]);
    pip.args(["--no-user", "--no-input", "--disable-pip-version-check"]);
    if !terminal {
        pip.arg("--quiet");
    }
    if !cuda {
        pip.arg("--no-deps");
    }
    pip.arg(format!("torch=={VERSION}"));
    if !cuda && cfg!(target_os = "linux") {
        pip.args(LOADED);
    }
    pip
}

/// Takes out what the CPU does not need unless CUDA is wanted, and makes sure that the library loads. `site` is the
/// folder that pip filled.
pub(super) fn prepare(site: &Path, python: &Path, cuda: bool) -> Result<Libtorch, run::Error> {
    let torch = site.join("torch");
    remove(&torch.join(STAMP))?;
    if !cuda {
        trim(site)?;
    }
    let found = check(&torch).map_err(Error::Installed)?;
    if cuda && !found.has_cuda {
        return Err(Error::InstalledWithoutCuda.into());
    }
    loads(python, &found.library())?;
    Ok(found)
}

/// Marks a prepared folder as finished.
pub(super) fn stamp(mut found: Libtorch) -> Result<Libtorch, run::Error> {
    let release = found.version.split('+').next().unwrap_or(VERSION);
    found.version = format!("{release}+{}", if found.has_cuda { "cuda" } else { "cpu" });
    run::write(&found.root.join(STAMP), &format!("{}\n", found.version))?;
    Ok(found)
}

/// Leaves libraries, headers and licences of the CPU part.
fn trim(site: &Path) -> Result<(), run::Error> {
    let licences = ["torch-", "nvidia_cuda_runtime-", "nvidia_cuda_cupti-"];
    keep(site, |name| {
        matches!(name, "torch" | "nvidia")
            || name.ends_with(".dist-info") && licences.iter().any(|start| name.starts_with(start))
    })?;
    keep(&site.join("torch"), |name| matches!(name, "include" | "lib" | "share" | "version.py"))?;
    let others = ["cuda", "nvrtc", "nvshmem", "python", "libshm", "global_deps"];
    keep(&site.join("torch/lib"), |name| !others.iter().any(|other| name.contains(other)))?;
    keep(&site.join("nvidia"), |name| name == "cu13")?;
    keep(&site.join("nvidia/cu13"), |name| name == "lib")?;
    keep(&site.join("nvidia/cu13/lib"), |name| {
        name.starts_with("libcudart.so") || name.starts_with("libcupti.so")
    })
}

/// Deletes the entries of a folder that are not asked for.
fn keep(folder: &Path, wanted: impl Fn(&str) -> bool) -> Result<(), run::Error> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(|source| run::file(folder, source))?,
    };
    for entry in entries {
        let entry = entry.map_err(|source| run::file(folder, source))?;
        if !wanted(&entry.file_name().to_string_lossy()) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

/// Loads the library as a program will, with all that it needs.
fn loads(python: &Path, library: &Path) -> Result<(), run::Error> {
    let mut load = Command::new(python);
    load.args(["-c", "import ctypes, sys; ctypes.CDLL(sys.argv[1])"]).arg(library);
    let output = load.output().map_err(|source| run::start(&load, source))?;
    if output.status.success() {
        return Ok(());
    }
    Err(Error::Load { library: library.to_owned(), line: complaint(&output) }.into())
}

/// Puts the finished folder in the place of the old one.
fn replace(root: &Path) -> Result<(), run::Error> {
    let [new, own, old] = [PARTIAL, FINAL, OLD].map(|name| root.join(name));
    remove(&old)?;
    match fs::rename(&own, &old) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        moved => moved.map_err(|source| run::file(&own, source))?,
    }
    fs::rename(&new, &own).map_err(|source| run::file(&new, source))?;
    remove(&old)
}

/// Deletes a file or a folder, which need not be there.
fn remove(path: &Path) -> Result<(), run::Error> {
    let done = if path.is_dir() && !path.is_symlink() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
    match done {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        done => done.map_err(|source| run::file(path, source)),
    }
}

/// The last line of an error output that names an error, or else its last line.
fn complaint(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let mut lines = text.lines().map(str::trim).rev().filter(|line| !line.is_empty());
    let last = lines.clone().next().unwrap_or("it said nothing");
    let line = lines.find(|line| line.to_lowercase().starts_with("error")).unwrap_or(last);
    // pip's own last word without a network is that no such package exists.
    let offline = if text.contains("Retrying (") { " (pip could not reach its index)" } else { "" };
    format!("{line}{offline}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_part_is_three_packages_without_dependencies() {
        let text = spelled(&pip_install(Path::new("python3"), false, false));
        assert_eq!(
            text,
            "python3 -m pip install --target .libtorch.partial --python-version 3.12 \
             --only-binary=:all: --no-compile --no-user --no-input --disable-pip-version-check \
             --quiet --no-deps torch==2.11.0 nvidia-cuda-runtime==13.0.96 nvidia-cuda-cupti==13.0.85"
        );
    }

    #[test]
    fn with_cuda_the_wheel_says_what_it_needs() {
        let text = spelled(&pip_install(Path::new("python3"), true, true));
        assert!(text.ends_with(" --disable-pip-version-check torch==2.11.0"), "{text}");
    }
}
