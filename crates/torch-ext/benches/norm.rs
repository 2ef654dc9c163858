//! Group norm with scale, shift and `SiLU` in one kernel beside libtorch's operators: times of both and their ratio, forward
//! and with gradients, on one thread, channels first and last. `cargo bench -p torch-ext --bench norm`.

#![allow(clippy::print_stdout)]

use std::time::Instant;

use torch_ext::norm::{Around, GroupNorm};
use torch_ext::tch::{self, Device, Kind, Tensor};
use torch_ext::{Result, runtime};

/// Batch, channels, height, width, and groups.
const SHAPES: [([i64; 4], i64); 5] = [
    ([64, 64, 8, 8], 8),
    ([1, 128, 32, 32], 32),
    ([16, 128, 32, 32], 32),
    ([16, 256, 16, 16], 32),
    ([4, 64, 128, 128], 32),
];

fn main() -> Result<()> {
    runtime::set_threads(1);
    println!(
        "shape, layout   forward: libtorch, here, ratio   with gradients: libtorch, here, ratio (ms)"
    );
    for (shape, groups) in SHAPES {
        for last in [false, true] {
            let [forward, both] = times(shape, groups, last)?;
            println!(
                "{shape:?} {}   {:8.3} {:6.3} {:5.2}   {:8.3} {:6.3} {:5.2}",
                if last { "channels last " } else { "channels first" },
                forward[0],
                forward[1],
                forward[0] / forward[1],
                both[0],
                both[1],
                both[0] / both[1]
            );
        }
    }
    Ok(())
}

/// Milliseconds of libtorch and of this crate, forward and with gradients.
fn times(shape: [i64; 4], groups: i64, last: bool) -> Result<[[f64; 2]; 2]> {
    let leaf = |size: &[i64]| -> Result<Tensor> {
        let x = Tensor::f_randn(size, (Kind::Float, Device::Cpu))?;
        let turn = last && size.len() == 4;
        let x = if turn { x.f_permute([0, 2, 3, 1])?.f_contiguous()? } else { x };
        let x = if turn { x.f_permute([0, 3, 1, 2])? } else { x };
        Ok(x.f_detach()?.f_set_requires_grad(true)?)
    };
    let [b, c, ..] = shape;
    let (x, after, weight, bias) = (leaf(&shape)?, leaf(&[b, 2 * c])?, leaf(&[c])?, leaf(&[c])?);
    let libtorch = || -> Result<Tensor> {
        let halves = after.f_unsqueeze(-1)?.f_unsqueeze(-1)?.f_chunk(2, 1)?;
        let y = x.f_group_norm(groups, Some(&weight), Some(&bias), 1e-5, false)?;
        Ok(y.f_addcmul(&y, &halves[0])?.f_add(&halves[1])?.f_silu()?)
    };
    let norm = GroupNorm { weight: &weight, bias: &bias, groups, eps: 1e-5 };
    let here = || norm.forward(&x, Around { before: None, after: Some(&after), silu: true });
    let pull = |y: Tensor| -> Result<()> {
        let leaves = [&x, &after, &weight, &bias];
        Tensor::f_run_backward(&[y.f_sum(None)?], &leaves, false, false)?;
        Ok(())
    };
    Ok([
        [best(&|| tch::no_grad(libtorch).map(drop))?, best(&|| tch::no_grad(here).map(drop))?],
        [best(&|| pull(libtorch()?))?, best(&|| pull(here()?))?],
    ])
}

/// Milliseconds of the fastest of some calls.
fn best(work: &dyn Fn() -> Result<()>) -> Result<f64> {
    let mut best = f64::INFINITY;
    for _ in 0..15 {
        let start = Instant::now();
        work()?;
        best = best.min(1e3 * start.elapsed().as_secs_f64());
    }
    Ok(best)
}
