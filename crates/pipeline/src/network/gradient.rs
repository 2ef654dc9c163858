//! The gradient of a log-likelihood with respect to the data, and to the weights of the network: (L7).

use std::collections::BTreeMap;

use models::score::WeightGradients;
use models::tch::Tensor;
use models::{Batch, Parameters};
use ndarray::{ArrayD, ArrayViewD, Axis, IxDyn};
use ode_solvers::{Tableau, Trace, log_likelihood_gradient, log_normal_gradient};
use sde_core::Reverse;
use sde_core::error::check;

use super::batches::Watched;
use super::{Error, NetworkRun, Result};

/// How the gradient of a likelihood is found.
#[derive(Clone, Copy, Debug)]
pub struct GradientSettings<'a> {
    /// The method; without an error estimate or with one.
    pub method: &'static Tableau,
    /// Times from `t_min` to `t_max`, ascending.
    pub grid: &'a [f64],
    /// How the divergence is found; random probes are new at each stage.
    pub trace: Trace<'a, Batch>,
}

/// Log-likelihoods and their gradients.
#[derive(Debug)]
pub struct Gradient {
    /// `log p` of each row in nats: the number (L6) whose gradient this is.
    pub log_likelihood: Vec<f64>,
    /// Its gradient with respect to the row, in the shape of the data.
    pub data: ArrayD<f64>,
    /// The gradient of the sum over the rows with respect to the weights, f64, by name; empty unless asked for.
    pub weights: BTreeMap<String, Tensor>,
}

impl NetworkRun<'_> {
    /// The likelihood at the start of the grid of the rows of `x`, with its gradients; those of `weights`, the network's own, too
    /// where they are given.
    ///
    /// # Errors
    /// As [`likelihood`](Self::likelihood); a grid that does not go up from `t_min` to `t_max`.
    pub fn likelihood_gradient(
        &self,
        x: &ArrayViewD<f64>,
        settings: &GradientSettings<'_>,
        weights: Option<&Parameters>,
    ) -> Result<Gradient> {
        let (sde, GradientSettings { method, grid, trace }) = (self.process()?, *settings);
        self.check_shape("the data", x.shape())?;
        self.check_ends(grid)?;
        let expected = "none: a guided network is the score of no density";
        self.guidance.map_or(Ok(0.0), |w| check("guidance", w, false, expected))?;
        let (mut log_likelihood, mut values, mut sums) = (Vec::new(), Vec::new(), BTreeMap::new());
        for rows in self.batches(x.len_of(Axis(0))) {
            let network = match weights {
                Some(weights) => self.score().collecting(weights)?,
                None => self.score(),
            };
            let mut score =
                Watched::new(network, self.on_progress, (self.t_min, self.t_max), &rows);
            let mut flow = Reverse::probability_flow(sde, &mut score);
            let data = self.upload(x, rows)?;
            let prior = |x: &Batch, out: &mut [f64], to: &mut Batch| {
                log_normal_gradient(x, sde.sigma(self.t_max), out, to)
            };
            let found = log_likelihood_gradient(method, data, grid, trace, &mut flow, prior)?;
            values.extend(found.gradient.to_host()?);
            log_likelihood.extend(found.log_density);
            score.network().collected().map_or(Ok(()), |part| add(&mut sums, part))?;
        }
        let shape = |_| Error::Shape {
            what: "the gradient",
            found: x.shape().to_vec(),
            expected: "that of the data".into(),
        };
        let data = ArrayD::from_shape_vec(IxDyn(x.shape()), values).map_err(shape)?;
        Ok(Gradient { log_likelihood, data, weights: sums })
    }

    /// Refuses a grid that is not of this run's interval.
    fn check_ends(&self, grid: &[f64]) -> Result<()> {
        for (name, found, wanted) in [
            ("the grid's start", grid.first(), self.t_min),
            ("the grid's end", grid.last(), self.t_max),
        ] {
            let found = found.copied().unwrap_or(f64::NAN);
            check(name, found, found.to_bits() == wanted.to_bits(), "that of the run's interval")?;
        }
        Ok(())
    }
}

/// Adds the gradients of a batch.
fn add(sums: &mut BTreeMap<String, Tensor>, part: &WeightGradients<'_>) -> Result<()> {
    for (name, part) in part.iter() {
        let sum = match sums.remove(name) {
            Some(sum) => part.f_add(&sum).map_err(models::Error::from)?,
            None => part.shallow_clone(),
        };
        sums.insert(name.to_owned(), sum);
    }
    Ok(())
}
