//! Acceptance test 1: every row of every tableau against the order conditions by rooted trees.
//!
//! A tree τ has the elementary weights `Φ_s(τ) = Π_{children c} Σ_j a_sj Φ_j(c)` and the density γ(τ), its number of
//! nodes times the densities of its children. Weights b have order p when `Σ_s b_s Φ_s(τ) = 1/γ(τ)` for all trees of up
//! to p nodes; rows `P_sp` of dense output when `Σ_s P_sp Φ_s(τ)` is 1/γ(τ) for `p + 1 = |τ|` and 0 for all other p
//! (Hairer, Nørsett & Wanner, *Solving ODEs I*, II.2 and II.6).

use ode_solvers::{
    DOP853, DOPRI5, EULER, HEUN, MIDPOINT, RALSTON, RK4, RK23, RK45, TSIT5, Tableau, VERN7,
};
use std::collections::BTreeSet;

struct Tree {
    nodes: usize,
    density: f64,
    /// Indices of the children, descending.
    children: Vec<usize>,
}

/// All rooted trees of up to `most` nodes, in the order of their size.
fn trees(most: usize) -> Vec<Tree> {
    let mut trees = vec![Tree { nodes: 1, density: 1.0, children: vec![] }];
    for nodes in 2..=most {
        let mut found = BTreeSet::new();
        children(&trees, nodes - 1, trees.len() - 1, &mut vec![], &mut found);
        for children in found {
            let below: f64 = children.iter().map(|c| trees[*c].density).product();
            trees.push(Tree { nodes, density: nodes as f64 * below, children });
        }
    }
    trees
}

/// Every way to hang trees with `left` nodes in sum under a root, none after one of a smaller index.
fn children(
    trees: &[Tree],
    left: usize,
    largest: usize,
    chosen: &mut Vec<usize>,
    found: &mut BTreeSet<Vec<usize>>,
) {
    if left == 0 {
        found.insert(chosen.clone());
        return;
    }
    for c in (0..=largest).filter(|c| trees[*c].nodes <= left) {
        chosen.push(c);
        children(trees, left - trees[c].nodes, c, chosen, found);
        chosen.pop();
    }
}

/// `Φ_s(τ)` of all stages, the one at the end of the step and the extra ones included.
fn weights(m: &Tableau, trees: &[Tree]) -> Vec<Vec<f64>> {
    let end: &[&[f64]] = if m.e.is_empty() { &[] } else { &[m.b] };
    let rows: Vec<&[f64]> = [&[&[][..]], m.a, end, m.extra_a].concat();
    let mut phi: Vec<Vec<f64>> = Vec::new();
    for tree in trees {
        let below =
            |row: &[f64], c: usize| row.iter().zip(&phi[c]).map(|(a, p)| a * p).sum::<f64>();
        let of = |row: &&[f64]| tree.children.iter().map(|c| below(row, *c)).product::<f64>();
        phi.push(rows.iter().map(of).collect());
    }
    phi
}

/// For each number of nodes up to 9 the largest residual of a condition.
fn residuals(m: &Tableau, condition: impl Fn(&[f64], &Tree) -> f64) -> [f64; 9] {
    let trees = trees(9);
    let mut largest = [0.0_f64; 9];
    for (tree, phi) in trees.iter().zip(weights(m, &trees)) {
        let size = &mut largest[tree.nodes - 1];
        *size = size.max(condition(&phi, tree).abs());
    }
    largest
}

fn sum(w: &[f64], phi: &[f64]) -> f64 {
    w.iter().zip(phi).map(|(w, p)| w * p).sum()
}

/// That weights have order p and no more; the next residual.
fn check(what: &str, residuals: &[f64; 9], p: usize, rounding: f64) -> f64 {
    let met = residuals[..p].iter().fold(0.0_f64, |m, r| m.max(*r));
    assert!(met <= rounding, "{what}: residual {met:e} up to order {p}");
    let next = residuals[p];
    assert!(next > 1e-5, "{what}: residual {next:e} at order {}", p + 1);
    next
}

#[test]
fn a01_there_are_as_many_trees_as_cayley_counted() {
    let trees = trees(9);
    let count = |nodes| trees.iter().filter(|t| t.nodes == nodes).count();
    assert_eq!((1..=9).map(count).collect::<Vec<_>>(), [1, 1, 2, 4, 9, 20, 48, 115, 286]);
}

/// Solution and nodes of all methods; the next residuals of the specification.
#[test]
fn a01_solutions_have_the_order_they_claim() {
    let next = |m: &Tableau| {
        for (row, c) in m.a.iter().zip(m.c).chain(m.extra_a.iter().zip(m.extra_c)) {
            assert!((row.iter().sum::<f64>() - c).abs() < 1e-13, "{}: node {c}", m.name);
        }
        let found = residuals(m, |phi, tree| sum(m.b, phi) - 1.0 / tree.density);
        check(m.name, &found, m.order as usize, 2e-14)
    };
    for m in [&EULER, &HEUN, &MIDPOINT, &RALSTON, &RK4, &RK23, &TSIT5, &VERN7] {
        next(m);
    }
    assert!((next(&RK45) - 2.8e-4).abs() < 1e-5);
    assert!((next(&DOP853) - 2.7e-5).abs() < 1e-6);
    assert_eq!(next(&DOPRI5).to_bits(), next(&RK45).to_bits());
}

/// `b − e` is a method of a lower order, so e by itself annihilates the trees up to that order.
#[test]
fn a01_error_weights_have_the_order_they_claim() {
    let next = |m: &Tableau, e: &[f64], order: usize| {
        let found = residuals(m, |phi, _| sum(e, phi));
        check(m.name, &found, order, 2e-14)
    };
    for m in [&RK23, &RK45, &DOPRI5, &TSIT5, &VERN7] {
        next(m, m.e, m.error_order as usize);
    }
    assert!((next(&RK45, RK45.e, 4) - 8.1e-4).abs() < 1e-5);
    assert!((next(&DOPRI5, DOPRI5.e, 4) - 5.4e-4).abs() < 1e-5);
    next(&DOP853, DOP853.e, 5);
    next(&DOP853, DOP853.e3, 3);
    for (classical, shampine) in RK45.e.iter().zip(DOPRI5.e) {
        assert!((classical * (-2.0 / 3.0) - shampine).abs() < 1e-17);
    }
}

/// The rows of dense output in powers of θ, multiplied out where they are nested.
fn powers(m: &Tableau) -> Vec<Vec<f64>> {
    let expand = |row: &&[f64]| {
        let mut sum = vec![0.0; row.len() + 1];
        let mut product = vec![0.0; row.len() + 1]; // coefficients of θ⁰, θ¹, …
        product[0] = 1.0;
        for (p, weight) in row.iter().enumerate() {
            let mut next = product.clone();
            next.rotate_right(1); // times θ
            if m.nested && p % 2 == 1 {
                next = product.iter().zip(&next).map(|(one, theta)| one - theta).collect();
            }
            product = next;
            sum.iter_mut().zip(&product).for_each(|(sum, product)| *sum += weight * product);
        }
        sum[1..].to_vec()
    };
    m.dense.iter().map(expand).collect()
}

#[test]
fn a01_dense_output_has_the_order_it_claims() {
    let cases = [(&RK23, 3), (&RK45, 4), (&DOPRI5, 4), (&TSIT5, 4), (&DOP853, 7), (&VERN7, 6)];
    for (m, order) in cases {
        let rows = powers(m);
        let found = residuals(m, |phi, tree| {
            let power = |p: usize| {
                let got: f64 = rows.iter().zip(phi).map(|(row, phi)| row[p] * phi).sum();
                let want = if p + 1 == tree.nodes { 1.0 / tree.density } else { 0.0 };
                (got - want).abs()
            };
            (0..m.dense[0].len()).map(power).fold(0.0, f64::max)
        });
        let largest = rows.iter().flatten().fold(0.0_f64, |m, p| m.max(p.abs()));
        check(m.name, &found, order, 1e-14 * largest.max(4.0));
    }
}

/// A table with one wrong digit does not pass: torchdiffeq's `tsit5` of order 4, which goes on with the embedded row.
#[test]
fn a01_control_the_embedded_row_is_not_the_method() {
    let embedded: Vec<f64> =
        TSIT5.e.iter().zip([TSIT5.b, &[0.0]].concat()).map(|(e, b)| b - e).collect();
    let found = residuals(&TSIT5, |phi, tree| sum(&embedded, phi) - 1.0 / tree.density);
    assert!(found[3] < 1e-14 && (found[4] - 8.7e-4).abs() < 1e-5, "{found:?}");
}
