//! The score model as a sampler sees it, and the values that it has given.

use super::grid::Level;
use super::weights::Predicts;
use crate::error::{Error, Result};
use sde_core::{Field, Lanes, Score, State};

/// The score model and the batch's identity.
pub(super) struct Model<'a, M> {
    pub(super) score: &'a mut M,
    pub(super) numbers: Vec<u64>,
    pub(super) times: Vec<f64>,
    pub(super) nfe: usize,
}

/// Values of the model, D or s, and their levels.
pub(super) struct Values<X> {
    pub(super) states: Vec<X>,
    pub(super) levels: Vec<Level>,
}

impl<X: State> Values<X> {
    pub(super) fn new(n: usize, like: &X) -> Self {
        let states = (0..n).map(|_| like.zeros_like()).collect();
        Self { states, levels: vec![Level::DATA; n] }
    }

    /// Takes value j out of `field`, in exchange for the old one.
    pub(super) fn take(
        &mut self,
        j: usize,
        predicts: Predicts,
        level: Level,
        field: &mut Field<X>,
    ) {
        self.levels[j] = level;
        match predicts {
            Predicts::Data => std::mem::swap(&mut self.states[j], &mut field.denoised),
            Predicts::Noise => std::mem::swap(&mut self.states[j], &mut field.score),
        }
    }
}

impl<M> Model<'_, M> {
    pub(super) fn evaluate<X: State>(
        &mut self,
        x: &X,
        level: Level,
        out: &mut Field<X>,
    ) -> Result<()>
    where
        M: Score<X>,
    {
        self.times.fill(level.t);
        self.nfe += 1;
        let at = Lanes { t: &self.times, sample: &self.numbers };
        let failed = |source| Error::Dynamics { t: level.t, source };
        self.score.evaluate(x, at, out).map_err(failed)
    }
}
