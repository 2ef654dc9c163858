//! The gradient of a log-likelihood: the score where the score is exact, central differences of the number that it belongs to, and
//! of the classical likelihood with the same probes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use ndarray::{Array2, array};
use ode_solvers::{
    AugmentedOptions, DOP853, HEUN, LikelihoodGradient, RK4, RK45, Samples, Tableau, Trace,
    log_likelihood_augmented, log_likelihood_gradient, log_normal, log_normal_gradient,
    uniform_grid,
};
use sde_core::Lanes;
use sde_core::{Field, GaussianMixture, Reverse, Score, Sde, Tolerance, VpLinear, grid};

const T0: f64 = 0.05;

/// Three correlated clusters in the plane.
fn clusters() -> GaussianMixture {
    let means = array![[-1.0, 0.5], [1.2, 1.0], [0.3, -1.4]];
    let covariances =
        array![[[0.3, 0.1], [0.1, 0.2]], [[0.15, -0.08], [-0.08, 0.25]], [[0.05, 0.0], [0.0, 0.4]]];
    GaussianMixture::full(&[0.5, 0.3, 0.2], means, &covariances).unwrap()
}

fn points() -> Array2<f64> {
    array![[0.4, -0.3], [1.1, 0.9], [-1.8, 0.2], [0.3, -1.0]]
}

fn gradient(
    method: &'static Tableau,
    start: impl Into<Samples<Array2<f64>>>,
    grid: &[f64],
    trace: Trace<'_, Array2<f64>>,
) -> LikelihoodGradient<Array2<f64>> {
    let (sde, data) = (VpLinear::default(), clusters());
    let mut flow = Reverse::probability_flow(&sde, data.score(&sde));
    let prior = |x: &Array2<f64>, out: &mut [f64], to: &mut Array2<f64>| {
        log_normal_gradient(x, sde.sigma(1.0), out, to)
    };
    log_likelihood_gradient(method, start, grid, trace, &mut flow, prior).unwrap()
}

fn log_snr_grid(steps: u32) -> Vec<f64> {
    grid::log_snr(&VpLinear::default(), steps, T0, 1.0).unwrap()
}

/// With the exact score and `π = p_T` the model is the data's own law: value and gradient go to `log p` and to the score, with
/// the order of the method.
#[test]
fn l7_the_gradient_is_the_score_where_the_score_is_exact() {
    let (sde, data) = (VpLinear::default(), clusters());
    let truth = data.log_densities(&sde, &points(), T0).unwrap();
    let mut field = Field::like(&points());
    let at = Lanes { t: &[T0; 4], sample: &[0, 1, 2, 3] };
    data.score(&sde).evaluate(&points(), at, &mut field).unwrap();
    let errors = [20, 40, 80].map(|steps| {
        let mut flow = Reverse::probability_flow(&sde, data.score(&sde));
        let prior = |x: &Array2<f64>, out: &mut [f64], to: &mut Array2<f64>| {
            out.copy_from_slice(&data.log_densities(&sde, x, 1.0)?);
            let mut field = Field::like(x);
            let at = Lanes { t: &[1.0; 4], sample: &[0, 1, 2, 3] };
            data.score(&sde).evaluate(x, at, &mut field)?;
            to.assign(&field.score);
            Ok(())
        };
        let grid = log_snr_grid(steps);
        let found =
            log_likelihood_gradient(&RK4, points(), &grid, Trace::Exact, &mut flow, prior).unwrap();
        let value = found.log_density.iter().zip(&truth).map(|(a, b)| (a - b).abs());
        let gradient = (&found.gradient - &field.score).mapv(f64::abs);
        [value.fold(0.0, f64::max), gradient.fold(0.0, |a: f64, b| a.max(*b))]
    });
    for (what, error) in ["value", "gradient"].iter().zip([0, 1].map(|i| errors.map(|e| e[i]))) {
        let order = (error[1] / error[2]).log2();
        assert!(error[2] < 1e-4 && (3.5..4.6).contains(&order), "{what}: {error:?}, order {order}");
    }
}

/// Of (L6) itself to rounding, on a grid that is much too coarse, by any method and with probes of any kind.
#[test]
fn l7_it_is_the_derivative_of_its_own_value() {
    let grid = log_snr_grid(6);
    let given = [array![[1.0, -1.0], [1.0, 1.0], [0.3, 2.0], [-1.0, 0.5]]];
    for (method, trace) in [
        (&RK45, Trace::Exact),
        (&HEUN, Trace::signs(3, 5)),
        (&DOP853, Trace::signs(1, 6)),
        (&RK4, Trace::Given(&given)),
    ] {
        let found = gradient(method, points(), &grid, trace).gradient;
        let h = 1e-5;
        for j in 0..2 {
            let moved = |h: f64| {
                let mut x = points();
                x.column_mut(j).mapv_inplace(|x| x + h);
                gradient(method, x, &grid, trace).log_density
            };
            for (i, (high, low)) in moved(h).iter().zip(moved(-h)).enumerate() {
                let (slope, found) = ((high - low) / (2.0 * h), found[[i, j]]);
                let off = (slope - found).abs() / (1.0 + found.abs());
                assert!(off < 1e-8, "{} {i} {j}: {slope} {found}", method.name);
            }
        }
    }
}

/// On a fine grid it is that of the classical likelihood with the same probes, solved by itself.
#[test]
fn l7_it_is_the_derivative_of_the_classical_likelihood() {
    let (sde, data) = (VpLinear::default(), clusters());
    let given = [array![[1.0, -1.0], [1.0, 1.0], [0.3, 2.0], [-1.0, 0.5]]];
    for trace in [Trace::Exact, Trace::Given(&given)] {
        let found = gradient(&DOP853, points(), &log_snr_grid(80), trace);
        let value = |x: Array2<f64>| {
            let mut flow = Reverse::probability_flow(&sde, data.score(&sde));
            let tolerance = Tolerance::both(1e-11);
            let options = AugmentedOptions::new((tolerance, tolerance));
            let prior = |x: &Array2<f64>, out: &mut [f64]| log_normal(x, sde.sigma(1.0), out);
            let span = (T0, 1.0);
            let solved =
                log_likelihood_augmented(&DOP853, x, span, &options, (&mut flow, trace), prior);
            solved.unwrap().log_density()
        };
        for (a, b) in found.log_density.iter().zip(value(points())) {
            assert!((a - b).abs() < 1e-8, "{a} {b}");
        }
        let h = 1e-4;
        for j in 0..2 {
            let moved = |h: f64| {
                let mut x = points();
                x.column_mut(j).mapv_inplace(|x| x + h);
                value(x)
            };
            for (i, (high, low)) in moved(h).iter().zip(moved(-h)).enumerate() {
                let (slope, found) = ((high - low) / (2.0 * h), found.gradient[[i, j]]);
                assert!((slope - found).abs() < 1e-5, "{i} {j}: {slope} {found}");
            }
        }
    }
}

/// A sample by itself, under its own number, has the bits that it has among others.
#[test]
fn a_gradient_does_not_depend_on_its_company() {
    let (grid, trace) = (log_snr_grid(5), Trace::signs(2, 9));
    let all = gradient(&RK4, points(), &grid, trace);
    for i in 0..4 {
        let row = points().row(i).insert_axis(ndarray::Axis(0)).to_owned();
        let one = gradient(&RK4, Samples::numbered(row, i as u64), &grid, trace);
        assert_eq!(one.gradient.row(0), all.gradient.row(i));
        assert_eq!(one.log_density[0].to_bits(), all.log_density[i].to_bits());
    }
    let other = gradient(&RK4, Samples::numbered(points(), 7), &grid, trace);
    assert!((other.log_density[0] - all.log_density[0]).abs() > 1e-6); // the control: other probes
}

/// A score without second derivatives says so.
#[test]
fn what_is_missing_is_named() {
    struct Plain;
    impl Score<Array2<f64>> for Plain {
        fn evaluate(
            &mut self,
            x: &Array2<f64>,
            _: Lanes<'_>,
            out: &mut Field<Array2<f64>>,
        ) -> sde_core::Result<()> {
            out.score.assign(&-x);
            out.denoised.fill(0.0);
            Ok(())
        }
    }
    let sde = VpLinear::default();
    let mut flow = Reverse::probability_flow(&sde, Plain);
    let prior = |x: &Array2<f64>, out: &mut [f64], to: &mut Array2<f64>| {
        log_normal_gradient(x, 1.0, out, to)
    };
    let grid = uniform_grid(0.1, 1.0, 3);
    let refused =
        log_likelihood_gradient(&RK4, points(), &grid, Trace::Exact, &mut flow, prior).unwrap_err();
    assert!(refused.to_string().contains("give it `pull_back`"), "{refused}");
}
