//! The book in `docs/` holds together without mdbook being installed: every chapter is in the summary,
//! every link leads to a file, every included file (and its anchor) exists, no formula falls apart in
//! Markdown, and no chapter has Rust code of its own, because nothing would compile it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src")
}

/// The chapters: file name and text.
fn chapters() -> Vec<(String, String)> {
    let files = fs::read_dir(source()).unwrap().map(|entry| entry.unwrap().path());
    let markdown = files.filter(|path| path.extension().is_some_and(|e| e == "md"));
    markdown
        .map(|path| {
            (path.file_name().unwrap().to_str().unwrap().into(), fs::read_to_string(&path).unwrap())
        })
        .collect()
}

/// The texts between `open` and `close`.
fn between<'a>(text: &'a str, open: &str, close: &str) -> Vec<&'a str> {
    text.split(open).skip(1).filter_map(|rest| rest.split(close).next()).collect()
}

/// Targets of links that lead to files: no web addresses, no anchors.
fn links(text: &str) -> Vec<&str> {
    between(text, "](", ")")
        .into_iter()
        .filter(|target| !target.contains("://") && !target.starts_with("mailto:"))
        .map(|target| target.split('#').next().unwrap())
        .filter(|target| !target.is_empty())
        .collect()
}

/// Included files with the anchor that is asked for.
fn includes(text: &str) -> Vec<(&str, Option<&str>)> {
    between(text, "{{#", "}}")
        .into_iter()
        .filter_map(|call| {
            call.strip_prefix("include ").or_else(|| call.strip_prefix("rustdoc_include "))
        })
        .map(|call| match call.trim().split_once(':') {
            Some((file, part)) => (file, part.starts_with(char::is_alphabetic).then_some(part)),
            None => (call.trim(), None),
        })
        .collect()
}

/// Lines inside Rust blocks that are not includes.
fn own_code(text: &str) -> Vec<&str> {
    between(text, "```rust", "\n```")
        .into_iter()
        .flat_map(|block| block.lines().skip(1))
        .filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with("{{#"))
        .collect()
}

/// Lines of a displayed formula that Markdown would take for an item of a list.
fn broken_formulas(text: &str) -> Vec<&str> {
    between(text, "\\\\[", "\\\\]")
        .into_iter()
        .flat_map(|formula| formula.lines().skip(1))
        .filter(|line| line.trim_start().starts_with(['+', '-', '*', '#', '>']))
        .collect()
}

/// A sentence for each thing in a chapter that leads nowhere or would not come out as it is meant.
fn problems(chapter: &str, text: &str, folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for link in links(text).into_iter().filter(|link| !folder.join(link).exists()) {
        found.push(format!("{chapter}: the link {link} leads nowhere"));
    }
    for (file, anchor) in includes(text) {
        match (fs::read_to_string(folder.join(file)), anchor) {
            (Err(_), _) => found.push(format!("{chapter}: the included file {file} is missing")),
            (Ok(code), Some(anchor)) if !code.contains(&format!("ANCHOR: {anchor}\n")) => {
                found.push(format!("{chapter}: {file} has no anchor {anchor}"));
            }
            (Ok(_), _) => {}
        }
    }
    for line in own_code(text) {
        found.push(format!("{chapter}: Rust code of its own: {line}"));
    }
    for line in broken_formulas(text) {
        found.push(format!("{chapter}: a line of a formula begins like a list: {line}"));
    }
    found
}

#[test]
fn chapters_lead_somewhere() {
    let chapters = chapters();
    let found: Vec<_> =
        chapters.iter().flat_map(|(name, text)| problems(name, text, &source())).collect();
    assert!(chapters.len() > 1);
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn every_chapter_is_in_the_summary() {
    let summary = fs::read_to_string(source().join("SUMMARY.md")).unwrap();
    let listed = links(&summary);
    for (name, _) in chapters().iter().filter(|(name, _)| name != "SUMMARY.md") {
        assert!(listed.contains(&name.as_str()), "{name} is not in SUMMARY.md");
    }
}

#[test]
fn what_leads_nowhere_is_found() {
    let text = "See [a](gone.md#part), [b](https://example.org), [c](#here).\n\
                ```rust\n{{#include gone.rs}}\nlet x = 1;\n```\n\
                \\\\[ a\n+ b \\\\]\n";
    let expected = [
        "page.md: the link gone.md leads nowhere",
        "page.md: the included file gone.rs is missing",
        "page.md: Rust code of its own: let x = 1;",
        "page.md: a line of a formula begins like a list: + b ",
    ];
    assert_eq!(problems("page.md", text, &source()), expected);
}

#[test]
fn a_missing_anchor_is_found() {
    let text = "```rust\n{{#rustdoc_include ../../crates/pipeline/tests/book.rs:nowhere}}\n```\n";
    let expected = ["page.md: ../../crates/pipeline/tests/book.rs has no anchor nowhere"];
    assert_eq!(problems("page.md", text, &source()), expected);
    assert_eq!(includes("{{#include a.rs:3:7}}"), [("a.rs", None)]);
}
