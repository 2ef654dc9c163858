//! Traces of a Jacobian: exact, or estimated from a few of its products.
//!
//! ```text
//! div v = tr J = E uᵀ J u,   E u uᵀ = I,   J = ∂v/∂x                                          (L3)
//! ```
//!
//! (Hutchinson 1990). Random signs have the least variance of all probes with independent entries, `2 Σ_{i≠j} A_ij²` with the
//! symmetric part A of J; normal ones have `2 |A|_F²`. Probes are keyed by sample, so a batch does not matter.

use crate::dense::gather;
use sde_core::error::{check, check_size};
use sde_core::{Lanes, Noise, Purpose, Reverse, Score, State};

/// The law of a probe's entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProbeLaw {
    /// +1 or −1 with equal chances (Rademacher).
    #[default]
    Signs,
    /// N(0, 1): for comparison, its variance is larger.
    Normal,
}

/// Random probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probes {
    /// The law of their entries.
    pub law: ProbeLaw,
    /// How many there are at each time, at least 1. A standard error needs 2.
    pub count: u32,
    /// Their key, beside the sample's number.
    pub seed: u64,
}

/// How a divergence is found.
#[derive(Debug)]
pub enum Trace<'a, X> {
    /// Exactly: d products with the Jacobian.
    Exact,
    /// From random probes.
    Probes(Probes),
    /// From these, the same at every time: row i of each batch belongs to sample number i.
    Given(&'a [X]),
}

impl<X> Clone for Trace<'_, X> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<X> Copy for Trace<'_, X> {} // whatever X is: it holds no batch but by reference

impl<X> Trace<'_, X> {
    /// Probes of random signs.
    pub fn signs(count: u32, seed: u64) -> Self {
        Self::Probes(Probes { law: ProbeLaw::Signs, count, seed })
    }

    /// Products with the Jacobian at one time, for samples of d numbers.
    pub(super) fn products(&self, d: usize) -> u64 {
        match self {
            Self::Exact => d as u64,
            Self::Probes(probes) => probes.count.into(),
            Self::Given(probes) => probes.len() as u64,
        }
    }
}

impl<X: State> Trace<'_, X> {
    /// Refuses what gives no estimate.
    pub(super) fn check(&self, x: &X) -> sde_core::Result<()> {
        match self {
            Self::Exact => Ok(()),
            Self::Probes(Probes { count, .. }) => {
                check("probes", f64::from(*count), *count > 0, "at least 1").map(|_| ())
            }
            Self::Given(probes) => {
                check("probes", probes.len() as f64, !probes.is_empty(), "at least 1")?;
                for probe in *probes {
                    check_size("samples in a probe", probe.samples(), probes[0].samples())?;
                    check_size("numbers in a probe", probe.sample_len(), x.sample_len())?;
                }
                Ok(())
            }
        }
    }
}

/// The number of the probes of a row: another number, other probes.
pub(super) type Numbering<'a> = &'a dyn Fn(usize) -> u32;

/// An estimator with its buffers.
pub(super) struct Estimator<'a, X> {
    trace: Trace<'a, X>,
    /// Whether there is a further probe that stays the same along a path.
    pilot: bool,
    probes: Vec<X>,
    /// For each probe the forms of the rows.
    forms: Vec<Vec<f64>>,
    exact: Vec<f64>,
}

/// The draw of the probe that stays the same along a path.
const PILOT: u32 = u32::MAX;

impl<'a, X: State> Estimator<'a, X> {
    pub(super) fn new(trace: Trace<'a, X>, pilot: bool) -> Self {
        Self { trace, pilot, probes: Vec::new(), forms: Vec::new(), exact: Vec::new() }
    }

    /// Writes the drift, and finds its divergence at each row. `number(row)` tells which probes the row has; with a pilot, the last
    /// of the forms is that of a further probe, the same in all draws.
    pub(super) fn evaluate<M: Score<X>>(
        &mut self,
        flow: &mut Reverse<'_, X, M>,
        x: &X,
        at: Lanes<'_>,
        number: Numbering<'_>,
        out: &mut X,
    ) -> sde_core::Result<()> {
        if matches!(self.trace, Trace::Exact) {
            self.exact.resize(at.t.len(), 0.0);
            return flow.drift_and_divergence(x, at, out, &mut self.exact);
        }
        self.draw(x, at, number)?;
        self.forms.resize_with(self.probes.len(), Vec::new);
        self.forms.iter_mut().for_each(|form| form.resize(at.t.len(), 0.0));
        flow.drift_and_forms(x, at, &self.probes, out, &mut self.forms)
    }

    /// The probes of the rows of x; `None` for the exact trace.
    pub(super) fn probes(
        &mut self,
        x: &X,
        at: Lanes<'_>,
        number: Numbering<'_>,
    ) -> sde_core::Result<Option<&[X]>> {
        if matches!(self.trace, Trace::Exact) {
            return Ok(None);
        }
        self.draw(x, at, number)?;
        Ok(Some(&self.probes))
    }

    /// Makes the probes for the rows of x.
    fn draw(&mut self, x: &X, at: Lanes<'_>, number: Numbering<'_>) -> sde_core::Result<()> {
        match self.trace {
            Trace::Exact => {}
            Trace::Probes(Probes { law, count, seed }) => {
                let noise = Noise::new(seed, Purpose::Probe);
                let (k, all) = (count as usize, count as usize + usize::from(self.pilot));
                self.probes.truncate(all);
                self.probes.resize_with(all, || x.zeros_like());
                for (j, probe) in self.probes.iter_mut().enumerate() {
                    probe.fit(x);
                    let own = |row| number(row).wrapping_mul(count).wrapping_add(j as u32);
                    let step = |row| if j == k { PILOT } else { own(row) };
                    probe.fill_rows(|i, row| fill(law, &noise, (at.sample[i], step(i)), row));
                }
            }
            Trace::Given(given) => {
                let samples = given.first().map_or(0, State::samples);
                let row = |sample: &u64| usize::try_from(*sample).ok().filter(|i| *i < samples);
                let rows: Option<Vec<usize>> = at.sample.iter().map(row).collect();
                let last = at.sample.iter().max().map_or(0, |s| *s as usize);
                let rows = rows.ok_or(sde_core::Error::Size {
                    what: "samples in a probe",
                    found: samples,
                    expected: last.saturating_add(1),
                })?;
                let what = "sample numbers of given probes";
                check(what, rows.len() as f64, rows.is_sorted(), "ascending ones")?;
                self.probes = given.iter().map(|probe| gather(probe, &rows)).collect();
            }
        }
        Ok(())
    }

    /// The estimate of row i, and its variance where several probes tell it. The pilot is left out.
    pub(super) fn mean(&self, i: usize) -> (f64, Option<f64>) {
        if matches!(self.trace, Trace::Exact) {
            return (self.exact[i], Some(0.0));
        }
        let k = self.forms.len() - usize::from(self.pilot);
        let forms = || self.forms[..k].iter().map(|form| form[i]);
        let n = k as f64;
        let mean = forms().sum::<f64>() / n;
        let square: f64 = forms().map(|q| (q - mean).powi(2)).sum();
        (mean, (k > 1).then(|| square / (n - 1.0) / n))
    }

    /// A smooth function of time that a quadrature is judged by: the exact divergence, or the pilot's form.
    pub(super) fn smooth(&self, i: usize) -> f64 {
        if matches!(self.trace, Trace::Exact) {
            self.exact[i]
        } else {
            self.forms.last().map_or(f64::NAN, |form| form[i])
        }
    }
}

/// The entries of one probe.
fn fill(law: ProbeLaw, noise: &Noise, (sample, step): (u64, u32), row: &mut [f64]) {
    match law {
        ProbeLaw::Normal => noise.normal(sample, step, row),
        ProbeLaw::Signs => {
            noise.uniform(sample, step, row);
            row.iter_mut().for_each(|u| *u = if *u < 0.5 { -1.0 } else { 1.0 });
        }
    }
}
