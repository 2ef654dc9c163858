//! What the programs of this project share: one sentence for a bad command line, exit code 2.

use clap::Parser;
use clap::error::ErrorKind;

/// Parses the command line. Help and version go to stdout with exit code 0; anything wrong is one sentence on
/// stderr, naming the flag, what was found and what was expected, with exit code 2.
pub fn parse_or_exit<T: Parser>() -> T {
    T::try_parse().unwrap_or_else(|error| {
        if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
            let _ = error.print(); // a closed stdout is no reason to fail
            std::process::exit(0);
        }
        eprintln!("{}", sentence(&error.to_string()));
        std::process::exit(2);
    })
}

/// The first paragraph of clap's message on one line.
fn sentence(message: &str) -> String {
    let paragraph = message.split("\n\n").next().unwrap_or(message);
    paragraph.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Parser)]
    struct Flags {
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
        steps: u32,
    }

    fn complaint(args: &[&str]) -> String {
        let error = Flags::try_parse_from([&["program"], args].concat()).unwrap_err();
        sentence(&error.to_string())
    }

    #[test]
    fn a_bad_value_is_one_sentence() {
        let text = complaint(&["--steps", "0"]);
        assert!(text.contains("'0'") && text.contains("--steps") && !text.contains('\n'), "{text}");
    }

    #[test]
    fn a_missing_flag_is_named() {
        assert!(complaint(&[]).contains("--steps"));
    }
}
