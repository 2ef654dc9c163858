//! The engine: evaluates the model, keeps its values, and combines them by (X3), (X4) and (X5).

use super::combine::{Linear, TERMS, combine};
use super::grid::{Grid, Level};
use super::method::{Ancestral, Multistep, Sampler, SingleStep, StepVariance};
use super::model::{Model, Values};
use super::scheme::Scheme;
use super::weights::{Predicts, Rule};
use crate::error::Result;
use crate::fixed::finish_at;
use crate::problem::Samples;
use crate::progress::Progress;
use crate::solution::Solution;
use sde_core::error::check;
use sde_core::{Field, Score, State};
use std::ops::ControlFlow;

/// A batch on its way along the grid.
pub(super) struct Walk<'a, X, M, Z, O> {
    pub(super) grid: &'a Grid<'a>,
    pub(super) linear: Linear,
    pub(super) model: Model<'a, M>,
    pub(super) draw: Z,
    observe: O,
    /// Steps done.
    done: usize,
    pub(super) x: X,
    pub(super) next: X,
    /// The start of the last step where a corrector needs it, or noise.
    pub(super) spare: Option<X>,
    /// The noise of the step up to a stage, (X6).
    pub(super) noise: Option<X>,
    field: Field<X>,
    /// Values at the starts of steps, the latest first.
    past: Values<X>,
    /// Values at the stages of the step.
    pub(super) stages: Values<X>,
    /// How many of the past values (X2) may use: those since α = 0.
    usable: usize,
    /// For each term of a combination one coefficient for each row.
    pub(super) rows: Vec<Vec<f64>>,
}

impl<'a, X, M, Z, O> Walk<'a, X, M, Z, O>
where
    X: State,
    M: Score<X>,
    Z: FnMut(&[u64], u32, &mut X) -> sde_core::Result<()>,
    O: FnMut(Progress) -> ControlFlow<()>,
{
    pub(super) fn new(
        sampler: &Sampler,
        start: Samples<X>,
        grid: &'a Grid<'a>,
        score: &'a mut M,
        (draw, observe): (Z, O),
    ) -> Self {
        let Samples { x, numbers } = start;
        let (predicts, eta, past, stages, corrected) = match sampler {
            Sampler::Multistep(m) => {
                let stages = m.start.map_or(0, |(scheme, _)| scheme.stages.len());
                (m.predicts, m.eta, m.order + usize::from(m.corrected), stages, m.corrected)
            }
            Sampler::SingleStep(m) => (m.predicts, m.eta, 1, m.scheme.stages.len(), false),
            Sampler::Ancestral(_) => (Predicts::Data, 0.0, 1, 0, false),
        };
        let n = x.samples();
        Self {
            grid,
            linear: Linear { predicts, eta },
            model: Model { score, numbers, times: vec![0.0; n], nfe: 0 },
            draw,
            observe,
            done: 0,
            next: x.zeros_like(),
            spare: (corrected || sampler.is_random()).then(|| x.zeros_like()),
            noise: (eta > 0.0).then(|| x.zeros_like()),
            field: Field::like(&x),
            past: Values::new(past, &x),
            stages: Values::new(stages, &x),
            usable: 0,
            rows: vec![vec![0.0; n]; TERMS],
            x,
        }
    }

    pub(super) fn run(mut self, sampler: &Sampler) -> Result<Solution<X>> {
        match sampler {
            Sampler::Multistep(m) => self.multistep(m)?,
            Sampler::SingleStep(m) => self.single_step(m)?,
            Sampler::Ancestral(m) => self.ancestral(m)?,
        }
        let times: Vec<f64> = self.grid.levels().iter().map(|level| level.t).collect();
        Ok(finish_at(self.x, &times, self.done, self.model.nfe))
    }

    /// Ends a step: what it has made is x. Whether to go on.
    fn step_done(&mut self, to: Level) -> ControlFlow<()> {
        std::mem::swap(&mut self.x, &mut self.next);
        let at = (self.done, self.grid.steps());
        self.done += 1;
        (self.observe)(Progress::on_grid(at, self.model.numbers.len(), to.t))
    }

    fn multistep(&mut self, m: &Multistep) -> Result<()> {
        let grid = self.grid;
        let (mut warming, mut predicted) = (m.start.map_or(0, |(_, steps)| steps), None);
        for (i, step) in (0_u32..).zip(grid.levels().windows(2)) {
            let (from, to) = (step[0], step[1]);
            self.evaluate(from)?;
            if let Some((start, n)) = predicted.take() {
                self.correct(m.rule, (start, from), n);
            }
            let left = if m.lower_at_end { grid.steps() - i as usize } else { m.order };
            let n = m.order.min(self.usable).min(left);
            match m.start {
                _ if !(from.is_mixed() && to.is_mixed()) => self.jump((from, to), i)?,
                Some((scheme, _)) if warming > 0 => {
                    warming -= 1;
                    self.scheme(&scheme, (from, to), i)?;
                }
                _ => {
                    self.draw_part((from, to), (i, 0))?;
                    self.predict(m.rule, (from, to), n);
                    if let Some(start) = self.spare.as_mut().filter(|_| m.corrected) {
                        start.assign(&self.x);
                        predicted = Some((from, n));
                    }
                }
            }
            if self.step_done(to).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn single_step(&mut self, m: &SingleStep) -> Result<()> {
        let grid = self.grid;
        for (i, step) in (0..).zip(grid.levels().windows(2)) {
            let (mut from, to) = (step[0], step[1]);
            if let Some(churn) = m.churn.filter(|churn| churn.amount > 0.0) {
                from = self.churn(&churn, from, i)?;
            }
            self.evaluate(from)?;
            if from.is_mixed() && to.is_mixed() {
                self.scheme(&m.scheme, (from, to), i)?;
            } else {
                self.jump((from, to), i)?;
            }
            if self.step_done(to).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// (X4). `u = −expm1(−2h)` is the part of the variance that the step removes.
    fn ancestral(&mut self, m: &Ancestral) -> Result<()> {
        let grid = self.grid;
        for (i, step) in (0..).zip(grid.levels().windows(2)) {
            let (from, to) = (step[0], step[1]);
            self.evaluate(from)?;
            if to.sigma == 0.0 || to.alpha == 0.0 {
                self.jump((from, to), i)?;
            } else {
                let h = to.log_ratio - from.log_ratio; // infinite from α = 0
                let (eta2, u) = (m.eta * m.eta, -(-2.0 * h).exp_m1());
                let kept = 1.0 - eta2 + eta2 * (-2.0 * h).exp(); // 1 − η² u
                check("eta of an ancestral step", m.eta, kept >= 0.0, "at most 1/√(1 − e^{−2h})")?;
                let keep = to.sigma * kept.sqrt() / from.sigma;
                let data = if eta2 * u < 1.0 && h.is_finite() {
                    -to.alpha * (0.5 * (-eta2 * u).ln_1p() - h).exp_m1()
                } else {
                    to.alpha - from.alpha * keep
                };
                let std = match m.variance {
                    StepVariance::Small => m.eta * to.sigma * u.sqrt(),
                    StepVariance::Large => from.sigma * u.sqrt(),
                };
                self.draw_noise(i)?;
                let noise = self.spare.as_ref().map(|z| (std, z));
                let parts = [Some((keep, &self.x)), Some((data, &self.past.states[0])), noise];
                combine(&mut self.next, &mut self.rows, 2 + usize::from(noise.is_some()), |j| {
                    parts[j].unwrap_or((0.0, &self.x))
                });
            }
            if self.step_done(to).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Evaluates the model at x and keeps its value.
    fn evaluate(&mut self, level: Level) -> Result<()> {
        self.model.evaluate(&self.x, level, &mut self.field)?;
        self.past.states.rotate_right(1);
        self.past.levels.rotate_right(1);
        self.past.take(0, self.linear.predicts, level, &mut self.field);
        let more = (self.usable + 1).min(self.past.levels.len());
        self.usable = if level.is_mixed() { more } else { 0 };
        Ok(())
    }

    /// A step with no finite h: from or to α = 0, or to σ = 0.
    fn jump(&mut self, (from, to): (Level, Level), step: u32) -> Result<()> {
        self.draw_part((from, to), (step, 0))?;
        let keep = if self.noise.is_some() { 0.0 } else { to.sigma / from.sigma }; // e^{−η² ∞}
        let data = match self.linear.predicts {
            Predicts::Data => &self.past.states[0],
            Predicts::Noise => &self.field.denoised,
        };
        let rest = self.noise.as_ref().map_or((keep, &self.x), |noise| (1.0, noise));
        let terms = [(to.alpha - from.alpha * keep, data), rest];
        // At σ = 0 the first term alone, so that the sample is D and not D + 0 · x.
        let n = if to.sigma == 0.0 { 1 } else { 2 };
        combine(&mut self.next, &mut self.rows, n, |j| terms[j]);
        Ok(())
    }

    /// (X3) with the last n values.
    fn predict(&mut self, rule: Rule, (from, to): (Level, Level), n: usize) {
        let keep = self.linear.keep(from, to);
        let of = self
            .linear
            .coefficients((self.grid.sde(), rule), (from, to), n, |j| self.past.levels[j]);
        let (x, past, noise) = (&self.x, &self.past.states, &self.noise);
        combine(
            &mut self.next,
            &mut self.rows,
            n + 1 + usize::from(noise.is_some()),
            |j| match j {
                0 => (keep, x),
                j if j <= n => (of[j - 1], &past[j - 1]),
                _ => (1.0, noise.as_ref().unwrap_or(x)),
            },
        );
    }

    /// (X3) again for the step that has led to x, with the value found there beside the n that it was made of.
    fn correct(&mut self, rule: Rule, (from, to): (Level, Level), n: usize) {
        // The start of the step comes first: it has r = 0.
        let place = |j: usize| if j < 2 { 1 - j } else { j };
        let Some(start) = &self.spare else { return };
        let levels = &self.past.levels;
        let keep = self.linear.keep(from, to);
        let of = self
            .linear
            .coefficients((self.grid.sde(), rule), (from, to), n + 1, |j| levels[place(j)]);
        let past = &self.past.states;
        combine(&mut self.next, &mut self.rows, n + 2, |j| match j {
            0 => (keep, start),
            j => (of[j - 1], &past[place(j - 1)]),
        });
        std::mem::swap(&mut self.x, &mut self.next);
    }

    /// A step with stages.
    fn scheme(&mut self, scheme: &Scheme, (from, to): (Level, Level), step: u32) -> Result<()> {
        let (h, mut last) = (to.log_ratio - from.log_ratio, from);
        for (j, stage) in scheme.stages.iter().enumerate() {
            let level = match stage.at {
                1.0.. => to,
                at if scheme.in_time => Level::of(self.grid.sde(), from.t + at * (to.t - from.t)),
                at => Level::at(self.grid.sde(), from.log_ratio + at * h),
            };
            self.draw_part((last, level), (step, j))?;
            last = level;
            self.stage(Rule::Exact, (from, level), stage.uses);
            self.model.evaluate(&self.next, level, &mut self.field)?;
            self.stages.take(j, self.linear.predicts, level, &mut self.field);
        }
        self.draw_part((last, to), (step, scheme.stages.len()))?;
        self.stage(scheme.rule, (from, to), scheme.uses);
        Ok(())
    }

    /// (X3) with the values `uses` of the step.
    fn stage(&mut self, rule: Rule, (from, to): (Level, Level), uses: &[usize]) {
        let (past, stages, x, noise) = (&self.past, &self.stages, &self.x, &self.noise);
        let level = |j: usize| match uses[j] {
            0 => past.levels[0],
            j => stages.levels[j - 1],
        };
        let (keep, n) = (self.linear.keep(from, to), uses.len());
        let of = self.linear.coefficients((self.grid.sde(), rule), (from, to), n, level);
        combine(
            &mut self.next,
            &mut self.rows,
            n + 1 + usize::from(noise.is_some()),
            |j| match j {
                0 => (keep, x),
                j if j > n => (1.0, noise.as_ref().unwrap_or(x)),
                j if uses[j - 1] == 0 => (of[j - 1], &past.states[0]),
                j => (of[j - 1], &stages.states[uses[j - 1] - 1]),
            },
        );
    }
}
