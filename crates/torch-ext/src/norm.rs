//! Group norm with what stands around it in a `ResNet` block, in one pass over the pixels each way:
//!
//! ```text
//! z = GN(x + e) (1 + a) + s,     y = SiLU(z) or z
//! ```
//!
//! The pass backward needs x alone, so a graph remembers one tensor where libtorch's operators remember three.

use tch::{Device, Kind, Tensor};

use crate::error::Result;
use crate::ffi;

/// A norm over the groups of an image's channels, with a weight and a bias for each channel.
#[derive(Debug)]
pub struct GroupNorm<'a> {
    /// `[C]`.
    pub weight: &'a Tensor,
    /// `[C]`.
    pub bias: &'a Tensor,
    /// Groups of the channels, of equal size.
    pub groups: i64,
    /// What is added to the variance.
    pub eps: f64,
}

/// What stands around the norm.
#[derive(Clone, Copy, Debug, Default)]
pub struct Around<'a> {
    /// e, `[B, C]`.
    pub before: Option<&'a Tensor>,
    /// a and behind it s, `[B, 2C]`.
    pub after: Option<&'a Tensor>,
    /// Whether the `SiLU` follows.
    pub silu: bool,
}

/// Whether [`GroupNorm::forward`] takes x: pixels in f32 or bf16 on the CPU.
pub fn suits(x: &Tensor) -> bool {
    let kinds = [Kind::Float, Kind::BFloat16];
    x.defined()
        && x.device() == Device::Cpu
        && x.dim() == 4
        && x.numel() > 0
        && x.f_kind().is_ok_and(|kind| kinds.contains(&kind))
}

impl GroupNorm<'_> {
    /// y of x `[B, C, H, W]` in f32 or bf16 on the CPU, with statistics in f32, a first derivative and no second. It
    /// depends neither on the batch nor on the number of threads.
    ///
    /// # Errors
    /// Tensors of other shapes or kinds, or on another device; none at all.
    pub fn forward(&self, x: &Tensor, around: Around<'_>) -> Result<Tensor> {
        let Around { before, after, silu } = around;
        let how = (self.groups, self.eps, silu);
        ffi::group_norm(x, (before, after), (self.weight, self.bias), how)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numbers;

    const EPS: f64 = 1e-5;

    /// x, e, [a, s], w, b.
    type Leaves = [Tensor; 5];

    fn leaves(shape: [i64; 4]) -> Leaves {
        let [b, c, ..] = shape;
        let random = |size: &[i64], scale: f64, shift: f64| {
            let x = Tensor::f_randn(size, (Kind::Float, Device::Cpu)).unwrap();
            let x = x.f_mul(&Tensor::from(scale)).unwrap();
            x.f_add(&Tensor::from(shift)).unwrap()
        };
        [
            random(&shape, 2.0, 1.0),
            random(&[b, c], 1.0, 0.0),
            random(&[b, 2 * c], 0.5, 0.1),
            random(&[c], 0.5, 1.0),
            random(&[c], 0.5, 0.0),
        ]
    }

    fn last(x: &Tensor) -> Tensor {
        let x = x.f_permute([0, 2, 3, 1]).unwrap().f_contiguous().unwrap();
        x.f_permute([0, 3, 1, 2]).unwrap()
    }

    fn here(l: &Leaves, groups: i64, [before, after, silu]: [bool; 3]) -> Tensor {
        let norm = GroupNorm { weight: &l[3], bias: &l[4], groups, eps: EPS };
        let around =
            Around { before: before.then_some(&l[1]), after: after.then_some(&l[2]), silu };
        norm.forward(&l[0], around).unwrap()
    }

    fn by_libtorch(l: &Leaves, groups: i64, [before, after, silu]: [bool; 3]) -> Tensor {
        let beside = |t: &Tensor| t.f_unsqueeze(-1).unwrap().f_unsqueeze(-1).unwrap();
        let x = if before { l[0].f_add(&beside(&l[1])).unwrap() } else { l[0].shallow_clone() };
        let z = x.f_group_norm(groups, Some(&l[3]), Some(&l[4]), EPS, false).unwrap();
        let z = if after {
            let halves = beside(&l[2]).f_chunk(2, 1).unwrap();
            z.f_addcmul(&z, &halves[0]).unwrap().f_add(&halves[1]).unwrap()
        } else {
            z
        };
        if silu { z.f_silu().unwrap() } else { z }
    }

    type Forward = fn(&Leaves, i64, [bool; 3]) -> Tensor;

    /// The value, and the gradients of its product with `g` that there are.
    fn all(
        f: Forward,
        of: &Leaves,
        groups: i64,
        how: [bool; 3],
        g: &Tensor,
        kind: Kind,
    ) -> Vec<Tensor> {
        let leaf = |x: &Tensor| {
            x.f_to_kind(kind).unwrap().f_detach().unwrap().f_set_requires_grad(true).unwrap()
        };
        let leaves = of.each_ref().map(leaf);
        let y = f(&leaves, groups, how);
        let along = y.f_mul(&g.f_to_kind(kind).unwrap()).unwrap().f_sum(None).unwrap();
        along.f_backward().unwrap();
        let gradients = leaves.iter().map(Tensor::grad).filter(Tensor::defined);
        std::iter::once(y.f_detach().unwrap()).chain(gradients).collect()
    }

    fn worst(found: &[Tensor], expected: &[Tensor]) -> f64 {
        assert_eq!(found.len(), expected.len());
        let pairs = found.iter().zip(expected).map(|(found, expected)| {
            assert_eq!(found.size(), expected.size());
            let (found, expected) = (numbers(found), numbers(expected));
            let size = expected.iter().fold(1e-3_f64, |m, x| m.max(x.abs()));
            let off = found.iter().zip(&expected).map(|(a, b)| (a - b).abs());
            off.fold(0.0_f64, f64::max) / size
        });
        pairs.fold(0.0, f64::max)
    }

    const HOWS: [[bool; 3]; 6] = [
        [false, false, false],
        [false, false, true],
        [true, false, false],
        [true, false, true],
        [false, true, true],
        [true, true, true],
    ];

    /// Sizes with full and part vectors of pixels, and groups within and across vectors of channels.
    const SHAPES: [([i64; 4], i64); 6] = [
        ([3, 6, 5, 7], 2),
        ([2, 32, 4, 4], 8),
        ([1, 64, 9, 3], 2),
        ([2, 48, 1, 3], 2),
        ([2, 16, 33, 31], 8),
        ([2, 8, 1, 2], 1),
    ];

    #[test]
    fn value_and_gradients_are_those_in_f64() {
        tch::manual_seed(3);
        for (shape, groups) in SHAPES {
            let of = leaves(shape);
            let g = Tensor::f_randn(shape, (Kind::Float, Device::Cpu)).unwrap();
            let mut turned = of.each_ref().map(Tensor::shallow_clone);
            turned[0] = last(&of[0]);
            for how in HOWS {
                let expected = all(by_libtorch, &of, groups, how, &g, Kind::Double);
                for (of, layout) in [(&of, "first"), (&turned, "last")] {
                    let off = worst(&all(here, of, groups, how, &g, Kind::Float), &expected);
                    assert!(off < 1e-5, "{shape:?} {groups} {how:?} channels {layout}: {off:e}");
                }
                let plain = tch::no_grad(|| here(&of, groups, how));
                assert_eq!(
                    numbers(&plain),
                    numbers(&all(here, &of, groups, how, &g, Kind::Float)[0])
                );
            }
        }
    }

    /// Numbers of 8 bits in and out, sums in between of 24.
    #[test]
    fn in_bf16_only_the_ends_are_rounded() {
        tch::manual_seed(4);
        for (shape, groups) in SHAPES {
            let half = |t: &Tensor| t.f_to_kind(Kind::BFloat16).unwrap();
            let of = leaves(shape).each_ref().map(half);
            let g = half(&Tensor::f_randn(shape, (Kind::Float, Device::Cpu)).unwrap());
            let expected = all(by_libtorch, &of, groups, HOWS[5], &g, Kind::Double);
            let found = all(here, &of, groups, HOWS[5], &g, Kind::BFloat16);
            let off = worst(&found, &expected);
            assert!(off < 4e-3 && off > 1e-4, "{shape:?}: {off:e}"); // 2⁻⁸ = 3.9e-3
        }
    }

    /// Far from zero, where a difference of squares has no digits left.
    #[test]
    fn a_large_mean_does_not_hurt() {
        tch::manual_seed(5);
        let mut of = leaves([1, 16, 16, 16]);
        of[0] = of[0].f_add(&Tensor::from(3e3)).unwrap();
        let g = Tensor::f_randn([1, 16, 16, 16], (Kind::Float, Device::Cpu)).unwrap();
        let how = HOWS[1];
        let expected = all(by_libtorch, &of, 4, how, &g, Kind::Double);
        assert!(worst(&all(here, &of, 4, how, &g, Kind::Float), &expected) < 5e-4); // 3e3 · 2⁻²⁴ = 2e-4
    }

    #[test]
    fn a_sample_is_the_same_in_every_batch() {
        let of = leaves([3, 32, 6, 6]);
        for x in [of[0].shallow_clone(), last(&of[0])] {
            let norm = GroupNorm { weight: &of[3], bias: &of[4], groups: 4, eps: EPS };
            let forward = |[x, e, a]: [&Tensor; 3]| {
                let around = Around { before: Some(e), after: Some(a), silu: true };
                norm.forward(x, around).unwrap()
            };
            let whole = forward([&x, &of[1], &of[2]]);
            for i in 0..3 {
                let row = |t: &Tensor| t.f_narrow(0, i, 1).unwrap();
                let alone = forward([&row(&x), &row(&of[1]), &row(&of[2])]);
                assert_eq!(numbers(&alone), numbers(&row(&whole)));
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let l = leaves([2, 6, 4, 4]);
        let norm = |groups| GroupNorm { weight: &l[3], bias: &l[4], groups, eps: EPS };
        let said =
            |x: &Tensor, groups, around| norm(groups).forward(x, around).unwrap_err().to_string();
        let plain = Around::default();
        assert!(said(&l[0], 4, plain).contains("6 channels in 4"));
        assert!(said(&l[1], 2, plain).contains("expected pixels [B, C, H, W] in f32 or bf16"));
        assert!(said(&Tensor::new(), 2, plain).contains("expected pixels"));
        let wrong = Around { before: Some(&l[2]), ..plain };
        assert!(said(&l[0], 2, wrong).contains("[B, C] before the norm"));
        let undefined = Tensor::new();
        let wrong = Around { after: Some(&undefined), ..plain };
        assert!(said(&l[0], 2, wrong).contains("[B, 2C] after it"));
        assert!(suits(&l[0]) && !suits(&l[1]) && !suits(&l[0].f_to_kind(Kind::Double).unwrap()));
        let leaf = l[0].f_detach().unwrap().f_set_requires_grad(true).unwrap();
        let y = norm(2).forward(&leaf, plain).unwrap().f_sum(None).unwrap();
        assert!(
            Tensor::f_run_backward(&[&y], &[&leaf], true, true).is_err(),
            "a second derivative"
        );
    }
}
