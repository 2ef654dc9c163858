//! Attention of narrow heads: `softmax(q kᵀ/√d) v` where d is so small that libtorch's matrix products wait for memory.

use tch::{Device, Kind, Tensor};

use crate::error::Result;
use crate::ffi;

/// Whether [`attention`] is the faster way for queries and keys like these, by `cargo bench -p torch-ext --bench attention`:
/// heads of up to 8 numbers, or of up to 16 where there are many tokens, in f32 on the CPU. A head is the work of one thread,
/// so there should be as many heads in the batch as threads.
pub fn suits(q: &Tensor, k: &Tensor) -> bool {
    let fits = |t: &Tensor| {
        t.defined()
            && t.device() == Device::Cpu
            && t.f_kind().is_ok_and(|kind| kind == Kind::Float)
            && t.dim() == 4
            && t.numel() > 0
    };
    let heads = |t: &Tensor| t.size()[..2].iter().product::<i64>();
    fits(q)
        && fits(k)
        && heads(q) >= i64::from(tch::get_num_threads())
        && (k.size()[3] <= 8 || k.size()[3] <= 16 && k.size()[2] >= 256)
}

/// `softmax(q kᵀ/√d) v` for `[B, heads, tokens, d]` in f32 on the CPU, with a first derivative and no second. The numbers
/// of a token lie together in the result, head after head. It depends neither on the batch nor on the number of threads.
///
/// # Errors
/// Tensors of other shapes or kinds, or on another device; none at all.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor) -> Result<Tensor> {
    ffi::attention(q, k, v)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numbers;

    fn apart(a: &Tensor, b: &Tensor) -> f64 {
        assert_eq!(a.size(), b.size());
        numbers(a).iter().zip(numbers(b)).fold(0.0, |m, (a, b)| m.max((a - b).abs()))
    }

    fn random(size: &[i64], scale: f64) -> Tensor {
        let x = Tensor::f_randn(size, (Kind::Float, Device::Cpu)).unwrap();
        let x = x.f_mul(&Tensor::from(scale)).unwrap();
        x.f_transpose(1, 2).unwrap().f_detach().unwrap() // as a linear layer leaves it
    }

    fn with_gradient(x: &Tensor, kind: Kind) -> Tensor {
        x.f_to_kind(kind).unwrap().f_detach().unwrap().f_set_requires_grad(true).unwrap()
    }

    type Attend<'a> = &'a dyn Fn(&Tensor, &Tensor, &Tensor) -> Tensor;

    /// The value, and the gradients of its product with `g`.
    fn all(attend: Attend<'_>, qkv: &[Tensor; 3], g: &Tensor, kind: Kind) -> Vec<Tensor> {
        let leaves = qkv.each_ref().map(|x| with_gradient(x, kind));
        let y = attend(&leaves[0], &leaves[1], &leaves[2]);
        let along = y.f_mul(&g.f_to_kind(kind).unwrap()).unwrap().f_sum(None).unwrap();
        along.f_backward().unwrap();
        leaves.iter().map(Tensor::grad).chain([y.f_detach().unwrap()]).collect()
    }

    fn in_double(q: &Tensor, k: &Tensor, v: &Tensor) -> Tensor {
        let width = Tensor::from((q.size()[3] as f64).sqrt());
        let logits = q.f_matmul(&k.f_transpose(-2, -1).unwrap()).unwrap();
        let weights = logits.f_div(&width).unwrap().f_softmax(-1, None).unwrap();
        weights.f_matmul(v).unwrap()
    }

    /// Odd sizes, so that no vector and no group of queries is full; wide scores, so that some weights vanish.
    #[test]
    fn value_and_gradients_are_those_in_f64() {
        tch::manual_seed(1);
        for (tokens, keys, d, scale) in
            [(1, 1, 1, 1.0), (3, 5, 2, 1.0), (16, 16, 8, 1.0), (37, 50, 8, 4.0), (64, 64, 13, 2.0)]
        {
            let [q, g] = [1.0, 1.0].map(|s| random(&[2, tokens, 3, d], s * scale));
            let [k, v] = [scale, 1.0].map(|s| random(&[2, keys, 3, d], s));
            let qkv = [q, k, v];
            let here = |q: &Tensor, k: &Tensor, v: &Tensor| attention(q, k, v).unwrap();
            let found = all(&here, &qkv, &g, Kind::Float);
            let expected = all(&in_double, &qkv, &g, Kind::Double);
            for (found, expected) in found.iter().zip(&expected) {
                let size = numbers(expected).iter().fold(1.0_f64, |m, x| m.max(x.abs()));
                let off = apart(found, expected) / size;
                assert!(off < 3e-6, "{tokens} × {keys} × {d}: {off:e}");
            }
            let plain = tch::no_grad(|| attention(&qkv[0], &qkv[1], &qkv[2]).unwrap());
            assert_eq!(numbers(&plain), numbers(&found[3]));
        }
    }

    #[test]
    fn a_head_is_the_same_in_every_batch() {
        tch::manual_seed(2);
        let x = random(&[5, 21, 2, 8], 1.0);
        let whole = attention(&x, &x, &x).unwrap();
        for i in 0..5 {
            let one = x.f_narrow(0, i, 1).unwrap();
            let alone = attention(&one, &one, &one).unwrap();
            assert_eq!(numbers(&alone), numbers(&whole.f_narrow(0, i, 1).unwrap()));
        }
    }

    #[test]
    fn what_is_not_a_number_shows() {
        let x = random(&[1, 9, 1, 8], 1.0);
        let _ = x.f_get(0).unwrap().f_get(0).unwrap().f_get(4).unwrap().f_fill_(f64::NAN).unwrap();
        assert!(numbers(&attention(&x, &x, &x).unwrap()).iter().all(|y| y.is_nan()));
    }

    #[test]
    fn other_tensors_are_refused() {
        let x = random(&[2, 4, 3, 8], 1.0);
        let other = random(&[2, 4, 3, 7], 1.0);
        let wide = random(&[1, 2, 1, 16], 1.0);
        assert!(suits(&x, &x) && !suits(&x, &Tensor::new()) && !suits(&wide, &wide));
        let double = x.f_to_kind(Kind::Double).unwrap();
        for (q, k, v) in
            [(&x, &other, &x), (&x, &x, &other), (&double, &x, &x), (&Tensor::new(), &x, &x)]
        {
            let said = attention(q, k, v).unwrap_err().to_string();
            assert!(said.contains("expected q, k and v [B, heads, tokens, d] in f32"), "{said}");
        }
        let none = x.f_narrow(2, 0, 0).unwrap();
        assert!(!suits(&none, &x) && attention(&none, &x, &x).is_err());
        // A second derivative is an error and not a zero.
        let leaf = with_gradient(&x, Kind::Float);
        let y = attention(&leaf, &leaf, &leaf).unwrap().f_sum(None).unwrap();
        assert!(Tensor::f_run_backward(&[&y], &[&leaf], true, true).is_err());
    }
}
