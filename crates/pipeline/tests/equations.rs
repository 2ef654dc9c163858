//! Keeps `docs/src/equations.md` true: the equation of each row stands in a chapter of the book, its
//! label in the file that computes it, and the function and the test that the row names exist.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A row `label | equation | function | test`.
#[derive(Debug, PartialEq, Eq)]
struct Row<'a> {
    label: &'a str,
    function: &'a str,
    test: &'a str,
}

/// The rows of the table: four cells, the last two in code spans.
fn rows(text: &str) -> Vec<Row<'_>> {
    text.lines()
        .filter_map(|line| line.strip_prefix('|')?.strip_suffix('|'))
        .map(|line| line.split('|').map(str::trim).collect::<Vec<_>>())
        .filter(|cells| cells[0] != "label" && !cells[0].starts_with("--"))
        .map(|cells| match cells[..] {
            [label, _, function, test] => {
                Row { label, function: function.trim_matches('`'), test: test.trim_matches('`') }
            }
            _ => panic!("{} cells instead of 4: {cells:?} (write a bar as \\mid)", cells.len()),
        })
        .collect()
}

/// Whether `code` defines an item of this name.
fn defines(code: &str, name: &str) -> bool {
    ["fn ", "struct ", "enum ", "trait ", "const "].iter().any(|keyword| {
        code.match_indices(&format!("{keyword}{name}")).any(|(at, item)| {
            let next = code[at + item.len()..].chars().next();
            next.is_none_or(|c| !c.is_alphanumeric() && c != '_')
        })
    })
}

/// What is wrong with `path`, of the form `crate/src/file.rs::name`, and otherwise the file's text.
fn look_up(path: &str) -> Result<String, String> {
    let (file, name) = path.split_once("::").ok_or(format!("`{path}` has no `::`"))?;
    let name = name.rsplit("::").next().unwrap_or(name);
    let code = fs::read_to_string(root().join("crates").join(file))
        .map_err(|error| format!("crates/{file}: {error}"))?;
    if defines(&code, name) { Ok(code) } else { Err(format!("crates/{file} defines no `{name}`")) }
}

/// A sentence for each thing that a row says and that is not so.
fn problems(row: &Row<'_>, book: &str) -> Vec<String> {
    let label = row.label;
    let mut found = Vec::new();
    if !book.contains(&format!("\\tag{{{label}}}")) {
        found.push(format!("{label}: no chapter has an equation with \\tag{{{label}}}"));
    }
    match look_up(row.function) {
        Ok(code) if code.contains(&format!("({label})")) => {}
        Ok(_) => found.push(format!("{label}: the file of {} does not name it", row.function)),
        Err(error) => found.push(format!("{label}: {error}")),
    }
    found.extend(look_up(row.test).err().map(|error| format!("{label}: {error}")));
    found
}

/// Every label that a chapter gives to an equation.
fn labels(book: &str) -> impl Iterator<Item = &str> {
    book.split("\\tag{").skip(1).filter_map(|rest| rest.split('}').next())
}

fn table_and_book() -> (String, String) {
    let folder = root().join("docs/src");
    let table = fs::read_to_string(folder.join("equations.md")).unwrap();
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let chapters = files.filter(|path| path.extension().is_some_and(|e| e == "md"));
    (table, chapters.map(|path| fs::read_to_string(path).unwrap()).collect())
}

#[test]
fn every_row_is_true() {
    let (table, book) = table_and_book();
    let found: Vec<_> = rows(&table).iter().flat_map(|row| problems(row, &book)).collect();
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn every_labelled_equation_has_a_row() {
    let (table, book) = table_and_book();
    let rows = rows(&table);
    let without: Vec<_> =
        labels(&book).filter(|l| rows.iter().all(|row| row.label != *l)).collect();
    assert_eq!(without, Vec::<&str>::new());
    assert!(!rows.is_empty());
}

#[test]
fn a_row_that_is_not_true_is_found() {
    let table = "| label | equation | function | test |\n|---|---|---|---|\n\
                 | Z9 | x = y | `sde-core/src/sde.rs::no_such_function` | `pipeline/tests/gone.rs::f` |\n";
    let rows = rows(table);
    assert_eq!(rows.len(), 1);
    let found = problems(&rows[0], "\\tag{Z8}");
    assert_eq!(found.len(), 3, "{found:?}");
    assert_eq!(found[0], "Z9: no chapter has an equation with \\tag{Z9}");
    assert_eq!(found[1], "Z9: crates/sde-core/src/sde.rs defines no `no_such_function`");
}

#[test]
fn a_name_is_matched_whole() {
    assert!(defines("pub fn drift<X>(x: X) {}", "drift"));
    assert!(defines("pub struct Reverse;", "Reverse"));
    assert!(!defines("fn drift_and_divergence()", "drift"));
    assert!(!defines("// drift", "drift"));
}
