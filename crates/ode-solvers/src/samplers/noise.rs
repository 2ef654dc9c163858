//! The noise of the engine: that of the reverse SDE along a step, and churn before it.

use super::combine::combine;
use super::grid::Level;
use super::method::Churn;
use super::walk::Walk;
use crate::error::Result;
use sde_core::{Score, State};

impl<X, M, Z, O> Walk<'_, X, M, Z, O>
where
    X: State,
    M: Score<X>,
    Z: FnMut(&[u64], u32, &mut X) -> sde_core::Result<()>,
{
    /// (X6): carries the noise of a step on from `last` to `to`, with new numbers.
    pub(super) fn draw_part(
        &mut self,
        (last, to): (Level, Level),
        (step, part): (u32, usize),
    ) -> Result<()> {
        if self.noise.is_none() || to.sigma == 0.0 {
            return Ok(());
        }
        let parts = self.stages.states.len() as u32 + 1;
        self.draw_noise(step * parts + part as u32)?;
        let (Some(noise), Some(z)) = (&mut self.noise, &self.spare) else { return Ok(()) };
        let terms = [(self.linear.std(last, to), z), (self.linear.keep(last, to), &*noise)];
        let n = if part == 0 { 1 } else { 2 };
        combine(&mut self.next, &mut self.rows, n, |j| terms[j]);
        std::mem::swap(noise, &mut self.next);
        Ok(())
    }

    /// Adds noise to x; returns the level that it is at then.
    pub(super) fn churn(&mut self, churn: &Churn, from: Level, step: u32) -> Result<Level> {
        let rho = from.sigma / from.alpha;
        if !from.is_mixed() || rho < churn.min || rho > churn.max {
            return Ok(from);
        }
        let gamma = (churn.amount / self.grid.steps() as f64).min(std::f64::consts::SQRT_2 - 1.0);
        let to = Level::at(self.grid.sde(), from.log_ratio - gamma.ln_1p());
        self.draw_noise(step)?;
        let Some(z) = &self.spare else { return Ok(from) };
        // ρ̂² − ρ² = ρ² γ (2 + γ)
        let std = to.alpha * rho * (gamma * (2.0 + gamma)).sqrt() * churn.scale;
        let terms = [(to.alpha / from.alpha, &self.x), (std, z)];
        combine(&mut self.next, &mut self.rows, 2, |j| terms[j]);
        std::mem::swap(&mut self.x, &mut self.next);
        Ok(to)
    }

    pub(super) fn draw_noise(&mut self, step: u32) -> Result<()> {
        match &mut self.spare {
            Some(z) => Ok((self.draw)(&self.model.numbers, step, z)?),
            None => Ok(()),
        }
    }
}
