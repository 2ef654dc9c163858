//! Long runs in chunks: what is done when a run is killed stays done, and several processes may share the work.

use std::error::Error;
use std::ops::Range;
use std::path::Path;

use clap::Args;
use ndarray::{Array2, ArrayD};
use pipeline::cli::Usage;
use pipeline::parts::{Fingerprint, Parts, Settings};

use crate::model::Described;
use crate::session::{Session, device_name};

/// Why rows cannot be read as results.
pub(crate) const FOREIGN: &str =
    "the chunks in OUT.parts are not of this command, expected its own: take another --out";

/// Flags of commands whose runs are cut into chunks.
#[derive(Clone, Debug, Args)]
pub(crate) struct PartFlags {
    /// Go on with a run that did not finish: what it did lies in the folder OUT.parts.
    #[arg(long)]
    resume: bool,
    /// Only the chunks A to B − 1, counted from 0, of --batch samples each. Those that OUT.parts has are not computed again;
    /// OUT then holds all that are there, and the folder stays until a run with --resume and without --chunks.
    #[arg(long, value_name = "A..B", value_parser = half_open)]
    chunks: Option<Range<usize>>,
}

fn half_open(text: &str) -> Result<Range<usize>, String> {
    let ends = text.split_once("..").map(|(a, b)| (a.parse(), b.parse()));
    match ends {
        Some((Ok(start), Ok(end))) if start < end => Ok(start..end),
        _ => Err("expected A..B with whole numbers A < B".into()),
    }
}

/// The chunks of a run, and which of them it is to do.
#[derive(Debug)]
pub(crate) struct Job {
    parts: Parts,
    wanted: Range<usize>,
    whole: bool,
}

/// Chunks that are done: their numbers, ascending, and the rows of each.
#[derive(Debug)]
pub(crate) struct Done {
    chunks: Vec<usize>,
    pub(crate) rows: Vec<Array2<f64>>,
}

impl PartFlags {
    /// The chunks of `samples`, each of `size`, kept beside `out` where there is one.
    ///
    /// # Errors
    /// Chunks that there are not; what [`Parts::beside`] refuses.
    pub(crate) fn job(
        &self,
        out: Option<&Path>,
        (samples, size): (usize, usize),
        settings: &Settings,
    ) -> Result<Job, Box<dyn Error>> {
        let count = Parts::in_memory(samples, size).count();
        if let Some(Range { start, end }) = self.chunks.clone().filter(|c| c.end > count) {
            let expected = format!("{count} at most: {samples} samples in chunks of {size}");
            return Err(Usage(format!("found --chunks {start}..{end}, expected {expected}")).into());
        }
        if self.resume && out.is_none() {
            let text = "found --resume without --out, expected the file that the run was to write";
            return Err(Usage(text.into()).into());
        }
        let (go_on, whole) = (self.resume || self.chunks.is_some(), self.chunks.is_none());
        let parts = match out {
            Some(out) => Parts::beside(out, (samples, size), settings, go_on)?,
            None => Parts::in_memory(samples, size),
        };
        Ok(Job { parts, wanted: self.chunks.clone().unwrap_or(0..count), whole })
    }
}

impl Job {
    /// Does what is wanted and not done: `work` makes the rows of some samples. Returns all that is done, by others too.
    ///
    /// # Errors
    /// Those of `work`; a chunk that cannot be read or written.
    pub(crate) fn run(
        &self,
        mut work: impl FnMut(Range<usize>) -> Result<Array2<f64>, Box<dyn Error>>,
    ) -> Result<Done, Box<dyn Error>> {
        let mut done = Done { chunks: Vec::new(), rows: Vec::new() };
        for chunk in 0..self.parts.count() {
            if self.wanted.contains(&chunk) || self.parts.is_done(chunk) {
                done.rows.push(self.parts.chunk(chunk, &mut work)?);
                done.chunks.push(chunk);
            }
        }
        Ok(done)
    }

    /// The numbers of the samples of these chunks.
    pub(crate) fn samples(&self, done: &Done) -> Vec<usize> {
        done.chunks.iter().flat_map(|chunk| self.parts.samples_of(*chunk)).collect()
    }

    /// Whether other processes have done more in the meantime. Who writes the result asks afterwards and writes it again, so
    /// that the last one to write has seen all.
    pub(crate) fn has_more(&self, done: &Done) -> bool {
        self.parts.done().len() > done.chunks.len()
    }

    /// Removes what was kept, now that the result is whole.
    ///
    /// # Errors
    /// A folder that cannot be removed.
    pub(crate) fn finish(&self) -> Result<(), Box<dyn Error>> {
        if self.whole { Ok(self.parts.remove()?) } else { Ok(()) }
    }
}

/// What the numbers of every run depend on, after the settings of its own.
///
/// # Errors
/// A model whose weights cannot be read.
pub(crate) fn settings(
    own: Settings,
    (model, session): (&Described, &Session<'_>),
    (samples, size): (usize, usize),
) -> Result<Settings, Box<dyn Error>> {
    let (t_min, t_max) = model.interval();
    let common = [
        ("seed", session.common.seed().to_string()),
        ("t_min", format!("{t_min:?}")),
        ("t_max", format!("{t_max:?}")),
        ("batch", size.to_string()),
        ("samples", samples.to_string()),
        ("model", model.fingerprint()?.to_string()),
        ("device", device_name(session.device)),
        ("dtype", session.common.dtype.clone()),
        ("version", env!("CARGO_PKG_VERSION").into()),
    ];
    Ok(own.into_iter().chain(common).collect())
}

/// A number that tells arrays apart.
pub(crate) fn fingerprint(x: &ArrayD<f64>) -> Fingerprint {
    let shape: Vec<u8> = x.shape().iter().flat_map(|n| n.to_le_bytes()).collect();
    Fingerprint::default().and(&shape).and_numbers(x)
}
