//! The grid solver: orders, mass, positivity, the marginals that the family shares.

use super::*;
use crate::points::{turning, turning_density};

fn line(cells: usize) -> Grid {
    Grid::new(&[Axis { low: -7.0, high: 7.0, cells }]).unwrap()
}

fn plane(cells: usize) -> Grid {
    Grid::new(&[Axis { low: -5.0, high: 5.0, cells }; 2]).unwrap()
}

/// Evolves the exact `p_from` of a mixture on a grid to `p_to`; the grid's answer, checked for mass and sign.
fn evolve(
    process: &Diffusion<'_>,
    grid: Grid,
    p: Vec<f64>,
    times: (f64, f64),
    steps: u32,
) -> Vec<f64> {
    let mut density = Evolution::new(process, grid, p, times.0).unwrap();
    let before = density.mass();
    density.advance(times.1, steps).unwrap();
    assert!((density.mass() - before).abs() < 1e-12, "{before} {}", density.mass());
    assert!(density.p().iter().all(|&p| p > 0.0));
    density.p().to_vec()
}

/// Distances `∫ |p_grid − p_t|` at t = 0.2 from `p_0` under the VP process with noise η g.
fn grid_error(model: &GaussianMixture, grid: &Grid, eta: f64, steps: u32) -> f64 {
    let sde = vp();
    let process = Diffusion::linear(&sde).forward_family(mixture::score(model, &sde), move |_| eta);
    let exact = |t| grid.averages(|x| density(model, &sde, x, t));
    let p = evolve(&process, grid.clone(), exact(0.0), (0.0, 0.2), steps);
    grid.distance(&p, &exact(0.2))
}

/// Every member of the forward family has the marginals of the process: on a line, with the order of the scheme.
#[test]
fn r40_members_share_marginals_on_a_line() {
    let model = gmm1d();
    for eta in ETAS {
        let [coarse, middle, fine] =
            [200, 400, 800].map(|n| grid_error(&model, &line(n), eta, 200));
        let orders = [(coarse / middle).log2(), (middle / fine).log2()];
        println!("eta {eta}: {coarse:.2e} {middle:.2e} {fine:.2e}, orders {orders:.2?}");
        let (order, error) = if eta == 0.0 { (0.8..1.1, 1e-2) } else { (1.9..2.1, 1e-4) };
        assert!(orders.iter().all(|p| order.contains(p)), "eta {eta}: {orders:?}");
        assert!(fine < error, "eta {eta}: {fine}");
    }
}

#[test]
fn r40_members_share_marginals_in_the_plane() {
    let model = gmm2d();
    for eta in ETAS {
        let [coarse, fine] = [50, 100].map(|n| grid_error(&model, &plane(n), eta, 20));
        let order = (coarse / fine).log2();
        println!("eta {eta}: {coarse:.2e} {fine:.2e}, order {order:.2}");
        let (expected, error) = if eta == 0.0 { (0.7..1.1, 0.1) } else { (1.7..2.2, 1e-2) };
        assert!(expected.contains(&order) && fine < error, "eta {eta}: {order} {fine}");
    }
}

/// A control: a score that is wrong by a tenth takes the members to other places than the process.
#[test]
fn r40_needs_the_exact_score() {
    let (sde, model, grid) = (vp(), gmm1d(), line(400));
    let score = mixture::score(&model, &sde);
    let wrong = move |x: &[f64], t: f64, s: &mut [f64]| {
        score(x, t, s);
        s[0] *= 1.1;
    };
    let process = Diffusion::linear(&sde).forward_family(wrong, |_| 0.5);
    let exact = |t| grid.averages(|x| density(&model, &sde, x, t));
    let p = evolve(&process, grid.clone(), exact(0.0), (0.0, 0.2), 100);
    let error = grid.distance(&p, &exact(0.2));
    assert!(error > 0.02, "{error}"); // with the exact score it is 1e-3 on this grid
}

/// (P4) on the grid: from `p_T` back to the data.
#[test]
fn r41_reverse_members_return_on_a_line() {
    let (sde, model, grid) = (vp(), gmm1d(), line(400));
    let exact = |t| grid.averages(|x| density(&model, &sde, x, t));
    for eta in [0.5, 1.0, 1.5] {
        let score = mixture::score(&model, &sde);
        let process = Diffusion::linear(&sde).reverse_family(score, move |_| eta, 0.3);
        let p = evolve(&process, grid.clone(), exact(0.3), (0.0, 0.3), 300);
        let error = grid.distance(&p, &exact(0.0));
        println!("eta {eta}: {error:.2e}");
        assert!(error < 5e-3, "eta {eta}: {error}");
    }
}

/// Order 2 in the step on a fixed grid, with noise and without, on a line and in the plane.
#[test]
fn the_grid_solver_is_of_order_two_in_time() {
    let (sde, one, two) = (vp(), gmm1d(), gmm2d());
    for (model, grid, steps) in [(&one, line(300), [40, 80, 640]), (&two, plane(40), [20, 40, 160])]
    {
        for eta in [0.0, 0.5, 1.0] {
            let score = mixture::score(model, &sde);
            let process = Diffusion::linear(&sde).forward_family(score, move |_| eta);
            let start = grid.averages(|x| density(model, &sde, x, 0.0));
            let [coarse, fine, best] =
                steps.map(|n| evolve(&process, grid.clone(), start.clone(), (0.0, 0.2), n));
            let (coarse, fine) = (grid.distance(&coarse, &best), grid.distance(&fine, &best));
            let order = (coarse / fine).log2();
            println!("eta {eta}: {coarse:.2e} {fine:.2e}, order {order:.2}");
            assert!((1.7..2.2).contains(&order), "eta {eta}: {order}");
        }
    }
}

/// Steps far beyond those of an explicit scheme, from a box, on a short grid: nothing negative, nothing lost.
#[test]
fn mass_stays_and_no_cell_is_negative() {
    let (sde, model) = (vp(), gmm1d());
    let grid = Grid::new(&[Axis { low: -2.0, high: 1.0, cells: 300 }]).unwrap();
    let start = grid.averages(|x| if x[0] > 0.5 { 2.0 } else { 0.0 });
    for eta in ETAS {
        let process =
            Diffusion::linear(&sde).forward_family(mixture::score(&model, &sde), move |_| eta);
        for steps in [1, 3, 1000] {
            let mut density = Evolution::new(&process, grid.clone(), start.clone(), 0.0).unwrap();
            let before = density.mass();
            density.advance(1.0, steps).unwrap();
            assert!((density.mass() - before).abs() < 1e-12, "{eta} {steps}: {}", density.mass());
            assert!(density.p().iter().all(|&p| p >= 0.0), "{eta} {steps}");
        }
    }
}

/// A drift that is not linear: two wells, from one of them to the balance of both; and a member with time-dependent η
/// that keeps it. A drift that is not a gradient: the turning Gaussian.
#[test]
fn the_grid_solver_takes_any_drift() {
    let wells = |x: &[f64], _: f64, b: &mut [f64]| b[0] = 2.0 * (x[0] - x[0].powi(3));
    let process = Diffusion::new(wells, |_| 2.0);
    let grid = Grid::new(&[Axis { low: -4.0, high: 4.0, cells: 400 }]).unwrap();
    let rest = grid.averages(|x| (x[0].powi(2) - 0.5 * x[0].powi(4)).exp());
    let norm = grid.integral(&rest);
    let rest: Vec<f64> = rest.iter().map(|p| p / norm).collect();
    let start = grid.averages(|x| if (x[0] - 1.0).abs() < 0.25 { 2.0 } else { 0.0 });
    let p = evolve(&process, grid.clone(), start, (0.0, 20.0), 200);
    assert!(grid.distance(&p, &rest) < 1e-4, "{}", grid.distance(&p, &rest));
    let member = process.forward_family(wells, |t| 1.0 + 0.5 * t.sin());
    let p = evolve(&member, grid.clone(), rest.clone(), (0.0, 5.0), 100);
    assert!(grid.distance(&p, &rest) < 1e-4, "{}", grid.distance(&p, &rest));

    let grid = plane(100);
    let exact = |t| grid.averages(|x| turning_density(x, t));
    let p = evolve(&turning(), grid.clone(), exact(0.0), (0.0, 0.5), 50);
    let error = grid.distance(&p, &exact(0.5));
    println!("turning: {error:.2e}");
    assert!(error < 1e-2 && grid.distance(&exact(0.0), &exact(0.5)) > 0.5, "{error}");
}

#[test]
fn what_cannot_be_solved_is_refused() {
    let axis = Axis { low: 0.0, high: 1.0, cells: 4 };
    assert!(Grid::new(&[]).is_err());
    assert!(Grid::new(&[Axis { cells: 0, ..axis }]).is_err());
    assert!(Grid::new(&[Axis { high: 0.0, ..axis }]).is_err());
    let grid = Grid::new(&[axis]).unwrap();
    let process = Diffusion::new(|_, t, b| b[0] = 1.0 / (1.0 - t), |_| 1.0);
    let new = |p: Vec<f64>| Evolution::new(&process, grid.clone(), p, 0.0);
    assert_eq!(
        new(vec![1.0; 3]).unwrap_err().to_string(),
        "densities of the grid: found 3, expected 4"
    );
    assert!(new(vec![-1.0; 4]).is_err());
    let mut density = new(vec![1.0; 4]).unwrap();
    assert!(density.advance(0.0, 1).is_err());
    assert!(density.advance(0.5, 0).is_err());
    let text = density.advance(1.0, 2).unwrap_err().to_string();
    assert_eq!(text, "drift on the grid = inf is out of range: expected a finite number");
    assert!(mixture::terms(&gmm2d(), &vp(), &[0.0], 0.1).is_err());
    assert!(LinearFamily::new(&gmm1d(), &vp(), 1.0, 0.0).is_err());
    assert!(LinearFamily::new(&gauss1d(), &vp(), -1.0, 0.0).is_err());
}
