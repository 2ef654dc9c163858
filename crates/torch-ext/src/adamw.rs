//! `AdamW` in one kernel over all parameters (Loshchilov & Hutter 2019), with a state that can be saved.
//!
//! ```text
//! m ← β₁ m + (1 − β₁) g,      v ← β₂ v + (1 − β₂) g²
//! θ ← θ − η [m̂/(√v̂ + 1e-8) + w θ],      m̂ = m/(1 − β₁ᵏ),   v̂ = v/(1 − β₂ᵏ)
//! ```

use tch::{Kind, Tensor};

use crate::error::{Error, Result};
use crate::ffi::{self, AdamwLists, pointers};

/// The optimiser's memory: two moments and a step count for each parameter.
#[derive(Debug)]
pub struct AdamW {
    /// `(β₁, β₂)`.
    pub betas: (f64, f64),
    /// w, decoupled from the gradient.
    pub weight_decay: f64,
    first: Vec<Tensor>,
    second: Vec<Tensor>,
    steps: Vec<Tensor>,
}

impl AdamW {
    /// An optimiser that has not yet stepped, for parameters of these shapes and devices.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn new(parameters: &[&Tensor], betas: (f64, f64), weight_decay: f64) -> Result<Self> {
        if parameters.iter().any(|p| !p.defined()) {
            return Err(Error::Torch(
                "AdamW: found an undefined parameter, expected a tensor".into(),
            ));
        }
        let zero = |p: &&Tensor| Ok(p.f_detach()?.f_zeros_like()?);
        let zeros = || parameters.iter().map(zero).collect::<Result<_>>();
        let count = |p: &&Tensor| Ok(Tensor::f_zeros([], (Kind::Float, p.device()))?);
        let steps = parameters.iter().map(count).collect::<Result<_>>()?;
        Ok(Self { betas, weight_decay, first: zeros()?, second: zeros()?, steps })
    }

    /// Moves the parameters by one step of size `rate` along their gradients.
    ///
    /// # Errors
    /// When there is not one gradient for each parameter, of its shape.
    pub fn step(&mut self, parameters: &[&Tensor], gradients: &[Tensor], rate: f64) -> Result<()> {
        let _no_grad = tch::no_grad_guard();
        let gradients = self.checked(parameters, gradients)?;
        let lists = AdamwLists {
            parameters: pointers(parameters.iter().copied()),
            gradients: pointers(gradients.iter()),
            first: pointers(self.first.iter()),
            second: pointers(self.second.iter()),
            steps: pointers(self.steps.iter()),
        };
        ffi::adamw(&lists, rate, self.betas, self.weight_decay)
    }

    /// The gradients in the layout of their parameters. The kernel reads raw memory and checks nothing itself.
    fn checked(&self, parameters: &[&Tensor], gradients: &[Tensor]) -> Result<Vec<Tensor>> {
        let n = self.first.len();
        if parameters.len() != n || gradients.len() != n {
            let (p, g) = (parameters.len(), gradients.len());
            let found = format!("found {p} parameters and {g} gradients, expected {n} of each");
            return Err(Error::Torch(format!("AdamW: {found}")));
        }
        let check = |((p, g), m): ((&&Tensor, &Tensor), &Tensor)| {
            let whole = g.defined() && p.defined() && p.is_contiguous() && m.is_contiguous();
            if !whole
                || g.size() != p.size()
                || m.size() != p.size()
                || g.f_kind()? != p.f_kind()?
                || g.device() != p.device()
            {
                let (found, expected) = (if g.defined() { g.size() } else { vec![] }, m.size());
                return Err(Error::Torch(format!(
                    "AdamW: a gradient has the shape {found:?}, expected {expected:?} as its contiguous parameter"
                )));
            }
            Ok(g.f_contiguous()?)
        };
        parameters.iter().zip(gradients).zip(&self.first).map(check).collect()
    }

    /// The memory as `(first moments, second moments)`, in the order of the parameters.
    pub fn moments(&self) -> (&[Tensor], &[Tensor]) {
        (&self.first, &self.second)
    }

    /// Continues after `step` steps with saved moments.
    ///
    /// # Errors
    /// When their number or shapes are not those of the parameters.
    pub fn restore(&mut self, first: &[Tensor], second: &[Tensor], step: u64) -> Result<()> {
        for (mine, saved) in [(&mut self.first, first), (&mut self.second, second)] {
            if mine.len() != saved.len() {
                let (found, expected) = (saved.len(), mine.len());
                return Err(Error::Torch(format!("found {found} moments, expected {expected}")));
            }
            for (mine, saved) in mine.iter_mut().zip(saved) {
                if mine.size() != saved.size() {
                    let (found, expected) = (saved.size(), mine.size());
                    let what = format!("a moment has the shape {found:?}, expected {expected:?}");
                    return Err(Error::Torch(what));
                }
                mine.f_copy_(saved)?;
            }
        }
        for count in &mut self.steps {
            count.f_copy_(&Tensor::f_from_slice(&[step as f32])?.f_squeeze()?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two steps by hand, in f64.
    #[test]
    fn steps_follow_the_formula() {
        let p = Tensor::f_from_slice(&[1.0_f64, -2.0]).unwrap();
        let mut optimiser = AdamW::new(&[&p], (0.9, 0.99), 0.1).unwrap();
        let (mut theta, mut m, mut v) = ([1.0_f64, -2.0], [0.0; 2], [0.0; 2]);
        for (k, g) in (1..).zip([[0.5, -1.0], [0.25, 3.0]]) {
            optimiser.step(&[&p], &[Tensor::f_from_slice(&g).unwrap()], 0.01).unwrap();
            for i in 0..2 {
                m[i] = 0.9 * m[i] + 0.1 * g[i];
                v[i] = 0.99 * v[i] + 0.01 * g[i] * g[i];
                let (m_hat, v_hat) =
                    (m[i] / (1.0 - 0.9_f64.powi(k)), v[i] / (1.0 - 0.99_f64.powi(k)));
                theta[i] -= 0.01 * 0.1 * theta[i];
                theta[i] -= 0.01 * m_hat / (v_hat.sqrt() + 1e-8);
            }
        }
        let mut found = [0.0_f64; 2];
        p.f_copy_data(&mut found, 2).unwrap();
        for (found, want) in found.iter().zip(theta) {
            assert!((found - want).abs() < 1e-12, "{found} {want}");
        }
    }

    #[test]
    fn a_missing_gradient_is_an_error() {
        let p = Tensor::f_from_slice(&[1.0_f64]).unwrap();
        let mut optimiser = AdamW::new(&[&p], (0.9, 0.99), 0.0).unwrap();
        let text = optimiser.step(&[&p], &[], 0.1).unwrap_err().to_string();
        assert!(text.contains("found 1 parameters and 0 gradients, expected 1 of each"), "{text}");
    }

    #[test]
    fn a_gradient_of_another_shape_is_an_error_and_one_of_another_layout_is_not() {
        let p = Tensor::f_from_slice(&[0.0_f64; 6]).unwrap().f_reshape([2, 3]).unwrap();
        let g = Tensor::f_from_slice(&[1.0_f64, -1.0, 2.0, -2.0, 3.0, -3.0]).unwrap();
        let mut optimiser = AdamW::new(&[&p], (0.9, 0.99), 0.0).unwrap();
        let short = optimiser.step(&[&p], &[g.f_narrow(0, 0, 4).unwrap()], 0.1).unwrap_err();
        assert!(short.to_string().contains("the shape [4], expected [2, 3]"), "{short}");
        assert!(optimiser.restore(&[g.shallow_clone()], &[g.shallow_clone()], 1).is_err());
        let transposed = g.f_reshape([3, 2]).unwrap().f_transpose(0, 1).unwrap(); // signs by row
        optimiser.step(&[&p], &[transposed], 0.1).unwrap();
        let mut found = [0.0_f64; 6];
        p.f_copy_data(&mut found, 6).unwrap();
        assert!(
            found.iter().zip([-1.0, -1.0, -1.0, 1.0, 1.0, 1.0]).all(|(x, s)| x * s > 0.09),
            "{found:?}"
        );
    }
}
