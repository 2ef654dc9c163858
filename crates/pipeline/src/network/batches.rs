//! Batches of a run: on their way to the device and back, and how far they are.

use std::ops::Range;

use models::{Batch, NetworkScore};
use ndarray::{ArrayD, ArrayViewD, Axis, IxDyn, Slice};
use ode_solvers::{Samples, Solution};
use sde_core::error::check;
use sde_core::{Divergence, Field, Lanes, Noise, Pull, Purpose, Score, Sde};

use super::{Error, NetworkRun, Result, Start, sizes};

impl NetworkRun<'_> {
    /// `x_T` of some rows on the device.
    pub(super) fn noise(&self, start: &Start, rows: Range<usize>) -> Result<Samples<Batch>> {
        if let Start::Given(x) = start {
            return self.upload(x, rows);
        }
        let mut x = ArrayD::zeros(IxDyn(&shape_of(rows.len(), &self.description.shape)));
        let numbers: Vec<u64> = rows.map(|i| i as u64).collect();
        Noise::new(self.seed, Purpose::Prior).fill(&numbers, 0, &mut x)?;
        x *= self.process()?.sigma(self.t_max);
        Ok(Samples { x: self.upload_all(&x)?, numbers })
    }

    /// Rows of a host array on the device, numbered as in the array.
    pub(super) fn upload(&self, x: &ArrayViewD<f64>, rows: Range<usize>) -> Result<Samples<Batch>> {
        let first = rows.start as u64;
        let part = x.slice_axis(Axis(0), Slice::from(rows)).as_standard_layout().into_owned();
        Ok(Samples::numbered(self.upload_all(&part)?, first))
    }

    pub(super) fn upload_all(&self, x: &ArrayD<f64>) -> Result<Batch> {
        let values = x.as_slice().unwrap_or_default(); // in standard layout by construction
        Ok(Batch::from_host(values, &sizes(x.shape()), self.device)?)
    }

    /// The forward process, after refusing an interval that is not on it.
    pub(super) fn process(&self) -> Result<&dyn Sde> {
        let sde: &dyn Sde = &*self.description.process;
        let (t_min, t_max) = (self.t_min, self.t_max);
        check("t_max", t_max, t_max > 0.0 && t_max <= sde.end(), "a time above 0 up to the end")?;
        check("t_min", t_min, (0.0..t_max).contains(&t_min), "a time from 0 to before t_max")?;
        Ok(sde)
    }

    /// How many samples there are.
    pub(super) fn count(&self, start: &Start) -> Result<usize> {
        match start {
            Start::Prior(n) => Ok(*n),
            Start::Given(x) => {
                self.check_shape("the noise", x.shape())?;
                Ok(x.len_of(Axis(0)))
            }
        }
    }

    /// Refuses an array that is no batch of the model's samples.
    pub(super) fn check_shape(&self, what: &'static str, found: &[usize]) -> Result<()> {
        let shape = &self.description.shape;
        let n = found.first().copied().unwrap_or(0);
        if found == shape_of(n, shape) {
            return Ok(());
        }
        let sizes: Vec<_> = shape.iter().map(ToString::to_string).collect();
        let expected = format!("[N, {}] as the model has it", sizes.join(", "));
        Err(Error::Shape { what, found: found.to_vec(), expected })
    }

    /// The rows of each batch.
    pub(super) fn batches(&self, n: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        self.batches_of(0..n)
    }

    /// The rows of each batch of some rows.
    pub(super) fn batches_of(
        &self,
        Range { start, end }: Range<usize>,
    ) -> impl Iterator<Item = Range<usize>> + use<> {
        let size = self.batch.max(1);
        (start..end).step_by(size).map(move |first| first..(first + size).min(end))
    }
}

/// `[n, …]`.
pub(super) fn shape_of(n: usize, sample: &[i64]) -> Vec<usize> {
    let sample = sample.iter().map(|&n| usize::try_from(n).unwrap_or(0));
    std::iter::once(n).chain(sample).collect()
}

/// The same solution with its state on the host.
pub(super) fn on_host(solution: Solution<Batch>) -> Result<Solution<Vec<f64>>> {
    let values = solution.y.to_host()?;
    Ok(solution.map(|_| values))
}

/// The solutions of consecutive batches as one.
pub(super) fn join(
    parts: Vec<Solution<Vec<f64>>>,
    sample: &[i64],
) -> Result<Solution<ArrayD<f64>>> {
    let empty = Solution {
        y: Vec::new(),
        t: Vec::new(),
        status: Vec::new(),
        stats: Vec::new(),
        batch_evals: 0,
        row_evals: 0,
    };
    let whole = parts.into_iter().fold(empty, |mut whole, part| {
        whole.y.extend(part.y);
        whole.t.extend(part.t);
        whole.status.extend(part.status);
        whole.stats.extend(part.stats);
        whole.batch_evals += part.batch_evals;
        whole.row_evals += part.row_evals;
        whole
    });
    let mut values = Vec::new();
    let whole = whole.map(|y| values = y);
    let (shape, found) = (shape_of(whole.t.len(), sample), vec![values.len()]);
    let expected = format!("{shape:?}");
    let y = ArrayD::from_shape_vec(IxDyn(&shape), values).map_err(|_| Error::Shape {
        what: "the result",
        found,
        expected,
    })?;
    Ok(whole.map(|()| y))
}

/// A network whose evaluations are reported.
#[derive(Debug)]
pub(super) struct Watched<'a> {
    network: NetworkScore<'a>,
    progress: Progress<'a>,
}

/// Where a batch is between the ends of its path.
struct Progress<'a> {
    report: &'a dyn Fn(f64),
    from: f64,
    to: f64,
    /// Samples up to the end of this batch.
    end: f64,
}

impl std::fmt::Debug for Progress<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Progress")
    }
}

impl Progress<'_> {
    /// Rows that are done have left the batch; the others have a part of their path to go.
    fn tell(&self, at: Lanes<'_>) {
        let to_go = at.t.iter().map(|t| (t - self.to) / (self.from - self.to));
        (self.report)(self.end - to_go.sum::<f64>());
    }
}

impl<'a> Watched<'a> {
    pub(super) fn new(
        network: NetworkScore<'a>,
        report: &'a dyn Fn(f64),
        (from, to): (f64, f64),
        rows: &Range<usize>,
    ) -> Self {
        Self { network, progress: Progress { report, from, to, end: rows.end as f64 } }
    }

    pub(super) fn network(&self) -> &NetworkScore<'a> {
        &self.network
    }
}

impl Score<Batch> for Watched<'_> {
    fn evaluate(
        &mut self,
        x: &Batch,
        at: Lanes<'_>,
        out: &mut Field<Batch>,
    ) -> sde_core::Result<()> {
        self.progress.tell(at);
        self.network.evaluate(x, at, out)
    }

    fn evaluate_with_divergence(
        &mut self,
        x: &Batch,
        at: Lanes<'_>,
        out: &mut Field<Batch>,
        divergence: &mut Divergence,
    ) -> sde_core::Result<()> {
        self.progress.tell(at);
        self.network.evaluate_with_divergence(x, at, out, divergence)
    }

    fn evaluate_with_forms(
        &mut self,
        x: &Batch,
        at: Lanes<'_>,
        probes: &[Batch],
        out: &mut Field<Batch>,
        forms: &mut [Divergence],
    ) -> sde_core::Result<()> {
        self.progress.tell(at);
        self.network.evaluate_with_forms(x, at, probes, out, forms)
    }

    fn pull_back(
        &mut self,
        x: &Batch,
        at: Lanes<'_>,
        pull: &Pull<'_, Batch>,
        divergence: &mut [f64],
        out: &mut Batch,
    ) -> sde_core::Result<()> {
        self.progress.tell(at);
        self.network.pull_back(x, at, pull, divergence, out)
    }
}
