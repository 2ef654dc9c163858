//! Attention of narrow heads beside libtorch's own kernel: times of both and their ratio, forward and with gradients, on
//! one thread. `cargo bench -p torch-ext --bench attention`.

#![allow(clippy::print_stdout)]

use std::time::Instant;

use torch_ext::attention::attention;
use torch_ext::tch::{self, Device, Kind, Tensor};
use torch_ext::{Result, runtime};

/// Batch times heads, tokens, numbers of a head.
const SHAPES: [[i64; 3]; 13] = [
    [512, 16, 8],
    [512, 49, 8],
    [256, 64, 8],
    [256, 256, 8],
    [32, 1024, 8],
    [512, 16, 16],
    [128, 64, 16],
    [128, 256, 16],
    [128, 64, 32],
    [64, 256, 32],
    [8, 1024, 32],
    [64, 64, 64],
    [32, 256, 64],
];

fn main() -> Result<()> {
    runtime::set_threads(1);
    println!(
        "heads tokens    d   forward: libtorch, here, ratio   with gradients: libtorch, here, ratio (ms)"
    );
    for [heads, tokens, d] in SHAPES {
        let leaf = || -> Result<Tensor> {
            let x = Tensor::f_randn([8, tokens, heads / 8, d], (Kind::Float, Device::Cpu))?;
            Ok(x.f_transpose(1, 2)?.f_detach()?.f_set_requires_grad(true)?)
        };
        let (q, k, v) = (leaf()?, leaf()?, leaf()?);
        let libtorch = || -> Result<Tensor> {
            let mask = None::<&Tensor>;
            Ok(Tensor::f_scaled_dot_product_attention(&q, &k, &v, mask, 0.0, false, None, false)?)
        };
        let here = || attention(&q, &k, &v);
        let pull = |y: Tensor| -> Result<()> {
            Tensor::f_run_backward(&[y.f_sum(None)?], &[&q, &k, &v], false, false)?;
            Ok(())
        };
        let forward =
            [best(&|| tch::no_grad(libtorch).map(drop))?, best(&|| tch::no_grad(here).map(drop))?];
        let both = [best(&|| pull(libtorch()?))?, best(&|| pull(here()?))?];
        println!(
            "{heads:5} {tokens:6} {d:4}   {:17.3} {:6.3} {:5.2}   {:24.3} {:6.3} {:5.2}",
            forward[0],
            forward[1],
            forward[0] / forward[1],
            both[0],
            both[1],
            both[0] / both[1]
        );
    }
    Ok(())
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
