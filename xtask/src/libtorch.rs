//! `cargo xtask libtorch`: the C++ library under the feature `torch`. A folder that the user names in
//! LIBTORCH is checked and used; otherwise pip installs the wheel into `.libtorch`, which is where
//! `.cargo/config.toml` tells every build to look.

#[path = "../../crates/torch-ext/libtorch.rs"]
mod folder;
mod install;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use self::folder::{Libtorch, Problem, VERSION, check};
use crate::run::{self, Project};

/// Where `.cargo/config.toml` points LIBTORCH, seen from the root.
const OWN: &str = ".libtorch/torch";

/// Why there is no libtorch to build with.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("LIBTORCH is set, and {}: unset it to install one into .libtorch, or set it to a libtorch {VERSION}", .0.what)]
    Given(Problem),
    #[error("LIBTORCH is {}, which has no CUDA: unset it to install one that has", .0.display())]
    GivenWithoutCuda(PathBuf),
    #[error("{what}: install one ({packages})")]
    Missing { what: String, packages: &'static str },
    #[error("`{command}` failed: {line}")]
    Pip { command: String, line: String },
    #[error("what pip installed cannot be used, {}", .0.what)]
    Installed(Problem),
    #[error("what pip installed has no CUDA: there is no such wheel for this machine")]
    InstalledWithoutCuda,
    #[error("{} does not load: {line}", library.display())]
    Load { library: PathBuf, line: String },
}

/// What a command asks of the libtorch in `.libtorch`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Whatever is there; the CPU part if nothing is.
    Any,
    Cpu,
    Cuda,
}

/// The stage of the commands that build with the feature `torch`.
pub(crate) fn stage(project: &Project) -> Result<String, run::Error> {
    get(project, Wanted::Any)
}

/// Finds or installs libtorch, and says which one it is and where.
pub(crate) fn get(project: &Project, wanted: Wanted) -> Result<String, run::Error> {
    compiler(std::env::var("CXX").ok().as_deref())?;
    let found = match given(std::env::var_os("LIBTORCH"), project.root()) {
        Some(folder) => accept(&folder, wanted)?,
        None => own(project, wanted)?,
    };
    Ok(described(&found, project.root()))
}

/// The project's own folder, in the wanted state.
fn own(project: &Project, wanted: Wanted) -> Result<Libtorch, run::Error> {
    // torch-sys was built against what has changed, perhaps to link CUDA; cargo looks only at the path.
    let forget = || {
        ["dev", "release"].into_iter().try_for_each(|profile| {
            let words = ["clean", "--package", "torch-sys", "--profile", profile];
            run::run(project.cargo().args(words))
        })
    };
    Plan::new(project.root(), wanted).carry_out(project.root(), Path::new("python3"), &forget)
}

/// The user's LIBTORCH. The project's own folder does not count: cargo sets that by itself.
fn given(variable: Option<OsString>, root: &Path) -> Option<PathBuf> {
    variable.map(PathBuf::from).filter(|folder| *folder != root.join(OWN))
}

fn accept(folder: &Path, wanted: Wanted) -> Result<Libtorch, Error> {
    let found = check(folder).map_err(Error::Given)?;
    if wanted == Wanted::Cuda && !found.has_cuda {
        return Err(Error::GivenWithoutCuda(found.root));
    }
    Ok(found)
}

/// What has to be done to the folder in `root`, which is that of the workspace.
#[derive(Debug)]
enum Plan {
    Nothing(Libtorch),
    Trim,
    Install { cuda: bool },
}

impl Plan {
    /// `build-version` is written last, so without it the folder is unfinished.
    fn new(root: &Path, wanted: Wanted) -> Self {
        let cuda = wanted == Wanted::Cuda;
        let Ok(found) = check(&root.join(OWN)) else { return Self::Install { cuda } };
        let finished = found.root.join(install::STAMP).is_file();
        match wanted {
            Wanted::Any if finished => Self::Nothing(found),
            Wanted::Cpu if finished && !found.has_cuda => Self::Nothing(found),
            Wanted::Cuda if finished && found.has_cuda => Self::Nothing(found),
            Wanted::Cuda => Self::Install { cuda },
            Wanted::Any | Wanted::Cpu => Self::Trim,
        }
    }

    /// `forget` is called when builds that used the folder before must not be used again.
    fn carry_out(
        self,
        root: &Path,
        python: &Path,
        forget: &dyn Fn() -> Result<(), run::Error>,
    ) -> Result<Libtorch, run::Error> {
        match self {
            Self::Nothing(found) => Ok(found),
            Self::Trim => match install::prepare(&root.join(install::FINAL), python, false) {
                Ok(found) => {
                    forget()?;
                    install::stamp(found)
                }
                Err(run::Error::Libtorch(reason)) => {
                    println!("{reason}: installing it again");
                    Self::Install { cuda: false }.carry_out(root, python, forget)
                }
                Err(error) => Err(error),
            },
            Self::Install { cuda } => {
                let replaced = root.join(install::FINAL).exists();
                let found = install::install(root, python, cuda)?;
                if replaced {
                    forget()?;
                }
                Ok(found)
            }
        }
    }
}

/// The compiler that the crate `cc` will start for `torch-sys`: `CXX`, or else `c++`.
fn compiler(cxx: Option<&str>) -> Result<(), Error> {
    let command = cxx.and_then(|cxx| cxx.split_whitespace().next()).unwrap_or("c++");
    let mut version = Command::new(command);
    version.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    if version.status().is_ok_and(|status| status.success()) {
        return Ok(());
    }
    Err(Error::Missing {
        what: format!("no C++ compiler answers to `{command}`"),
        packages: "Debian, Ubuntu: `apt-get install g++`; Fedora: `dnf install gcc-c++`; \
                   macOS: `xcode-select --install`",
    })
}

fn described(found: &Libtorch, root: &Path) -> String {
    let version = found.version.split('+').next().unwrap_or_default();
    let parts = if found.has_cuda { "CUDA" } else { "CPU" };
    let place = found.root.strip_prefix(root).unwrap_or(&found.root);
    format!("libtorch {version} ({parts}) is at {}", place.display())
}

#[cfg(test)]
mod tests;
