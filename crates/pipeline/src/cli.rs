//! What the programs of this project share: one sentence for a bad command line, exit code 2. Only programs call this
//! module, the one place of the libraries that prints and exits.

use clap::Parser;
use clap::error::ErrorKind;
use std::error::Error;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

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

/// A command line that is wrong in a way which only the program itself can see.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// The end of a program: exit code 0, or the error as one sentence on stderr and exit code 1, 2 for a [`Usage`].
pub fn finish(result: Result<(), Box<dyn Error>>) -> ExitCode {
    let Err(error) = result else { return ExitCode::SUCCESS };
    eprintln!("error: {}", one_line(&error.to_string()));
    if error.is::<Usage>() { ExitCode::from(2) } else { ExitCode::FAILURE }
}

/// Writes text to stdout. A reader that has gone away, as `head` does, is no failure.
///
/// # Errors
/// Any other failure to write.
pub fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// A parser of whole numbers from `min` to `max`.
pub fn whole(min: u64, max: u64) -> impl Fn(&str) -> Result<u64, String> + Clone {
    move |text| match text.parse() {
        Ok(n) if (min..=max).contains(&n) => Ok(n),
        _ => Err(format!("expected a whole number from {min} to {max}")),
    }
}

/// A parser of numbers from `min` to `max`.
pub fn number(min: f64, max: f64) -> impl Fn(&str) -> Result<f64, String> + Clone {
    move |text| match text.parse() {
        Ok(x) if (min..=max).contains(&x) => Ok(x),
        _ => Err(format!("expected a number from {min:?} to {max:?}")),
    }
}

/// A parser of finite numbers above 0.
///
/// # Errors
/// For anything else.
pub fn positive(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(x) if x > 0.0 && f64::is_finite(x) => Ok(x),
        _ => Err("expected a positive number".into()),
    }
}

/// A parser of the names of pictures.
///
/// # Errors
/// For a name that does not end in `.png`.
pub fn png(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    match path.extension() {
        Some(e) if e.eq_ignore_ascii_case("png") => Ok(path),
        _ => Err("expected a file name ending in .png".into()),
    }
}

/// The first paragraph of clap's message on one line.
fn sentence(message: &str) -> String {
    one_line(message.split("\n\n").next().unwrap_or(message))
}

/// Text without line breaks and runs of spaces.
pub fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Parser)]
    struct Flags {
        #[arg(long, value_parser = whole(1, 9))]
        steps: u64,
    }

    fn complaint(args: &[&str]) -> String {
        let error = Flags::try_parse_from([&["program"], args].concat()).unwrap_err();
        sentence(&error.to_string())
    }

    #[test]
    fn a_bad_value_is_one_sentence() {
        for value in ["0", "many", "10"] {
            let want = "expected a whole number from 1 to 9";
            let text = complaint(&["--steps", value]);
            assert_eq!(
                text,
                format!("error: invalid value '{value}' for '--steps <STEPS>': {want}")
            );
        }
    }

    #[test]
    fn a_missing_flag_is_named() {
        assert!(complaint(&[]).contains("--steps"));
    }
}
