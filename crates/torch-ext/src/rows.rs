//! Sums of tensors with one coefficient for each row, in one pass over memory on the CPU.
//!
//! ```text
//! out_i = Σ_j c_j[i] x_j,i                                     one combination, however many terms
//! S_i = Σ_d (Σ_j c_j[i] x_j,id / (atol + rtol max(|y_id|, |z_id|)))²
//! ```
//!
//! Libtorch alone needs a kernel for each term, which reads and writes the sum anew. These functions take contiguous f64
//! tensors on the CPU and are no part of a graph; for others there is libtorch.

use tch::{Device, Kind, Tensor};

use crate::error::Result;
use crate::ffi::{self, Terms, pointers};

/// Whether these functions take the tensor: contiguous f64 on the CPU.
pub fn takes(x: &Tensor) -> bool {
    x.defined() && x.device() == Device::Cpu && x.kind() == Kind::Double && x.is_contiguous()
}

/// Writes `Σ_j c_j[i] x_j,i` into row i of `out`; zeros without terms. `c` has the shape `[x.len(), rows]`, every tensor
/// the size of `out`.
///
/// # Errors
/// For a tensor of another size or that [`takes`] refuses, and for another number of coefficients.
pub fn weighted_sum(out: &mut Tensor, x: &[&Tensor], c: &[f64], rows: usize) -> Result<()> {
    if x.is_empty() {
        let _ = out.f_zero_()?;
        return Ok(());
    }
    let len = out.numel() / rows.max(1);
    ffi::weighted_sum(out, &Terms { x: pointers(x.iter().copied()), c, rows, len })
}

/// `S_i` for each of the m sets of coefficients in `c`, of shape `[m, x.len(), rows]`: `[m, rows]` numbers. A NaN
/// anywhere in a row is one in its sum. `tolerance` is `(atol, rtol)`.
///
/// # Errors
/// As [`weighted_sum`].
pub fn squared_errors(
    x: &[&Tensor],
    (m, c): (usize, &[f64]),
    rows: usize,
    ends: (&Tensor, &Tensor),
    tolerance: (f64, f64),
) -> Result<Vec<f64>> {
    let len = ends.0.numel() / rows.max(1);
    let terms = Terms { x: pointers(x.iter().copied()), c, rows, len };
    ffi::squared_errors(m, &terms, ends, tolerance)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(x: &Tensor) -> Vec<f64> {
        let mut out = vec![0.0; x.numel()];
        x.f_copy_data(&mut out, x.numel()).unwrap();
        out
    }

    /// Rows longer than a block, and more blocks than one thread takes, against the same sums in plain loops.
    #[test]
    fn sums_are_those_of_plain_loops() {
        let (rows, len) = (7_usize, 12_345_usize);
        let make = |k: f64| {
            let values: Vec<f64> = (0..rows * len).map(|i| (k * i as f64).sin()).collect();
            Tensor::f_from_slice(&values).unwrap().f_reshape([7, 12_345]).unwrap()
        };
        let (a, b, mut out) = (make(0.7), make(1.3), make(0.0));
        let c: Vec<f64> = (0..2 * rows).map(|i| 0.5 - i as f64).collect();
        weighted_sum(&mut out, &[&a, &b], &c, rows).unwrap();
        let sums = squared_errors(&[&a, &b], (1, &c), rows, (&a, &b), (0.1, 0.3)).unwrap();
        let (a, b, out) = (numbers(&a), numbers(&b), numbers(&out));
        for row in 0..rows {
            let mut sum = 0.0;
            for i in row * len..(row + 1) * len {
                let want = c[row] * a[i] + c[rows + row] * b[i];
                assert!((out[i] - want).abs() < 1e-14, "{row} {i}");
                sum += (want / (0.1 + 0.3 * a[i].abs().max(b[i].abs()))).powi(2);
            }
            assert!((sums[row] / sum - 1.0).abs() < 1e-13, "{row}: {} {sum}", sums[row]);
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let x = Tensor::f_from_slice(&[1.0_f64, 2.0, 3.0, 4.0]).unwrap().f_reshape([2, 2]).unwrap();
        let mut out = x.f_zeros_like().unwrap();
        let float = x.f_to_kind(Kind::Float).unwrap();
        let few = x.f_narrow(0, 0, 1).unwrap();
        let turned = x.f_transpose(0, 1).unwrap();
        assert!(takes(&x) && !takes(&float) && !takes(&turned));
        for wrong in [&float, &few, &turned] {
            assert!(weighted_sum(&mut out, &[wrong], &[1.0; 2], 2).is_err());
            assert!(squared_errors(&[&x], (1, &[1.0; 2]), 2, (&x, wrong), (1.0, 1.0)).is_err());
        }
        assert!(weighted_sum(&mut out, &[&x], &[1.0; 3], 2).is_err());
        assert!(squared_errors(&[&x], (1, &[1.0; 3]), 2, (&x, &x), (1.0, 1.0)).is_err());
    }

    /// A graph that has saved a tensor sees that it was overwritten.
    #[test]
    fn a_graph_notices() {
        let w = Tensor::from(2.0_f64).f_set_requires_grad(true).unwrap();
        let mut x = Tensor::f_from_slice(&[3.0_f64]).unwrap();
        let y = w.f_mul(&x).unwrap();
        let other = x.f_add(&x).unwrap();
        weighted_sum(&mut x, &[&other], &[1.0], 1).unwrap();
        assert!(y.f_sum(None).unwrap().f_backward().is_err());
    }
}
