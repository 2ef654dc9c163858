//! Products of a vector with the Jacobian of a network, by one pass backward.

use tch::Tensor;

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
    x: Tensor,
    pub(crate) y: Tensor,
}

impl Graph {
    /// Evaluates f on a copy of x that tracks gradients.
    pub(crate) fn new(f: impl FnOnce(&Tensor) -> Result<Tensor>, x: &Tensor) -> Result<Self> {
        let x = x.f_detach()?.f_set_requires_grad(true)?;
        Ok(Self { y: f(&x)?, x })
    }

    /// `uᵀ ∂y/∂x`; `keep` leaves the graph for another pass.
    pub(crate) fn pull_back(&self, u: &Tensor, keep: bool) -> Result<Tensor> {
        let (found, y) = (u.size(), self.y.size());
        if found != y {
            let expected = format!("{y:?}, that of the output");
            return Err(crate::Error::Shape { what: "the cotangent", found, expected });
        }
        let scalar = self.y.f_mul(u)?.f_sum(None)?;
        let mut gradients = Tensor::f_run_backward(&[scalar], &[&self.x], keep, false)?;
        gradients.pop().ok_or_else(|| {
            torch_ext::Error::Torch("the pass backward returned no gradient".into()).into()
        })
    }
}
