//! Programs outside the workspace, as a user would write them: each depends on one of the project's
//! crates (and on `ndarray`, for its data), must build and run, and must not meet libtorch on the way.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::run::{Error, Project, cargo, file, read, run, stdout_of, write};

/// Crates that stand alone, each with a program that uses it.
const ALONE: &[(&str, &str)] = &[
    ("sde-core", include_str!("../consumers/sde-core/main.rs")),
    ("score-match", include_str!("../consumers/score-match/main.rs")),
    ("ode-solvers", include_str!("../consumers/ode-solvers/main.rs")),
    ("pipeline", include_str!("../consumers/pipeline/main.rs")),
];

/// Packages that mean libtorch.
const LIBTORCH: &[&str] = &["tch", "torch-sys"];

/// Builds and runs every program, and looks for libtorch among its dependencies.
pub(crate) fn build_all(project: &Project) -> Result<String, Error> {
    for &(name, program) in ALONE {
        let package = format!("uses-{name}");
        let consumer = Consumer::new(project, &package, &[name])?;
        consumer.write("src/main.rs", program)?;
        run(consumer.cargo().args(["run", "--quiet", "--bin", &package]))?;
        let tree = stdout_of(consumer.cargo().args(["tree", "--prefix", "none", "--quiet"]))?;
        if let Some(found) = libtorch_in(&tree) {
            return Err(Error::PullsIn { user: name.to_owned(), found: found.to_owned() });
        }
        println!("{name}: builds and runs alone, without libtorch");
    }
    Ok(format!("consumers ({})", ALONE.len()))
}

/// The first package of a `cargo tree --prefix none` that belongs to libtorch.
fn libtorch_in(tree: &str) -> Option<&str> {
    tree.lines()
        .filter_map(|line| line.split_whitespace().next())
        .find(|name| LIBTORCH.contains(name))
}

/// A package in a temporary folder that depends on the project's crates by path.
#[derive(Debug)]
pub(crate) struct Consumer {
    folder: TempDir,
    target: PathBuf,
}

impl Consumer {
    /// An empty package with the project's `Cargo.lock`, so that it resolves to the same versions.
    pub(crate) fn new(project: &Project, name: &str, crates: &[&str]) -> Result<Self, Error> {
        let folder = tempfile::tempdir().map_err(|source| file(&std::env::temp_dir(), source))?;
        let target = project.metadata.target_directory.join("consumers").into_std_path_buf();
        let consumer = Self { folder, target };
        consumer.write("Cargo.toml", &manifest(project.root(), name, crates))?;
        consumer.write("Cargo.lock", &read(&project.root().join("Cargo.lock"))?)?;
        Ok(consumer)
    }

    /// Writes a file of the package.
    pub(crate) fn write(&self, path: &str, text: &str) -> Result<(), Error> {
        write(&self.folder.path().join(path), text)
    }

    /// `cargo` in the package; all consumers share one target folder beside the workspace's own.
    /// LIBTORCH, which the workspace sets for this program, stays behind: no consumer may need it.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = cargo();
        command.current_dir(self.folder.path()).env("CARGO_TARGET_DIR", &self.target);
        command.env_remove("LIBTORCH");
        command
    }
}

/// A manifest with `[workspace]`, so that no workspace above the folder claims the package.
fn manifest(root: &Path, name: &str, crates: &[&str]) -> String {
    let dependency = |krate: &&str| {
        let path = root.join("crates").join(krate);
        format!("{krate} = {{ path = '{}', default-features = false }}\n", path.display())
    };
    let dependencies: Vec<_> = crates.iter().map(dependency).collect();
    format!(
        "[package]\nname = \"{name}\"\nversion = \"0.0.0\"\nedition = \"2024\"\npublish = false\n\n\
         [workspace]\n\n\
         [profile.dev]\nopt-level = 2\ndebug = false\n\n\
         [dependencies]\nndarray = \"*\" # the version in Cargo.lock\n{}",
        dependencies.concat()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libtorch_is_found_by_its_whole_name() {
        let tree = "uses-models v0.0.0\nndarray v0.16.1\ntorch-sys v0.24.0\n";
        assert_eq!(libtorch_in(tree), Some("torch-sys"));
        assert_eq!(libtorch_in("uses-a v0.0.0\nstretch v0.1.0\ntorch-ext v0.1.0\n"), None);
    }

    #[test]
    fn a_manifest_names_its_crates_by_path() {
        let text = manifest(Path::new("home"), "uses-sde-core", &["sde-core"]);
        let path = Path::new("home").join("crates").join("sde-core");
        assert!(text.contains(&format!("sde-core = {{ path = '{}',", path.display())), "{text}");
        assert!(text.contains("\n[workspace]\n"), "{text}");
    }
}
