//! Products of a vector with the Jacobian of a network, by one pass backward.
//!
//! They are found whether or not the caller holds a guard against gradients. libtorch's own pass ends the program on a
//! value without a graph, so that case never reaches it: a function that does not depend on x has the product 0.

use tch::{Tensor, with_grad};
use torch_ext::catch;

use crate::error::Result;

/// `(f(x), ∂⟨f(x), u⟩/∂x)`: one pass forward and one backward, with respect to x alone.
///
/// # Errors
/// Those of `f`; when u has not the shape of f(x).
pub fn vjp(
    f: impl FnOnce(&Tensor) -> Result<Tensor>,
    x: &Tensor,
    u: &Tensor,
) -> Result<(Tensor, Tensor)> {
    let graph = Graph::new(f, x)?;
    let product = graph.pull_back(u, false)?;
    Ok((graph.y.f_detach()?, product))
}

/// A value with the graph that leads to it from a leaf, for several passes backward.
pub(crate) struct Graph {
    pub(crate) x: Tensor,
    pub(crate) y: Tensor,
}

impl Graph {
    /// Evaluates f on a copy of x that tracks gradients.
    pub(crate) fn new(f: impl FnOnce(&Tensor) -> Result<Tensor>, x: &Tensor) -> Result<Self> {
        let x = x.f_detach()?.f_set_requires_grad(true)?;
        let y = with_grad(|| catch(|| f(&x)))?; // a panic must not leave gradients on
        Ok(Self { x, y })
    }

    /// `uᵀ ∂y/∂x`; `keep` leaves the graph for another pass.
    pub(crate) fn pull_back(&self, u: &Tensor, keep: bool) -> Result<Tensor> {
        let (found, y) = (u.size(), self.y.size());
        if found != y {
            let expected = format!("{y:?}, that of the output");
            return Err(crate::Error::Shape { what: "the cotangent", found, expected });
        }
        if !self.y.requires_grad() {
            return Ok(self.x.f_detach()?.f_zeros_like()?);
        }
        let scalar = with_grad(|| self.y.f_mul(&u.f_detach()?)?.f_sum(None))?;
        let gradients = Tensor::f_run_backward(&[scalar], &[&self.x], keep, false)?;
        match gradients.into_iter().next().filter(Tensor::defined) {
            Some(product) => Ok(product),
            None => Ok(self.x.f_detach()?.f_zeros_like()?), // y has a graph, without x in it
        }
    }
}
