//! The foundation's hot paths beside the way one would first write them: mixture score with divergence, schedule, noise.

#![allow(clippy::expect_used)]

use criterion::{Criterion, criterion_group, criterion_main};
use ndarray::{Array1, Array2, ArrayView1};
use rand::SeedableRng;
use rand_distr::{Distribution, StandardNormal};
use sde_core::{GaussianMixture, Noise, Purpose, Sde, VpLinear};
use std::hint::black_box;

const POINTS: usize = 100_000;
const COMPONENTS: usize = 3;
const TIME: f64 = 0.3;

/// Points and the parameters of a mixture in d dimensions, from keyed noise.
fn problem(d: usize) -> (Array2<f64>, [f64; COMPONENTS], Array2<f64>, [f64; COMPONENTS]) {
    let draw = |rows: usize, step| {
        let numbers: Vec<u64> = (0..rows as u64).collect();
        let mut x = Array2::zeros((rows, d));
        Noise::new(1, Purpose::Prior).fill(&numbers, step, &mut x).expect("sizes agree");
        x
    };
    (draw(POINTS, 0), [0.5, 0.3, 0.2], draw(COMPONENTS, 1), [0.09, 0.04, 0.16])
}

/// Score and divergence of one point by the formulas as they stand, one array for each quantity.
fn naive(
    x: ArrayView1<'_, f64>,
    weights: &[f64],
    means: &Array2<f64>,
    variances: &[f64],
    (alpha, sigma): (f64, f64),
) -> (Array1<f64>, f64) {
    let d = x.len() as f64;
    let v: Vec<f64> = variances.iter().map(|c| alpha * alpha * c + sigma * sigma).collect();
    let diff: Vec<Array1<f64>> = means.outer_iter().map(|m| &x - &(alpha * &m)).collect();
    let logits: Vec<f64> = (0..v.len())
        .map(|k| weights[k].ln() - 0.5 * (diff[k].dot(&diff[k]) / v[k] + d * v[k].ln()))
        .collect();
    let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let r: Vec<f64> = logits.iter().map(|l| (l - max).exp()).collect();
    let sum: f64 = r.iter().sum();
    let scores: Vec<Array1<f64>> = (0..v.len()).map(|k| -&diff[k] / v[k]).collect();
    let mut score = Array1::zeros(x.len());
    for k in 0..v.len() {
        score = score + r[k] / sum * &scores[k];
    }
    let centred = |k: usize| (&scores[k] - &score).mapv(|s| s * s).sum();
    let divergence = (0..v.len()).map(|k| r[k] / sum * (centred(k) - d / v[k])).sum();
    (score, divergence)
}

fn mixture(c: &mut Criterion) {
    let sde = VpLinear::default();
    for d in [2, 16] {
        let (x, weights, means, variances) = problem(d);
        let data = GaussianMixture::isotropic(&weights, means.clone(), &variances).expect("valid");
        let mut group = c.benchmark_group(format!("mixture score and divergence, {d}-D"));
        group.sample_size(10);
        for threads in [1, rayon::current_num_threads()] {
            let pool =
                rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
            group.bench_function(format!("library, threads: {threads}"), |b| {
                let run = || data.evaluate_all(&sde, black_box(&x), TIME).expect("sizes agree");
                b.iter(|| pool.install(run));
            });
        }
        group.bench_function("naive, threads: 1", |b| {
            let k = sde.coefficients(TIME);
            b.iter(|| {
                let rows = black_box(&x).outer_iter();
                rows.map(|x| naive(x, &weights, &means, &variances, (k.alpha, k.sigma)).1)
                    .sum::<f64>()
            });
        });
        group.finish();
    }
}

fn schedule(c: &mut Criterion) {
    let sde = VpLinear::default();
    let times: Vec<f64> = (0..10_000).map(|i| f64::from(i) / 1e4).collect();
    let mut group = c.benchmark_group("VP coefficients at 10,000 times");
    group.bench_function("library", |b| {
        b.iter(|| {
            black_box(&times).iter().map(|t| black_box(sde.coefficients(*t)).sigma).sum::<f64>()
        });
    });
    group.bench_function("naive", |b| {
        b.iter(|| {
            let sigma = |t: &f64| {
                let beta_integral = 0.1 * t + 0.5 * 19.9 * t * t;
                let alpha = (-0.5 * beta_integral).exp();
                let d_alpha = -0.5 * (0.1 + 19.9 * t) * alpha;
                let sigma = (1.0 - (-beta_integral).exp()).sqrt(); // loses its digits near t = 0
                let d_sigma2 = (0.1 + 19.9 * t) * alpha * alpha;
                black_box((alpha, d_alpha, d_sigma2, 0.5 * d_sigma2 / sigma));
                sigma
            };
            black_box(&times).iter().map(sigma).sum::<f64>()
        });
    });
    group.finish();
}

fn noise(c: &mut Criterion) {
    let (rows, d) = (64, 3072);
    let numbers: Vec<u64> = (0..rows as u64).collect();
    let mut x = Array2::<f64>::zeros((rows, d));
    let source = Noise::new(1, Purpose::Prior);
    let mut group = c.benchmark_group("normals of 64 samples of 3,072");
    group.bench_function("library: keyed by sample and step", |b| {
        b.iter(|| source.fill(&numbers, 7, black_box(&mut x)).expect("sizes agree"));
    });
    group.bench_function("naive: one stream for the batch", |b| {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
        b.iter(|| black_box(&mut x).iter_mut().for_each(|z| *z = StandardNormal.sample(&mut rng)));
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(std::time::Duration::from_secs(1));
    targets = mixture, schedule, noise
}
criterion_main!(benches);
