//! The fenced code blocks of README.md: what language, on which line, to be run or not. Every block
//! says what it is; a tag that this file does not know is an error, so that no block is passed over.

use crate::run::Error;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Language {
    Rust,
    /// Commands, one per line.
    Shell,
    /// A session: commands behind `$ `, and what they printed.
    Console,
    /// Shown, never run.
    Display,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) line: usize,
    pub(crate) language: Language,
    pub(crate) no_run: Option<String>,
    pub(crate) body: String,
}

/// The fenced code blocks of a Markdown text.
pub(crate) fn blocks(text: &str) -> Result<Vec<Block>, Error> {
    let mut lines = text.lines().zip(1..);
    let mut blocks = Vec::new();
    while let Some((opening, line)) = lines.next() {
        if opening.trim_start().starts_with("~~~") {
            return Err(refuse(line, "fence a code block with backticks"));
        }
        let Some((indent, fence, info)) = split_fence(opening) else { continue };
        let (language, no_run) = parse_info(line, info)?;
        let mut body = String::new();
        loop {
            let Some((text, _)) = lines.next() else {
                return Err(refuse(line, "this code block is never closed"));
            };
            if split_fence(text).is_some_and(|(_, end, rest)| end >= fence && rest.is_empty()) {
                break;
            }
            body += text.get(indent..).unwrap_or_else(|| text.trim_start());
            body += "\n";
        }
        if language == Language::Console && !body.lines().any(|line| line.starts_with("$ ")) {
            return Err(refuse(line, "a console block needs a line that begins with `$ `"));
        }
        blocks.push(Block { line, language, no_run, body });
    }
    Ok(blocks)
}

/// Indentation, length of the fence and the words after it, if the line is a fence.
fn split_fence(line: &str) -> Option<(usize, usize, &str)> {
    let fenced = line.trim_start();
    let info = fenced.trim_start_matches('`');
    let fence = fenced.len() - info.len();
    (fence >= 3 && !info.contains('`')).then_some((line.len() - fenced.len(), fence, info.trim()))
}

/// What the words after a fence ask for; every block says what it is.
fn parse_info(line: usize, info: &str) -> Result<(Language, Option<String>), Error> {
    let (tag, rest) = info.split_once(char::is_whitespace).unwrap_or((info, ""));
    let language = match tag {
        "rust" => Language::Rust,
        "sh" | "bash" => Language::Shell,
        "console" => Language::Console,
        "text" | "toml" => Language::Display,
        _ => {
            let what = format!("a block tagged `{tag}`; know rust, sh, bash, console, text, toml");
            return Err(refuse(line, &what));
        }
    };
    match rest.trim().strip_prefix("no-run") {
        None if rest.trim().is_empty() => Ok((language, None)),
        None => {
            Err(refuse(line, &format!("`{rest}` after the tag; only `no-run: reason` may stand")))
        }
        Some(reason) => match reason.strip_prefix(':').map(str::trim) {
            Some(reason) if !reason.is_empty() => Ok((language, Some(reason.to_owned()))),
            _ => Err(refuse(line, "no-run needs a reason: `no-run: why`")),
        },
    }
}

pub(crate) fn refuse(line: usize, what: &str) -> Error {
    Error::Readme { line, what: what.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> String {
        blocks(text).unwrap_err().to_string()
    }

    #[test]
    fn blocks_come_in_order_with_their_lines() {
        let text = "# Title\n\n```rust\nlet x = 1;\n```\ntext\n```sh\ncargo test\n```\n";
        let found = blocks(text).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].line, found[0].language), (3, Language::Rust));
        assert_eq!(found[0].body, "let x = 1;\n");
        assert_eq!((found[1].line, found[1].language), (7, Language::Shell));
    }

    #[test]
    fn a_longer_fence_holds_a_shorter_one() {
        let found = blocks("````text\n```rust\n```\n````\n").unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].body, "```rust\n```\n");
    }

    #[test]
    fn a_block_in_a_list_loses_its_indentation() {
        let found = blocks("- item\n\n  ```sh\n  a\n    b\n  ```\n").unwrap();
        assert_eq!(found[0].body, "a\n  b\n");
    }

    #[test]
    fn a_reason_leaves_a_block_out() {
        let found = blocks("```sh no-run: downloads a data set\ncurl\n```\n").unwrap();
        assert_eq!(found[0].no_run.as_deref(), Some("downloads a data set"));
    }

    #[test]
    fn no_run_without_a_reason_is_refused() {
        for info in ["sh no-run", "sh no-run:", "rust no-run:  "] {
            let text = message(&format!("\n```{info}\n```\n"));
            assert!(text.starts_with("README.md, line 2: no-run needs a reason"), "{text}");
        }
    }

    #[test]
    fn unknown_words_are_refused() {
        assert!(message("```\nx\n```\n").contains("a block tagged ``"));
        assert!(message("```rust,ignore\nx\n```\n").contains("tagged `rust,ignore`"));
        assert!(message("```rust ignore\nx\n```\n").contains("`ignore` after the tag"));
    }

    #[test]
    fn a_fence_of_tildes_is_refused() {
        assert!(message("~~~sh\n~~~\n").contains("with backticks"));
    }

    #[test]
    fn a_session_without_commands_is_refused() {
        assert!(message("```console\nprinted\n```\n").contains("begins with `$ `"));
    }

    #[test]
    fn an_open_block_is_refused() {
        assert_eq!(
            message("```rust\nlet x = 1;\n"),
            "README.md, line 1: this code block is never closed"
        );
    }
}
