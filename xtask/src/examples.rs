//! Runs every example of the root package in release. An example states a small workload for this
//! purpose in a line `//! ci: --num 4`; it is otherwise run without arguments. Further lines such as
//! `//! ci --features torch: --model assets/digits-unet` run it again, with those words for cargo.

use cargo_metadata::{Package, Target};

use crate::run::{Error, Project, read, run};

/// Runs the examples one after the other.
pub(crate) fn run_all(project: &Project) -> Result<String, Error> {
    let targets = project.metadata.root_package().map_or(&[][..], |root: &Package| &root.targets);
    let mut ran = 0;
    for example in targets.iter().filter(|target| target.is_example()) {
        for (flags, arguments) in runs(&read(example.src_path.as_std_path())?) {
            run_one(project, example, flags, arguments)?;
            ran += 1;
        }
    }
    Ok(format!("examples ({ran})"))
}

fn run_one(project: &Project, example: &Target, flags: &str, words: &str) -> Result<(), Error> {
    let mut cargo = project.cargo();
    cargo.args(["run", "--quiet", "--release", "--example", &example.name]);
    if !example.required_features.is_empty() {
        cargo.args(["--features", &example.required_features.join(",")]);
    }
    run(cargo.args(flags.split_whitespace()).arg("--").args(words.split_whitespace()))
}

/// For each run of an example the words for cargo and those for the example: what stands before and
/// after the colon of the lines that begin with `//! ci`.
fn runs(source: &str) -> Vec<(&str, &str)> {
    let stated = |line| str::strip_prefix(line, "//! ci")?.split_once(':');
    let stated: Vec<_> = source
        .lines()
        .filter_map(stated)
        .filter(|(flags, _)| flags.is_empty() || flags.starts_with(" --"))
        .collect();
    if stated.is_empty() { vec![("", "")] } else { stated }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_come_from_the_ci_line() {
        let source = "//! Samples.\n//!\n//! ci: --num 4  --seed 1\nfn main() {}\n";
        assert_eq!(runs(source), [("", " --num 4  --seed 1")]);
    }

    #[test]
    fn a_line_with_flags_is_another_run() {
        let source = "//! ci: --num 4\n//! ci --features torch: --model assets/x\n//! Samples.\n";
        assert_eq!(runs(source), [("", " --num 4"), (" --features torch", " --model assets/x")]);
    }

    #[test]
    fn without_a_ci_line_there_are_no_arguments() {
        assert_eq!(runs("//! Samples.\nfn main() {}\n"), [("", "")]);
        assert_eq!(runs("//! circles: drawn\n//! ci runs: this\n"), [("", "")]);
    }
}
