//! From data through noise to data: a part of the way (Meng et al. 2022), and with a part of the data known.

use models::Batch;
use ndarray::{ArrayD, ArrayViewD, Axis};
use ode_solvers::samplers::Grid;
use ode_solvers::{Inpainting, Samples, Solution};
use sde_core::guidance::Known;
use sde_core::{Noise, Purpose};

use super::batches::{Watched, join, on_host};
use super::{Error, NetworkRun, Result, Sampler, Start};

/// What is known of samples, and how the rest is drawn.
#[derive(Clone, Debug)]
pub struct Completion<'a> {
    /// `[n, …]`; only the known elements matter.
    pub data: ArrayViewD<'a, f64>,
    /// Of the same shape: 0 where an element is to be drawn, anything else where it is kept.
    pub mask: ArrayViewD<'a, f64>,
    /// Samples for each row of the data: sample `num · i + j` is the jth of row i.
    pub num: usize,
    /// The sampler, the number of times that it takes each step, and its seed.
    pub how: Inpainting,
    /// Times from `t_max` on; a last step leads to σ = 0.
    pub grid: &'a [f64],
}

impl NetworkRun<'_> {
    /// `α x + σ ε` of data at `t_max`, with the noise that [`draw`](Self::draw) starts from: where α = 0, its start.
    ///
    /// # Errors
    /// Data of another shape than the model's samples.
    pub fn noised(&self, data: &ArrayViewD<f64>) -> Result<ArrayD<f64>> {
        self.check_shape("the data", data.shape())?;
        let k = self.process()?.coefficients(self.t_max);
        let numbers: Vec<u64> = (0..data.len_of(Axis(0)) as u64).collect();
        let mut noise = ArrayD::zeros(data.raw_dim());
        Noise::new(self.seed, Purpose::Prior).fill(&numbers, 0, &mut noise)?;
        Ok(k.alpha * data + k.sigma * noise)
    }

    /// Noises data to `t_max` and brings them back: the further up, the less is left of them.
    ///
    /// # Errors
    /// As [`draw`](Self::draw).
    pub fn edit(&self, data: &ArrayViewD<f64>, sampler: Sampler) -> Result<Solution<ArrayD<f64>>> {
        let noised = self.noised(data)?;
        self.draw(&Start::Given(noised.view()), sampler)
    }

    /// Draws the unknown elements of samples; the known ones are those of the data, bit for bit.
    ///
    /// # Errors
    /// As [`draw`](Self::draw) and [`Inpainting::run`]; a mask of another shape than the data.
    pub fn inpaint(&self, of: &Completion<'_>) -> Result<Solution<ArrayD<f64>>> {
        let (sde, span) = (self.process()?, (self.t_max, self.t_min));
        self.check_shape("the data", of.data.shape())?;
        if of.mask.shape() != of.data.shape() {
            let (found, expected) = (of.mask.shape().to_vec(), format!("{:?}", of.data.shape()));
            return Err(Error::Shape { what: "the mask", found, expected });
        }
        let n = of.data.len_of(Axis(0)) * of.num;
        let grid = Grid::new(sde, of.grid)?.to_data();
        let mut parts = Vec::new();
        for rows in self.batches(n) {
            let images: Vec<usize> = rows.clone().map(|i| i / of.num).collect();
            let upload = |x: &ArrayViewD<f64>| -> Result<Batch> {
                let part = x.select(Axis(0), &images);
                Ok(self.upload(&part.view(), 0..images.len())?.x)
            };
            let Samples { x, numbers } = self.noise(&Start::Prior(n), rows.clone())?;
            let known = Known::new(upload(&of.data)?, upload(&of.mask)?, numbers)?;
            let mut score = Watched::new(self.score(), self.on_progress, span, &rows);
            parts.push(on_host(of.how.run(x, &grid, &known, &mut score)?)?);
        }
        join(parts, &self.description.shape)
    }
}
