//! How far a run is: a bar on a terminal, a line for each tenth elsewhere, nothing where the user wants none.

use std::cell::Cell;
use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};

use crate::session::Session;

/// Steps of the bar.
const FINE: f64 = 1000.0;

/// Progress over a number of samples.
#[derive(Debug)]
pub(crate) struct Progress<'a> {
    session: &'a Session<'a>,
    what: &'static str,
    total: f64,
    bar: Option<ProgressBar>,
    tenths: Cell<f64>,
}

impl<'a> Progress<'a> {
    /// Begins at 0 of `total` samples; `what` is being done with them.
    pub(crate) fn new(session: &'a Session<'a>, what: &'static str, total: usize) -> Self {
        let shown = !session.common.quiet && std::io::stderr().is_terminal();
        let bar = shown.then(|| {
            let bar = ProgressBar::new(1000);
            let style = ProgressStyle::with_template("{msg} {bar:40} {percent}%, {eta} left");
            style.map_or(bar.clone(), |style| bar.clone().with_style(style)).with_message(what)
        });
        Self { session, what, total: total as f64, bar, tenths: Cell::new(0.0) }
    }

    /// So many samples are done, parts of samples included.
    pub(crate) fn at(&self, done: f64) {
        let part = (done / self.total).clamp(0.0, 1.0);
        if let Some(bar) = &self.bar {
            #[expect(clippy::cast_sign_loss, reason = "from 0 to 1000")]
            bar.set_position((FINE * part).floor() as u64); // truncation of a whole number
            return;
        }
        let tenths = (10.0 * part).floor();
        if tenths > self.tenths.get() {
            self.tenths.set(tenths);
            let (percent, seconds) = (100.0 * part, self.session.seconds());
            let Self { what, total, .. } = self;
            self.session.say(&format!("{what} {percent:.0}% of {total} after {seconds:.1} s"));
        }
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
