//! Is a folder the libtorch that this project is built against? Used by the build script of this crate and by
//! `cargo xtask libtorch`, which include this file; so it needs nothing but the standard library.
//!
//! A problem is one sentence: what was found, what was expected, what to do. It is also what `{:?}` prints, so that a
//! build script whose `main` returns it shows that sentence and no more.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// The version that `tch` is written for.
pub(crate) const VERSION: &str = "2.11.0";

/// When set, any version will do, as in `torch-sys`.
const BYPASS: &str = "LIBTORCH_BYPASS_VERSION_CHECK";

/// Without this file there is nothing to link.
const LIBRARY: &str =
    if cfg!(target_os = "macos") { "lib/libtorch_cpu.dylib" } else { "lib/libtorch_cpu.so" };

/// A header that every program with tensors includes.
const HEADER: &str = "include/ATen/ATen.h";

/// A folder with libraries and headers of the right version.
#[derive(Debug)]
pub(crate) struct Libtorch {
    pub(crate) root: PathBuf,
    /// As the folder states it: `2.11.0`, or `2.11.0+cu130` where the build is known.
    pub(crate) version: String,
    pub(crate) has_cuda: bool,
}

impl Libtorch {
    /// The library that every program loads.
    pub(crate) fn library(&self) -> PathBuf {
        self.root.join(LIBRARY)
    }
}

/// A folder that cannot be used.
pub(crate) struct Problem {
    /// What is wrong with it, without a full stop.
    pub(crate) what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what } = self;
        write!(f, "{what}: run `cargo xtask libtorch`, or set LIBTORCH to a libtorch {VERSION}")
    }
}

impl fmt::Debug for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Problem {}

/// Looks at a folder that should hold `lib` and `include` of libtorch 2.11.0.
pub(crate) fn check(root: &Path) -> Result<Libtorch, Problem> {
    check_for(root, std::env::var_os(BYPASS).is_some())
}

fn check_for(root: &Path, any_version: bool) -> Result<Libtorch, Problem> {
    let path = root.display();
    let refuse = |what: String| Err(Problem { what });
    if !root.is_absolute() {
        return refuse(format!("`{path}` is not an absolute path"));
    }
    if !root.is_dir() {
        return refuse(format!("no libtorch at {path}"));
    }
    for part in [LIBRARY, HEADER] {
        if !root.join(part).is_file() {
            return refuse(format!("{path} is no libtorch, it has no {part}"));
        }
    }
    let version = version(root).unwrap_or_else(|| "of an unknown version".to_owned());
    if !any_version && release(&version) != VERSION {
        let expected = format!("expected {VERSION} unless {BYPASS} is set");
        return refuse(format!("libtorch at {path} is {version}, {expected}"));
    }
    let has_cuda = root.join("lib/libtorch_cuda.so").is_file();
    Ok(Libtorch { root: root.to_owned(), version, has_cuda })
}

/// `2.11.0` of `2.11.0+cu130`.
fn release(version: &str) -> &str {
    version.split_once('+').map_or(version, |(release, _)| release)
}

/// The version that a folder states: a zip of libtorch has `build-version`, a wheel the headers and `version.py`.
fn version(root: &Path) -> Option<String> {
    let text = |path: &str| fs::read_to_string(root.join(path)).ok();
    let built = text("build-version").map(|text| text.trim().to_owned());
    built
        .filter(|version| !version.is_empty())
        .or_else(|| macros(&text("include/torch/version.h")?))
        .or_else(|| macros(&text("include/torch/headeronly/version.h")?))
        .or_else(|| python(&text("version.py")?))
}

/// `TORCH_VERSION_MAJOR`, `_MINOR` and `_PATCH` of a C header.
fn macros(header: &str) -> Option<String> {
    let number = |part: &str| {
        let name = format!("#define TORCH_VERSION_{part} ");
        header.lines().find_map(|line| line.strip_prefix(&name)?.trim().parse::<u32>().ok())
    };
    Some(format!("{}.{}.{}", number("MAJOR")?, number("MINOR")?, number("PATCH")?))
}

/// `__version__ = '2.11.0+cu130'` of a wheel's `version.py`.
fn python(module: &str) -> Option<String> {
    let value = module.lines().find_map(|line| line.strip_prefix("__version__ = "))?;
    Some(value.trim_matches(['\'', '"', ' ']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACROS: &str = "#define TORCH_VERSION_MAJOR 2\n\n#define TORCH_VERSION_MINOR 11\n\
                          #define TORCH_VERSION_PATCH 0\n#define TORCH_VERSION \\\n  \"2.11.0\"\n";

    /// A folder with the two files that `check` asks for, and others.
    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in [(LIBRARY, ""), (HEADER, "")].iter().chain(files) {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    fn refusal(root: &Path) -> String {
        check_for(root, false).unwrap_err().to_string()
    }

    #[test]
    fn every_place_of_a_version_is_read() {
        for (path, text, version) in [
            ("build-version", "2.11.0+cpu\n", "2.11.0+cpu"),
            ("include/torch/version.h", MACROS, "2.11.0"),
            ("include/torch/headeronly/version.h", MACROS, "2.11.0"),
            ("version.py", "debug = False\n__version__ = '2.11.0+cu130'\n", "2.11.0+cu130"),
        ] {
            let root = folder(&[(path, text)]);
            let found = check_for(root.path(), false).unwrap();
            assert_eq!((found.version.as_str(), found.has_cuda), (version, false), "{path}");
        }
    }

    #[test]
    fn the_statement_of_the_build_comes_first() {
        let root = folder(&[("build-version", "2.10.0+cpu"), ("include/torch/version.h", MACROS)]);
        let text = refusal(root.path());
        assert!(text.contains(" is 2.10.0+cpu, expected 2.11.0 unless LIBTORCH_BYPASS"), "{text}");
        assert_eq!(check_for(root.path(), true).unwrap().version, "2.10.0+cpu");
    }

    #[test]
    fn a_folder_without_a_version_passes_only_when_told_so() {
        let root = folder(&[("build-version", "\n"), ("version.py", "__version__ = 'x'")]);
        assert!(refusal(root.path()).contains(" is x, expected 2.11.0"));
        let root = folder(&[("build-version", "")]);
        assert!(refusal(root.path()).contains(" is of an unknown version, expected 2.11.0"));
        assert_eq!(check_for(root.path(), true).unwrap().version, "of an unknown version");
    }

    #[test]
    fn what_is_missing_is_named() {
        let remedy = "run `cargo xtask libtorch`, or set LIBTORCH to a libtorch 2.11.0";
        let text = refusal(Path::new("/nonexistent"));
        assert_eq!(text, format!("no libtorch at /nonexistent: {remedy}"));
        for part in [LIBRARY, HEADER] {
            let root = folder(&[("version.py", "__version__ = '2.11.0'")]);
            fs::remove_file(root.path().join(part)).unwrap();
            let text = refusal(root.path());
            assert!(text.contains(&format!(" is no libtorch, it has no {part}: run")), "{text}");
        }
    }

    #[test]
    fn a_relative_path_is_refused_because_a_build_script_runs_elsewhere() {
        assert!(refusal(Path::new("lt")).starts_with("`lt` is not an absolute path: run"));
    }

    #[test]
    fn a_problem_returned_from_main_prints_its_sentence() {
        let problem = check_for(Path::new("/nonexistent"), false).unwrap_err();
        assert_eq!(format!("{problem:?}"), problem.to_string());
    }

    #[test]
    fn cuda_is_seen_by_its_library() {
        let root = folder(&[("build-version", "2.11.0+cu130"), ("lib/libtorch_cuda.so", "")]);
        assert!(check_for(root.path(), false).unwrap().has_cuda);
    }
}
