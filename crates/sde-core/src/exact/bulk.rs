//! Many points at one time: score, posterior mean and divergences on all cores, allocation-free for each point.

use super::GaussianMixture;
use crate::error::{Result, check_size};
use crate::score::{Divergence, Field};
use crate::sde::Sde;
use ndarray::Array2;
use rayon::prelude::*;

/// Points that one task evaluates.
const BLOCK: usize = 256;

impl GaussianMixture {
    /// D, s and their divergences at every row of `x`, at one time, under `sde`. The same bits as the
    /// [`Score`](crate::Score) gives row by row, on any number of threads.
    ///
    /// # Errors
    /// When the rows have not d numbers.
    pub fn evaluate_all(
        &self,
        sde: &dyn Sde,
        x: &Array2<f64>,
        t: f64,
    ) -> Result<(Field<Array2<f64>>, Divergence)> {
        let d = self.dim();
        check_size("numbers in a point", x.ncols(), d)?;
        let mut field = Field::like(x);
        let mut divergence = Divergence::default();
        divergence.fit(x.nrows());
        let x = x.as_standard_layout();
        let blocks = x.as_slice().unwrap_or_default().par_chunks(BLOCK * d);
        let scores = field.score.as_slice_mut().unwrap_or_default().par_chunks_mut(BLOCK * d);
        let means = field.denoised.as_slice_mut().unwrap_or_default().par_chunks_mut(BLOCK * d);
        let of_score = divergence.score.par_chunks_mut(BLOCK);
        let of_mean = divergence.denoised.par_chunks_mut(BLOCK);
        let tasks = blocks.zip(scores.zip(means)).zip(of_score.zip(of_mean));
        tasks.try_for_each(|((x, (s, m)), (div_s, div_m))| {
            let mut model = self.score(sde);
            let rows = x.chunks_exact(d).zip(s.chunks_exact_mut(d).zip(m.chunks_exact_mut(d)));
            for ((x, (s, m)), (div_s, div_m)) in rows.zip(div_s.iter_mut().zip(div_m)) {
                let p = model.point(x, t, s, m)?;
                (*div_s, *div_m) = (p.div_score, p.div_denoised);
            }
            Ok(())
        })?;
        Ok((field, divergence))
    }
}
