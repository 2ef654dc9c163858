//! Gradients of a motion along the network's score and of its divergence, with respect to the states and to the weights.
//!
//! With the network's output y, D and s are `A x + B y`, and so is `v = a D + b s`. For (S3),
//!
//! ```text
//! φ = ⟨w, A x⟩ + ⟨B w, y⟩ + c (A d + B tr ∂y/∂x)                                             (N3)
//! ```
//!
//! whose first and third term have the gradients A w and 0. The second takes one pass backward. Each form `uᵀ (∂y/∂x) u` of the
//! fourth takes two, the first of which leaves a graph for the second. The graph of y is kept meanwhile, and nothing else.

use sde_core::{Lanes, Prediction, Pull, State};
use tch::{Kind, Tensor, with_grad};

use super::{At, NetworkScore};
use crate::batch::Batch;
use crate::error::Result;
use crate::layers::twice_differentiable;
use crate::parameters::Parameters;
use crate::vjp::Graph;

/// Gradients of the weights, summed over what was pulled back.
#[derive(Debug)]
pub struct WeightGradients<'a> {
    weights: &'a Parameters,
    /// In f64, in the order of the names.
    sums: Vec<Tensor>,
}

impl WeightGradients<'_> {
    /// Names and gradients, f64, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.weights.trainable().map(|(name, _)| name).zip(&self.sums)
    }
}

impl<'a> NetworkScore<'a> {
    /// The same network, of whose weights [`pull_back`](sde_core::Score::pull_back) collects the gradients: after a
    /// `log_likelihood_gradient` of `ode-solvers` they are those of the sum of the log-likelihoods. Gradients of these tensors, the
    /// network's own, become available, as training makes them.
    ///
    /// # Errors
    /// No memory.
    pub fn collecting(self, weights: &'a Parameters) -> Result<Self> {
        weights.track_gradients()?;
        let zero = |t: &Tensor| Ok(t.f_detach()?.f_zeros_like()?.f_to_kind(Kind::Double)?);
        let sums = weights.trainable().map(|(_, t)| zero(t)).collect::<Result<_>>()?;
        Ok(Self { collected: Some(WeightGradients { weights, sums }), ..self })
    }

    /// The gradients of the weights so far.
    pub fn collected(&self) -> Option<&WeightGradients<'a>> {
        self.collected.as_ref()
    }

    /// The gradient of (N3), and the divergence.
    pub(super) fn pulled_back(
        &mut self,
        x: &Batch,
        lanes: Lanes<'_>,
        pull: &Pull<'_, Batch>,
        divergence: &mut [f64],
        out: &mut Batch,
    ) -> Result<()> {
        pull.cotangent.check()?;
        let at = self.at(x, lanes)?;
        let (of_x, of_y) = self.motion(&at, pull)?;
        let mode = twice_differentiable();
        let graph = Graph::new(|x| self.output(x, &at), x.tensor())?;
        drop(mode);
        let of_w = pull.cotangent.tensor().f_mul(&x.column(&of_y)?)?;
        let mut sum = self.add_gradients(&graph, |y, _| Ok(y.f_mul(&of_w)?.f_sum(None)?))?;
        divergence.fill(0.0);
        let d = x.sample_len();
        let count = pull.probes.map_or(d, <[Batch]>::len);
        let share = if pull.probes.is_some() { 1.0 / count as f64 } else { 1.0 };
        let factor: Vec<f64> = of_y.iter().zip(pull.weight).map(|(b, c)| share * b * c).collect();
        let factor = x.column(&factor)?;
        for j in 0..count {
            let axis = pull.probes.is_none().then(|| axis(x, j)).transpose()?;
            let u = axis.as_ref().or(pull.probes.and_then(|probes| probes.get(j)));
            let Some(u) = u else { continue };
            let (mut along, mut squares) = (Vec::new(), vec![0.0; divergence.len()]);
            let form = |y: &Tensor, x: &Tensor| {
                let product = product(y, x, u.tensor())?.f_mul(u.tensor())?;
                along = Batch::row_sums(&product.f_detach()?)?;
                Ok(product.f_mul(&factor)?.f_sum(None)?)
            };
            sum = sum.f_add(&self.add_gradients(&graph, form)?)?;
            u.add_squared_norm(&mut squares);
            for (i, divergence) in divergence.iter_mut().enumerate() {
                *divergence += share * (of_x[i] * squares[i] + of_y[i] * along[i]);
            }
        }
        out.combine(&[(&of_x, pull.cotangent), (&vec![1.0; of_x.len()], &Batch::new(&sum)?)]);
        out.check()
    }

    /// A and B of each row.
    fn motion(&self, at: &At, pull: &Pull<'_, Batch>) -> Result<(Vec<f64>, Vec<f64>)> {
        let denoised = self.factors(Prediction::X0, at)?;
        let score = self.factors(Prediction::Score, at)?;
        let mix = |denoised: &[f64], score: &[f64]| -> Vec<f64> {
            let (a, b) = (pull.along.to_denoised, pull.along.to_score);
            (0..a.len()).map(|i| a[i] * denoised[i] + b[i] * score[i]).collect()
        };
        Ok((mix(&denoised.x, &score.x), mix(&denoised.y, &score.y)))
    }

    /// The gradient of a scalar of y and x with respect to x; that with respect to the weights is added to what is collected.
    fn add_gradients(
        &mut self,
        Graph { x, y }: &Graph,
        scalar: impl FnOnce(&Tensor, &Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let scalar = with_grad(|| scalar(y, x))?;
        let zero = || Ok(x.f_detach()?.f_zeros_like()?);
        if !scalar.requires_grad() {
            return zero();
        }
        let mut inputs = vec![x];
        inputs.extend(self.collected.iter().flat_map(|of| of.weights.trainable().map(|(_, t)| t)));
        let mut gradients = Tensor::f_run_backward(&[scalar], &inputs, true, false)?.into_iter();
        let of_x = gradients.next().filter(Tensor::defined);
        let sums = self.collected.iter_mut().flat_map(|of| &mut of.sums);
        for (sum, gradient) in sums.zip(gradients).filter(|(_, gradient)| gradient.defined()) {
            *sum = sum.f_add(&gradient.f_detach()?)?; // what y does not depend on has none
        }
        of_x.map_or_else(zero, |gradient| Ok(gradient.f_detach()?))
    }
}

/// `uᵀ ∂y/∂x` with its graph.
fn product(y: &Tensor, x: &Tensor, u: &Tensor) -> Result<Tensor> {
    if !y.requires_grad() {
        return Ok(x.f_detach()?.f_zeros_like()?);
    }
    let scalar = y.f_mul(&u.f_detach()?)?.f_sum(None)?;
    let gradients = Tensor::f_run_backward(&[scalar], &[x], true, true)?;
    match gradients.into_iter().next().filter(Tensor::defined) {
        Some(product) => Ok(product),
        None => Ok(x.f_detach()?.f_zeros_like()?),
    }
}

/// The direction j of every row.
fn axis(x: &Batch, j: usize) -> Result<Batch> {
    let mut u = x.zeros_like();
    u.fill_rows(|_, row| row[j] = 1.0);
    u.check()?;
    Ok(u)
}
