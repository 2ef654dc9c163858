//! Completion of samples of which a part is known: (H3), (H4), (H5).

#![allow(clippy::unwrap_used, clippy::float_cmp)]

use ndarray::{Array2, Axis, Slice, array};
use ode_solvers::samplers::{Grid, Sampler, sample_with};
use ode_solvers::{Adaptive, Inpainting, RK45, flow};
use sde_core::guidance::{Guided, Known};
use sde_core::{
    Field, GaussianMixture, Lanes, Noise, Purpose, Result, Reverse, Score, Sde, Summary, Tolerance,
    VpLinear, grid,
};

const N: usize = 4000;

fn levels(sde: &dyn Sde, steps: u32) -> Grid<'_> {
    Grid::new(sde, &grid::log_snr(sde, steps, 1.0, 1e-3).unwrap()).unwrap().to_data()
}

fn start(n: usize) -> Array2<f64> {
    let numbers: Vec<u64> = (0..n as u64).collect();
    let mut x = Array2::zeros((n, 2));
    Noise::new(5, Purpose::Prior).fill(&numbers, 0, &mut x).unwrap();
    x
}

/// The first coordinate is known to be 1.1 in all of n samples.
fn first_known(n: usize) -> Known<Array2<f64>> {
    let data = Array2::from_shape_fn((n, 2), |(_, j)| if j == 0 { 1.1 } else { 77.0 });
    let mask = Array2::from_shape_fn((n, 2), |(_, j)| if j == 0 { 1.0 } else { 0.0 });
    Known::new(data, mask, (0..n as u64).collect()).unwrap()
}

fn column(x: &Array2<f64>, j: usize) -> Vec<f64> {
    x.column(j).to_vec()
}

/// A score that keeps what it was asked for.
struct Watched<M> {
    score: M,
    asked: Vec<(f64, Array2<f64>)>,
}

impl<M: Score<Array2<f64>>> Score<Array2<f64>> for Watched<M> {
    fn evaluate(
        &mut self,
        x: &Array2<f64>,
        at: Lanes<'_>,
        out: &mut Field<Array2<f64>>,
    ) -> Result<()> {
        self.asked.push((at.t[0], x.clone()));
        self.score.evaluate(x, at, out)
    }
}

/// The known elements stand at the sampler's own noise level whenever the score sees them, from the first time on, with
/// noise of their own at each move.
#[test]
fn h4_known_elements_are_at_the_level_of_the_sampler() {
    let sde = VpLinear::default();
    let data = GaussianMixture::isotropic(&[1.0], array![[0.7, -0.2]], &[0.25]).unwrap();
    let mut score = Watched { score: data.score(&sde), asked: Vec::new() };
    let how = Inpainting { sampler: Sampler::ddim(1.0), resample: 2, seed: 3 };
    how.run(start(N), &levels(&sde, 6), &first_known(N), &mut score).unwrap();
    assert_eq!(score.asked.len(), 13); // six steps twice, and the last
    let mut before = Vec::new();
    for (t, x) in &score.asked {
        let noise = x.column(0).mapv(|x| (x - 1.1 * sde.alpha(*t)) / sde.sigma(*t)).to_vec();
        let mean = Summary::of(&noise);
        let square = Summary::of(&noise.iter().map(|z| z * z).collect::<Vec<_>>());
        assert!(mean.mean.abs() < 4.0 * mean.standard_error, "{t}: {mean}");
        assert!((square.mean - 1.0).abs() < 4.0 * square.standard_error, "{t}: {square}");
        let product: Vec<f64> =
            noise.iter().zip(&before).map(|(a, b): (&f64, &f64)| a * b).collect();
        if !before.is_empty() {
            let covariance = Summary::of(&product);
            assert!(covariance.mean.abs() < 4.0 * covariance.standard_error, "{t}: {covariance}");
        }
        before = noise;
    }
}

/// No noise is left: known elements are the data, unknown ones the last denoised sample.
#[test]
fn the_end_has_no_noise() {
    let sde = VpLinear::default();
    let data = GaussianMixture::isotropic(&[1.0], array![[0.7, -0.2]], &[0.0]).unwrap(); // one point
    for name in ["ddim", "ddpm", "edm-heun", "dpm-solver-3", "dpm++2s"] {
        let how = Inpainting { sampler: Sampler::named(name).unwrap(), resample: 2, seed: 3 };
        let found =
            how.run(start(5), &levels(&sde, 4), &first_known(5), &mut data.score(&sde)).unwrap();
        assert!(found.y.outer_iter().all(|x| x[0] == 1.1 && (x[1] + 0.2).abs() < 1e-12), "{name}");
        assert!(found.is_done());
    }
}

/// Where the parts are independent the unknown one is what the sampler draws without any knowledge, bit for bit.
#[test]
fn an_independent_part_is_drawn_as_if_nothing_were_known() {
    let sde = VpLinear::default();
    let data =
        GaussianMixture::diagonal(&[1.0], array![[0.7, -0.2]], &array![[0.25, 0.09]]).unwrap();
    let grid = levels(&sde, 12);
    for (name, parts) in [("ddpm", 1), ("seeds-2", 2)] {
        let sampler = Sampler::named(name).unwrap();
        let how = Inpainting { sampler, resample: 1, seed: 3 };
        let found = how.run(start(8), &grid, &first_known(8), &mut data.score(&sde)).unwrap();
        let steps = Noise::new(3, Purpose::Increment);
        let draw = |numbers: &[u64], key: u32, z: &mut Array2<f64>| {
            steps.fill(numbers, 16 * (key / parts + 1) + key % parts, z) // of the move and its part
        };
        let free = sample_with(&sampler, start(8), &grid, &mut data.score(&sde), draw).unwrap();
        assert_eq!(column(&found.y, 1), column(&free.y, 1), "{name}");
        assert_eq!((found.batch_evals, found.stats[0].accepted), (free.batch_evals, 13), "{name}");
    }
}

/// A correlated normal has its conditional law in closed form: resampling comes to it, replacement alone does not.
#[test]
fn h5_resampling_comes_to_the_conditional_law() {
    let sde = VpLinear::default();
    let covariance = array![[[1.0, 0.8], [0.8, 1.0]]];
    let data = GaussianMixture::full(&[1.0], array![[0.0, 0.0]], &covariance).unwrap();
    let (mean, var) = (0.8 * 1.1, 1.0 - 0.64);
    let grid = levels(&sde, 60);
    let off = |resample| {
        let how = Inpainting { sampler: Sampler::ddim(1.0), resample, seed: 11 };
        let found = how.run(start(N), &grid, &first_known(N), &mut data.score(&sde)).unwrap();
        let x = column(&found.y, 1);
        let squares: Vec<f64> = x.iter().map(|x| (x - mean).powi(2)).collect();
        (Summary::of(&x).mean - mean, Summary::of(&squares).mean - var)
    };
    let (once, often) = (off(1), off(15));
    assert!(once.0.abs() > 0.1, "{once:?}"); // the control
    assert!(often.0.abs() < 0.25 * once.0.abs(), "{once:?} {often:?}");
    assert!(often.1.abs() < 0.05, "{often:?}");
}

/// (H3) carries known elements on a straight line of the noise, and leaves an independent part alone; samples that are done
/// leave the batch.
#[test]
fn h3_the_guided_flow_ends_in_the_measurement() {
    let sde = VpLinear::default();
    let data =
        GaussianMixture::diagonal(&[1.0], array![[0.7, -0.2]], &array![[0.25, 0.09]]).unwrap();
    let options = Adaptive::new(Tolerance::both(1e-9));
    let (x, t) = (array![[0.3, 0.4], [-2.0, 1.5], [5.0, -6.0]], 1e-3);
    let mut known = first_known(3);
    let guide = |_: &_, at: Lanes<'_>, d: &mut Array2<f64>| known.project(at, d);
    let mut guided = Reverse::probability_flow(&sde, Guided::new(&sde, data.score(&sde), guide));
    let found = flow(&RK45, x.clone(), (1.0, t), &options, &mut guided).unwrap();
    let mut free = Reverse::probability_flow(&sde, data.score(&sde));
    let alone = flow(&RK45, x.clone(), (1.0, t), &options, &mut free).unwrap();
    assert!(found.stats[0].nfe != found.stats[2].nfe); // rows did leave
    for i in 0..3 {
        let noise = (x[[i, 0]] - 1.1 * sde.alpha(1.0)) / sde.sigma(1.0);
        let line = 1.1 * sde.alpha(t) + noise * sde.sigma(t);
        assert!((found.y[[i, 0]] - line).abs() < 1e-7, "{i}: {} {line}", found.y[[i, 0]]);
        assert!((found.y[[i, 1]] - alone.y[[i, 1]]).abs() < 1e-7);
    }
}

#[test]
fn a_sample_does_not_depend_on_its_company() {
    let sde = VpLinear::default();
    let data =
        GaussianMixture::isotropic(&[0.5, 0.5], array![[-1.0, 1.0], [1.0, -1.0]], &[0.1, 0.1]);
    let (data, grid) = (data.unwrap(), levels(&sde, 10));
    let how = Inpainting { sampler: Sampler::ddim(0.7), resample: 3, seed: 9 };
    let all = how.run(start(5), &grid, &first_known(5), &mut data.score(&sde)).unwrap();
    let alone = Known::new(array![[1.1, 0.0]], array![[1.0, 0.0]], vec![3]).unwrap();
    let x = start(5).slice_axis(Axis(0), Slice::from(3..4)).to_owned();
    let one = how.run(x, &grid, &alone, &mut data.score(&sde)).unwrap();
    assert_eq!(all.y.row(3), one.y.row(0));
}

#[test]
fn what_cannot_complete_is_refused() {
    let sde = VpLinear::default();
    let data = GaussianMixture::isotropic(&[1.0], array![[0.0, 0.0]], &[1.0]).unwrap();
    let grid = levels(&sde, 4);
    let refusal = |name, resample, rows| {
        let how = Inpainting { sampler: Sampler::named(name).unwrap(), resample, seed: 0 };
        let run = how.run(start(rows), &grid, &first_known(2), &mut data.score(&sde));
        run.unwrap_err().to_string()
    };
    assert!(refusal("dpm++2m", 1, 2).contains("`dpm++2m` uses values of earlier steps"));
    assert!(refusal("ddim", 1 << 28, 2).contains("moves of all steps"));
    assert!(refusal("ddim", 0, 2).contains("resample = 0"));
    assert!(refusal("ddim", 1, 3).contains("found 3, expected 2"));
}
