//! Installing with a stand-in for `python3` that makes empty files: what is asked of pip, what stays, what a killed run
//! leaves, and every sentence that a person may meet.

use std::collections::BTreeSet;
use std::fs;

use tempfile::{TempDir, tempdir};

use super::*;

fn fake(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fakes").join(name)
}

fn provide(root: &Path, python: &Path, wanted: Wanted) -> Result<Libtorch, run::Error> {
    let forget = || run::write(&root.join("forgotten"), "");
    Plan::new(root, wanted).carry_out(root, python, &forget)
}

fn provide_in(root: &TempDir, wanted: Wanted) -> Libtorch {
    provide(root.path(), &fake("python3"), wanted).unwrap()
}

/// The refusal of a stand-in in an empty folder.
fn refusal(python: &str) -> String {
    let root = tempdir().unwrap();
    let error = provide(root.path(), &fake(python), Wanted::Any).unwrap_err();
    assert_eq!(names(root.path().to_owned()), set(&[]));
    error.to_string()
}

fn names(folder: PathBuf) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn without_cuda(root: &TempDir) -> bool {
    let libraries = names(root.path().join(OWN).join("lib"));
    libraries.iter().all(|name| !name.contains("cuda") && !name.contains("python"))
}

#[test]
fn the_cpu_part_is_libraries_headers_and_licences() {
    let root = tempdir().unwrap();
    let found = provide_in(&root, Wanted::Any);
    assert_eq!(described(&found, root.path()), "libtorch 2.11.0 (CPU) is at .libtorch/torch");
    let site = root.path().join(install::FINAL);
    assert_eq!(names(site.clone()), set(&["nvidia", "torch", "torch-2.11.0.dist-info"]));
    let torch = set(&["build-version", "include", "lib", "share", "version.py"]);
    assert_eq!(names(site.join("torch")), torch);
    assert_eq!(names(site.join("nvidia")), set(&["cu13"]));
    assert_eq!(names(site.join("nvidia/cu13/lib")), set(&["libcudart.so.13", "libcupti.so.13"]));
    assert!(without_cuda(&root) && site.join("torch/lib/libgomp.so.1").is_file());
    assert_eq!(fs::read_to_string(site.join("torch/build-version")).unwrap(), "2.11.0+cpu\n");
    assert_eq!(names(root.path().to_owned()), set(&[".libtorch", "pip-arguments"]));
}

#[test]
fn a_second_run_starts_nothing() {
    let root = tempdir().unwrap();
    provide_in(&root, Wanted::Cpu);
    for wanted in [Wanted::Any, Wanted::Cpu] {
        provide(root.path(), &fake("no-such-python3"), wanted).unwrap();
    }
}

#[test]
fn cuda_replaces_the_cpu_part_and_the_way_back_needs_no_download() {
    let root = tempdir().unwrap();
    provide_in(&root, Wanted::Cpu);
    let found = provide_in(&root, Wanted::Cuda);
    assert_eq!(described(&found, root.path()), "libtorch 2.11.0 (CUDA) is at .libtorch/torch");
    assert!(root.path().join(".libtorch/nvidia/cudnn").is_dir());
    // A stage that takes either leaves it as it is.
    assert!(provide(root.path(), &fake("no-such-python3"), Wanted::Any).unwrap().has_cuda);
    fs::remove_file(root.path().join("pip-arguments")).unwrap();
    assert!(!provide_in(&root, Wanted::Cpu).has_cuda && without_cuda(&root));
    assert_eq!(names(root.path().to_owned()), set(&[".libtorch", "forgotten"]));
}

#[test]
fn a_killed_run_is_replaced() {
    let root = tempdir().unwrap();
    for left in [".libtorch.partial/torch/lib/libtorch_cpu.so", ".libtorch.old/torch/x"] {
        run::write(&root.path().join(left), "half").unwrap();
    }
    let found = provide_in(&root, Wanted::Any);
    assert_eq!(fs::read_to_string(found.library()).unwrap(), "");
    assert_eq!(names(root.path().to_owned()), set(&[".libtorch", "pip-arguments"]));
}

#[test]
fn a_trim_that_was_killed_is_done_again() {
    let root = tempdir().unwrap();
    let stamp = provide_in(&root, Wanted::Cuda).root.join(install::STAMP);
    fs::remove_file(stamp).unwrap();
    assert!(!provide_in(&root, Wanted::Any).has_cuda && without_cuda(&root));
}

#[test]
fn what_does_not_load_is_installed_again() {
    let root = tempdir().unwrap();
    let found = provide_in(&root, Wanted::Cpu);
    fs::remove_file(found.root.join(install::STAMP)).unwrap();
    fs::remove_dir_all(root.path().join(".libtorch/nvidia")).unwrap();
    provide_in(&root, Wanted::Cpu);
    assert!(root.path().join(".libtorch/nvidia/cu13/lib/libcupti.so.13").is_file());
}

#[test]
fn another_version_is_replaced() {
    let root = tempdir().unwrap();
    let stamp = provide_in(&root, Wanted::Cpu).root.join(install::STAMP);
    fs::write(stamp, "2.10.0+cpu").unwrap();
    assert_eq!(provide_in(&root, Wanted::Cpu).version, "2.11.0+cpu");
}

#[test]
fn what_is_missing_is_named_with_its_package() {
    let text = refusal("no-such-python3");
    assert!(
        text.starts_with("there is no python3, whose pip downloads libtorch: install"),
        "{text}"
    );
    let text = refusal("python3-without-pip");
    assert!(text.starts_with("python3 has no pip, which downloads libtorch: install"), "{text}");
    assert!(text.contains("`apt-get install python3 python3-pip`"), "{text}");
    let text = compiler(Some("no-such-c++ -O2")).unwrap_err().to_string();
    assert!(text.starts_with("no C++ compiler answers to `no-such-c++`: install one ("), "{text}");
    assert!(text.contains("`apt-get install g++`"), "{text}");
}

#[test]
fn without_a_network_pip_is_quoted() {
    let text = refusal("python3-offline");
    let line = "ERROR: No matching distribution found for torch==2.11.0";
    assert!(text.starts_with("`python3-offline -m pip install --target .libtorch.par"), "{text}");
    assert!(text.ends_with(&format!("` failed: {line} (pip could not reach its index)")), "{text}");
}

#[test]
fn only_a_folder_of_the_users_own_counts_as_given() {
    let root = Path::new("/project");
    assert_eq!(given(None, root), None);
    assert_eq!(given(Some("/project/.libtorch/torch/".into()), root), None);
    assert_eq!(given(Some("/opt/libtorch".into()), root), Some("/opt/libtorch".into()));
    assert_eq!(given(Some("".into()), root), Some("".into()));
}

#[test]
fn a_given_folder_is_used_or_refused_and_never_replaced() {
    let root = tempdir().unwrap();
    let own = provide_in(&root, Wanted::Cpu).root;
    assert_eq!(described(&accept(&own, Wanted::Any).unwrap(), Path::new("/")), {
        let place = own.strip_prefix("/").unwrap();
        format!("libtorch 2.11.0 (CPU) is at {}", place.display())
    });
    let text = accept(&own, Wanted::Cuda).unwrap_err().to_string();
    assert!(text.ends_with(", which has no CUDA: unset it to install one that has"), "{text}");
    fs::write(own.join(install::STAMP), "2.10.0+cpu").unwrap();
    let text = accept(&own, Wanted::Any).unwrap_err().to_string();
    assert!(text.starts_with("LIBTORCH is set, and libtorch at "), "{text}");
    assert!(text.contains(" is 2.10.0+cpu, expected 2.11.0 unless "), "{text}");
    assert!(text.ends_with("into .libtorch, or set it to a libtorch 2.11.0"), "{text}");
}
