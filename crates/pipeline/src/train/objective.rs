//! The loss of a batch, on the graph of the weights.
//!
//! ```text
//! L_i = w_y |F(c_in x_t) − y|²/d                 (M2) of sample i, in the prediction of the network, (M6)
//! L = mean L_i,     or   mean e^{−u_i} L_i + u_i                                        (M7)
//! u(λ) = Σ_j v_j φ_j(λ)                                                                 (M12)
//! ```
//!
//! The learned u is linear between knots `λ_j`: `φ_j` is 1 at its knot and 0 at all others. So v is ln L at the knots.

use std::ops::Range;

use models::Network;
use models::network::{Classes, Input, Training};
use models::tch::{Kind, Tensor};

use super::augment::LABEL;
use super::batches::Drawn;
use super::error::Result;

/// Knots of u: from −20 to 20, beyond which the data or the noise is below single precision.
pub const KNOTS: usize = 33;
const ENDS: (f64, f64) = (-20.0, 20.0);

/// The loss of a part of a batch, divided by the samples of the whole.
#[derive(Debug)]
pub struct Loss {
    /// What is minimised.
    pub minimised: Tensor,
    /// The mean of `L_i`.
    pub value: Tensor,
}

/// The loss of the samples `part` of a batch; `shape` is that of a sample, `checkpoint` that of [`Training`], `v` the learned
/// weight.
///
/// # Errors
/// Those of the network.
pub fn loss(
    network: &dyn Network,
    batch: &Drawn,
    part: Range<usize>,
    (shape, checkpoint): (&[i64], bool),
    v: Option<&Tensor>,
) -> Result<Loss> {
    let n = part.len() as i64;
    let d: usize = shape.iter().map(|&n| usize::try_from(n).unwrap_or(0)).product();
    let numbers = part.start * d..part.end * d;
    let size: Vec<i64> = std::iter::once(n).chain(shape.iter().copied()).collect();
    let tensor = |values: &[f32]| Tensor::f_from_slice(&values[numbers.clone()])?.f_reshape(&size);
    let (x, y) = (tensor(&batch.input)?, tensor(&batch.target)?);
    let class = batch.class.as_ref().map(|class| Classes::Labels(&class[part.clone()]));
    let label = &batch.label[part.clone()];
    let augmented =
        batch.augmented.as_ref().map(|done| &done[part.start * LABEL..part.end * LABEL]);
    let train = Some(Training { keys: &batch.keys[part.clone()], augmented, checkpoint });
    let output = network.forward(Input { x: &x, label, class, train })?;
    if output.size() != size {
        let (found, expected) = (output.size(), format!("{size:?}, that of the data"));
        return Err(models::Error::Shape { what: "the network's output", found, expected }.into());
    }
    let squares = output.f_to_kind(Kind::Float)?.f_sub(&y)?.f_square()?.f_reshape([n, -1])?;
    let squares = squares.f_mean_dim([1].as_slice(), false, None::<Kind>)?;
    let weights: Vec<f32> =
        batch.weight[part.clone()].iter().map(|&w| (w / batch.len() as f64) as f32).collect();
    let each = squares.f_mul(&Tensor::f_from_slice(&weights)?)?;
    let value = each.f_sum(None::<Kind>)?;
    let minimised = match v {
        None => value.shallow_clone(),
        Some(v) => {
            let u = hats(&batch.log_snr[part])?.f_mul(v)?;
            let u = u.f_sum_dim_intlist([1].as_slice(), false, None::<Kind>)?;
            let share = Tensor::from(1.0 / batch.len() as f32);
            let scaled = each.f_mul(&u.f_neg()?.f_exp()?)?.f_add(&u.f_mul(&share)?)?;
            scaled.f_sum(None::<Kind>)?
        }
    };
    Ok(Loss { minimised, value: value.f_detach()? })
}

/// (M12): `φ_j(λ_i)`, `[n, KNOTS]`.
fn hats(log_snr: &[f64]) -> Result<Tensor> {
    let mut values = vec![0.0_f32; log_snr.len() * KNOTS];
    for (row, &x) in values.chunks_exact_mut(KNOTS).zip(log_snr) {
        let place = (x.clamp(ENDS.0, ENDS.1) - ENDS.0) / (ENDS.1 - ENDS.0) * (KNOTS - 1) as f64;
        #[expect(clippy::cast_sign_loss, reason = "from 0 to KNOTS − 2")]
        let left = (place.floor() as usize).min(KNOTS - 2); // truncation of a whole number
        let part = place - left as f64;
        row[left] = (1.0 - part) as f32;
        row[left + 1] = part as f32;
    }
    Ok(Tensor::f_from_slice(&values)?.f_reshape([log_snr.len() as i64, KNOTS as i64])?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn m12_hats_are_linear_between_their_knots() {
        let at = [-1e9, -20.0, -3.3, 0.0, 7.77, 20.0, f64::INFINITY];
        let hats = hats(&at).unwrap();
        let knots: Vec<f32> =
            (0..KNOTS).map(|j| (ENDS.0 + 40.0 * j as f64 / (KNOTS - 1) as f64) as f32).collect();
        // the linear function with the value λ at every knot is λ itself
        let line = hats.f_matmul(&Tensor::f_from_slice(&knots).unwrap()).unwrap();
        for (i, x) in at.iter().enumerate() {
            let found = line.f_double_value(&[i as i64]).unwrap();
            assert!((found - x.clamp(-20.0, 20.0)).abs() < 1e-5, "{found} {x}");
        }
    }
}
