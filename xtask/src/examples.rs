//! Runs every example of the root package in release. An example states a small workload for this
//! purpose in a line `//! ci: --num 4`; it is otherwise run without arguments.

use cargo_metadata::{Package, Target};

use crate::run::{Error, Project, read, run};

/// Runs the examples one after the other; those behind a feature are named and left out.
pub(crate) fn run_all(project: &Project) -> Result<String, Error> {
    let targets = project.metadata.root_package().map_or(&[][..], |root: &Package| &root.targets);
    let mut ran = 0;
    for example in targets.iter().filter(|target| target.is_example()) {
        if example.required_features.is_empty() {
            run_one(project, example)?;
            ran += 1;
        } else {
            let features = example.required_features.join(", ");
            println!("left out: {} (needs the feature {features})", example.name);
        }
    }
    Ok(format!("examples ({ran})"))
}

fn run_one(project: &Project, example: &Target) -> Result<(), Error> {
    let source = read(example.src_path.as_std_path())?;
    let mut cargo = project.cargo();
    cargo.args(["run", "--quiet", "--release", "--example", &example.name, "--"]);
    run(cargo.args(ci_arguments(&source)))
}

/// The words after `//! ci:` in the first line that begins with it.
fn ci_arguments(source: &str) -> impl Iterator<Item = &str> {
    let line = source.lines().find_map(|line| line.strip_prefix("//! ci:"));
    line.unwrap_or_default().split_whitespace()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_come_from_the_ci_line() {
        let source = "//! Samples.\n//!\n//! ci: --num 4  --seed 1\nfn main() {}\n";
        assert_eq!(ci_arguments(source).collect::<Vec<_>>(), ["--num", "4", "--seed", "1"]);
    }

    #[test]
    fn without_a_ci_line_there_are_no_arguments() {
        assert_eq!(ci_arguments("//! Samples.\nfn main() {}\n").count(), 0);
    }
}
