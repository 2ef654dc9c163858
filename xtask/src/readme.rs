//! Runs the code blocks of README.md in the order in which they stand. Rust blocks become programs of
//! a package outside the workspace; shell blocks run line for line in the root of the repository. A
//! block is left out only if its first line says why: `sh no-run: downloads a data set`.

use std::process::Command;

use crate::INSIDE_TEST;
use crate::consumers::Consumer;
use crate::markdown::{Block, Language, blocks, refuse};
use crate::run::{Error, Project, read, run};

/// Runs every block of README.md.
pub(crate) fn run_blocks(project: &Project) -> Result<String, Error> {
    let crates = ["sde-core", "score-match", "ode-solvers", "pipeline"];
    let consumer = Consumer::new(project, "readme", &crates)?;
    let mut ran = 0;
    for block in blocks(&read(&project.root().join("README.md"))?)? {
        if block.language == Language::Display {
            continue;
        }
        if let Some(reason) = &block.no_run {
            println!("README.md, line {}: left out, {reason}", block.line);
            continue;
        }
        println!("README.md, line {}", block.line);
        run_block(project, &consumer, &block)
            .map_err(|error| refuse(block.line, &error.to_string()))?;
        ran += 1;
    }
    Ok(format!("README blocks ({ran})"))
}

fn run_block(project: &Project, consumer: &Consumer, block: &Block) -> Result<(), Error> {
    match block.language {
        Language::Rust => {
            let name = format!("line-{}", block.line);
            consumer.write(&format!("src/bin/{name}.rs"), &program(&block.body))?;
            run(consumer.cargo().args(["run", "--quiet", "--bin", &name]))
        }
        Language::Shell => run_script(project, &block.body),
        Language::Console => run_script(project, &commands(&block.body)),
        Language::Display => Ok(()),
    }
}

fn run_script(project: &Project, script: &str) -> Result<(), Error> {
    let mut bash = Command::new("bash");
    bash.args(["-euxo", "pipefail", "-c", script]);
    run(bash.current_dir(project.root()).env(INSIDE_TEST, "1"))
}

/// A block as a program: as it stands if it has a `main`, otherwise as the body of one.
fn program(body: &str) -> String {
    if body.contains("fn main(") {
        return body.to_owned();
    }
    format!(
        "#![allow(redundant_semicolons)]\n\
         fn main() -> Result<(), Box<dyn std::error::Error>> {{\n{body};\nOk(())\n}}\n"
    )
}

/// What a person typed in a session: the lines behind `$ `.
fn commands(session: &str) -> String {
    let typed = session.lines().filter_map(|line| line.strip_prefix("$ "));
    typed.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_gives_its_commands() {
        assert_eq!(commands("$ cargo run\nprinted\n$ ls\n"), "cargo run\nls");
    }

    #[test]
    fn only_a_block_without_main_is_wrapped() {
        let whole = "use std::fs;\nfn main() {}\n";
        assert_eq!(program(whole), whole);
        assert!(program("let x = 1;\n").contains("Box<dyn std::error::Error>> {\nlet x = 1;\n"));
    }
}
