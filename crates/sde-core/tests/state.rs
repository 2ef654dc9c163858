//! The batch operations on host arrays and pairs: whatever the layout, each row by itself.

#![allow(clippy::unwrap_used, clippy::float_cmp)]

use ndarray::{Array1, Array2, array};
use sde_core::{State, Tolerance};

#[test]
fn a_stage_is_the_formula() {
    let (y, k0, k1) = (
        array![[1.0, 2.0], [3.0, 4.0]],
        array![[1.0, 0.0], [0.0, 1.0]],
        array![[2.0, 2.0], [2.0, 2.0]],
    );
    let k = [k0, k1];
    let mut z = y.zeros_like();
    z.stage(&y, &[0.1, 0.5], &[1.0, 0.5], |j| &k[j]);
    assert_eq!(z, array![[1.0 + 0.1 * 2.0, 2.0 + 0.1], [3.0 + 0.5, 4.0 + 0.5 * 2.0]]);
}

#[test]
fn layout_does_not_matter() {
    let x = Array2::from_shape_fn((3, 4), |(i, j)| (i * 4 + j) as f64);
    let transposed = x.clone().reversed_axes().as_standard_layout().into_owned().reversed_axes();
    assert!(!transposed.is_standard_layout());
    let c = [1.0, -2.0, 0.5];
    let (mut a, mut b) = (x.zeros_like(), transposed.clone());
    a.combine(&[(&c, &x), (&c, &x)]);
    b.combine(&[(&c, &transposed), (&c, &x)]);
    assert_eq!(a, b);
    let (mut na, mut nb) = ([0.0; 3], [0.0; 3]);
    x.add_squared_norm(&mut na);
    transposed.add_squared_norm(&mut nb);
    assert_eq!(na, nb);
}

#[test]
fn take_where_compact_scatter_move_whole_rows() {
    let x = array![[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]];
    let mut y = Array2::zeros((3, 2));
    y.take_where(&x, &[true, false, true]);
    assert_eq!(y, array![[1.0, 1.0], [0.0, 0.0], [3.0, 3.0]]);
    let mut z = x.clone();
    z.compact(&[0, 2]);
    assert_eq!(z, array![[1.0, 1.0], [3.0, 3.0]]);
    let mut out = Array2::zeros((3, 2));
    out.scatter(&[2, 0], &z);
    assert_eq!(out, array![[3.0, 3.0], [0.0, 0.0], [1.0, 1.0]]);
    z.fit(&Array2::zeros((1, 2)));
    assert_eq!(z.dim(), (1, 2));
    z.fit(&Array2::zeros((4, 2)));
    assert_eq!(z.dim(), (4, 2));
}

#[test]
fn a_pair_takes_the_larger_error_and_keeps_nan() {
    let y = (array![[0.0, 0.0], [0.0, 0.0]], Array1::<f64>::zeros(2));
    let k = (array![[3.0, 4.0], [f64::NAN, 1.0]], array![10.0, 1.0]);
    let tol = (Tolerance { rtol: 1e-3, atol: 1.0 }, Tolerance { rtol: 1e-3, atol: 2.0 });
    let (mut norm, mut scratch) = ([0.0; 2], y.zeros_like());
    scratch.raise_error_norm(&[1.0, 1.0], &[1.0], |_| &k, (&y, &y), &tol, &mut norm);
    assert_eq!(norm[0], 5.0); // the second member, 10/2, beats sqrt((9 + 16)/2)
    assert!(norm[1].is_nan());
}

#[test]
fn pairs_fill_row_by_row() {
    let mut pair = (Array2::zeros((2, 2)), Array1::zeros(2));
    pair.fill_rows(|i, row| row.iter_mut().zip(1..).for_each(|(v, j)| *v = (10 * i + j) as f64));
    assert_eq!(pair.0, array![[1.0, 2.0], [11.0, 12.0]]);
    assert_eq!(pair.1, array![3.0, 13.0]);
}

#[test]
fn tolerances_that_no_solver_meets_are_refused() {
    type X = Array2<f64>;
    let check = |rtol, atol| X::check_tolerance(&Tolerance { rtol, atol });
    assert!(check(1e-5, 1e-9).is_ok());
    for (rtol, atol) in
        [(1e-15, 1e-5), (f64::NAN, 1.0), (1e-5, 0.0), (1e-5, -1.0), (1e-5, f64::INFINITY)]
    {
        assert!(check(rtol, atol).is_err());
    }
    assert!(<(X, X)>::check_tolerance(&(Tolerance::both(1e-5), Tolerance::both(0.0))).is_err());
}
