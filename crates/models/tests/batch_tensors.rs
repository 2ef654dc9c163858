//! A batch and the tensors around it: it has memory of its own, stays on the graph, and remembers a failure.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp)]
#![allow(clippy::cast_possible_wrap, clippy::cast_sign_loss)]

mod common;

use common::{apart, normals, numbers, sentence};
use models::Batch;
use models::tch::{Device, Kind, Tensor, no_grad_guard};
use sde_core::State;
use sde_core::state::Tolerance;

const TOL: Tolerance = Tolerance { rtol: 1e-3, atol: 1e-5 };

fn double(seed: u64, shape: &[i64]) -> Tensor {
    let values = normals(seed, shape.iter().product::<i64>() as usize);
    Tensor::f_from_slice(&values).unwrap().f_reshape(shape).unwrap()
}

fn leaf(seed: u64, shape: &[i64]) -> Tensor {
    double(seed, shape).f_set_requires_grad(true).unwrap()
}

fn batch(seed: u64, shape: &[i64]) -> Batch {
    Batch::new(&double(seed, shape)).unwrap()
}

/// A name, and what is done to a batch.
type Named = (&'static str, fn(&mut Batch));

/// Each operation that writes, on a batch of three rows of two.
fn writes() -> Vec<Named> {
    vec![
        ("assign", |b| State::assign(b, &batch(70, &[3, 2]))),
        ("combine", |b| b.combine(&[(&[2.0; 3], &batch(71, &[3, 2]))])),
        ("combine nothing", |b| b.combine(&[])),
        ("stage", |b| {
            let k = batch(72, &[3, 2]);
            b.stage(&batch(73, &[3, 2]), &[0.1; 3], &[1.0], |_| &k);
        }),
        ("take_where", |b| b.take_where(&batch(74, &[3, 2]), &[true, false, true])),
        ("scatter", |b| b.scatter(&[2, 0], &batch(75, &[2, 2]))),
        ("compact", |b| b.compact(&[1])),
        ("fill_rows", |b| b.fill_rows(|_, row| row.fill(3.0))),
        ("fit, combine", |b| {
            b.fit(&batch(76, &[2, 2]));
            b.combine(&[(&[2.0; 2], &batch(76, &[2, 2]))]);
        }),
    ]
}

/// A name, and a tensor of three rows of two.
type Make = (&'static str, fn() -> Tensor);

#[test]
fn a_callers_tensor_is_never_modified() {
    let tensors: [Make; 5] = [
        ("f64", || double(1, &[3, 2])),
        ("f32", || double(1, &[3, 2]).f_to_kind(Kind::Float).unwrap()),
        ("a leaf of a graph", || leaf(1, &[3, 2])),
        ("inside a graph", || leaf(1, &[3, 2]).f_mul(&Tensor::from(2.0)).unwrap()),
        ("a view", || double(1, &[6, 2]).f_narrow(0, 2, 3).unwrap()),
    ];
    for no_grad in [false, true] {
        let _guard = no_grad.then(no_grad_guard);
        for (kind, make) in tensors {
            for (name, write) in writes() {
                let tensor = make();
                let before = numbers(&tensor);
                let mut b = Batch::new(&tensor).unwrap();
                write(&mut b);
                assert_eq!(numbers(&tensor), before, "{name} on {kind}, no_grad: {no_grad}");
                assert!(numbers(b.tensor()) != before, "{name} wrote nothing");
            }
        }
    }
}

#[test]
fn tensors_of_every_kind_and_layout_become_f64_rows() {
    let x = double(3, &[4, 3]);
    for (kind, eps) in
        [(Kind::Double, 0.0), (Kind::Float, 6e-8), (Kind::Half, 4.9e-4), (Kind::BFloat16, 3.91e-3)]
    {
        let rounded = x.f_to_kind(kind).unwrap();
        let b = Batch::new(&rounded).unwrap();
        assert_eq!((b.tensor().kind(), b.shape()), (Kind::Double, vec![4, 3]));
        assert_eq!(b.to_host().unwrap(), numbers(&rounded));
        let pairs = numbers(&x).into_iter().zip(b.to_host().unwrap());
        let off = pairs.map(|(x, y)| (x - y).abs() / x.abs()).fold(0.0, f64::max);
        assert!(off <= eps && (eps == 0.0 || off > 0.05 * eps), "{kind:?}: {off}");
        let turned = Batch::new(&rounded.f_transpose(0, 1).unwrap()).unwrap();
        let first: Vec<f64> = numbers(&rounded).iter().step_by(3).copied().collect();
        assert_eq!((turned.shape(), &turned.to_host().unwrap()[..4]), (vec![3, 4], &first[..]));
    }
    let integers = Tensor::f_from_slice(&[1_i64, -2]).unwrap();
    assert_eq!(Batch::new(&integers).unwrap().to_host().unwrap(), [1.0, -2.0]);
    let spread = double(4, &[1, 2]).f_expand([3, 2], false).unwrap();
    let mut b = Batch::new(&spread).unwrap();
    b.fill_rows(|i, row| row.fill(i as f64));
    assert_eq!(b.to_host().unwrap(), [0.0, 0.0, 1.0, 1.0, 2.0, 2.0]);
}

#[test]
fn what_is_no_batch_is_refused() {
    let text = sentence(Batch::new(&Tensor::from(1.0)).unwrap_err());
    assert_eq!(text, "a batch has the shape [], expected [B, …]");
    let text = sentence(Batch::from_host(&[1.0; 5], &[2, 3], Device::Cpu).unwrap_err());
    assert_eq!(text, "a batch has the shape [2, 3], expected 5 numbers, as many as were given");
}

/// `L = Σ g ∘ (Σ_j c_j x_j)` has `∂L/∂x_j = c_j g`.
#[test]
fn gradients_flow_through_a_combination() {
    let (x, z) = (leaf(1, &[3, 2]), leaf(2, &[3, 2]));
    let (c, d) = ([0.5, -2.0, 3.0], [1.0, 0.25, -1.0]);
    let mut out = batch(3, &[3, 2]);
    let (bx, bz, plain) = (Batch::new(&x).unwrap(), Batch::new(&z).unwrap(), batch(4, &[3, 2]));
    out.combine(&[(&c, &plain), (&c, &bx), (&d, &bz), (&d, &bx)]);
    out.check().unwrap();
    let g = double(5, &[3, 2]);
    out.tensor().f_mul(&g).unwrap().f_sum(None).unwrap().f_backward().unwrap();
    let rows = |c: &[f64]| -> Vec<f64> {
        numbers(&g).chunks(2).zip(c).flat_map(|(g, c)| [c * g[0], c * g[1]]).collect()
    };
    let both: Vec<f64> = c.iter().zip(d).map(|(c, d)| c + d).collect();
    assert!(apart(&numbers(&x.grad()), &rows(&both)) < 1e-15);
    assert!(apart(&numbers(&z.grad()), &rows(&d)) < 1e-15);
    assert!(apart(&numbers(&z.grad()), &rows(&c)) > 0.1);
}

/// A buffer that holds a graph is used again: the old graph still has its gradient.
#[test]
fn a_buffer_can_be_used_again() {
    let (x, z) = (leaf(1, &[3, 2]), leaf(2, &[3, 2]));
    let (bx, bz) = (Batch::new(&x).unwrap(), Batch::new(&z).unwrap());
    let mut out = bx.zeros_like();
    out.combine(&[(&[2.0; 3], &bx)]);
    let first = out.tensor().f_square().unwrap().f_sum(None).unwrap();
    out.combine(&[(&[3.0; 3], &bz)]);
    first.f_backward().unwrap();
    let expected: Vec<f64> = numbers(&x).iter().map(|x| 8.0 * x).collect();
    assert!(apart(&numbers(&x.grad()), &expected) < 1e-14);
    assert!(!bx.zeros_like().tensor().requires_grad());
    out.combine(&[(&[3.0; 3], &batch(9, &[3, 2]))]);
    assert!(!out.tensor().requires_grad());
}

#[test]
fn without_a_graph_memory_is_used_again() {
    let (x, mut out) = (batch(1, &[3, 2]), batch(2, &[3, 2]));
    let place = out.tensor().data_ptr();
    out.combine(&[(&[2.0; 3], &x), (&[1.0; 3], &x)]);
    out.fit(&batch(3, &[2, 2]));
    State::assign(&mut out, &batch(3, &[2, 2]));
    assert_eq!(out.tensor().data_ptr(), place);
    out.fit(&x);
    assert!(out.tensor().data_ptr() != place);
}

/// Each wrong operation on `[3, 2]`, among them those that libtorch would broadcast.
fn mistakes() -> Vec<Named> {
    vec![
        ("another width", |b| b.combine(&[(&[1.0; 3], &batch(1, &[3, 5]))])),
        ("another number of rows", |b| b.combine(&[(&[1.0; 2], &batch(1, &[2, 2]))])),
        ("too few coefficients", |b| b.combine(&[(&[1.0; 2], &batch(1, &[3, 2]))])),
        ("one coefficient", |b| b.combine(&[(&[1.0], &batch(1, &[3, 2]))])),
        ("one row", |b| b.combine(&[(&[1.0; 3], &batch(1, &[1, 2]))])),
        ("one column", |b| b.combine(&[(&[1.0; 3], &batch(1, &[3, 1]))])),
        ("fewer axes", |b| b.combine(&[(&[1.0; 3], &batch(1, &[3]))])),
        ("a second term of one row", |b| {
            b.combine(&[(&[1.0; 3], &batch(1, &[3, 2])), (&[1.0; 3], &batch(1, &[1, 2]))]);
        }),
        ("to assign another width", |b| State::assign(b, &batch(1, &[3, 4]))),
        ("to assign one row", |b| State::assign(b, &batch(1, &[1, 2]))),
        ("to take from one row", |b| b.take_where(&batch(1, &[1, 2]), &[true; 3])),
        ("to take with one flag", |b| b.take_where(&batch(1, &[3, 2]), &[true])),
        ("to scatter too many", |b| b.scatter(&[0], &batch(1, &[2, 2]))),
        ("to scatter outside", |b| b.scatter(&[3], &batch(1, &[1, 2]))),
        ("to scatter narrow rows", |b| b.scatter(&[1], &batch(1, &[1, 1]))),
        ("to keep what is not there", |b| b.compact(&[0, 7])),
        ("a stage of another width", |b| {
            let k = batch(1, &[3, 4]);
            b.stage(&batch(1, &[3, 2]), &[0.1; 3], &[1.0], |_| &k);
        }),
        ("ends of one row", |b| {
            let (k, y) = (batch(1, &[3, 2]), batch(2, &[1, 2]));
            b.raise_error_norm(&[0.1; 3], &[1.0], |_| &k, (&y, &y), &TOL, &mut [0.0; 3]);
        }),
    ]
}

#[test]
fn a_failure_is_remembered_and_named() {
    for (name, mistake) in mistakes() {
        let mut b = batch(8, &[3, 2]);
        mistake(&mut b);
        let why = sentence(b.check().expect_err(name));
        assert!(why.len() > 12, "{why}");
        assert_eq!(sentence(b.to_host().unwrap_err()), why);
        b.combine(&[(&[1.0; 3], &batch(1, &[3, 2]))]);
        assert_eq!(sentence(b.check().expect_err(name)), why, "the first failure stays");
    }
}

#[test]
fn a_failure_is_inherited() {
    let mut bad = batch(8, &[3, 2]);
    bad.combine(&[(&[1.0; 3], &batch(1, &[3, 5]))]);
    let why = sentence(bad.check().unwrap_err());
    let heirs: [fn(&mut Batch, &Batch); 7] = [
        |b, bad| b.combine(&[(&[1.0; 3], bad)]),
        |b, bad| State::assign(b, bad),
        |b, bad| b.take_where(bad, &[false; 3]),
        |b, bad| b.scatter(&[0, 1, 2], bad),
        |b, bad| b.stage(bad, &[0.1; 3], &[0.0], |_| bad),
        |b, bad| b.fit(bad),
        |b, bad| *b = bad.zeros_like(),
    ];
    for inherit in heirs {
        let mut b = batch(8, &[3, 2]);
        b.check().unwrap();
        inherit(&mut b, &bad);
        assert_eq!(sentence(b.check().unwrap_err()), why);
    }
}

#[test]
fn the_norms_of_a_failed_batch_are_nan() {
    let mut bad = batch(8, &[3, 2]);
    bad.combine(&[(&[1.0; 3], &batch(1, &[3, 5]))]);
    let good = batch(1, &[3, 2]);
    for (k, y, z) in [(&bad, &good, &good), (&good, &bad, &good), (&good, &good, &bad)] {
        let (mut scratch, mut norm) = (good.zeros_like(), [0.0, 1.0, 2.0]);
        scratch.raise_error_norm(&[0.1; 3], &[1.0], |_| k, (y, z), &TOL, &mut norm);
        assert!(norm.iter().all(|n| n.is_nan()), "{norm:?}");
    }
    let mut squares = [0.0; 3];
    bad.add_squared_norm(&mut squares);
    assert!(squares.iter().all(|n| n.is_nan()), "{squares:?}");
    let (mut scratch, mut norm) = (good.zeros_like(), [0.0, 1.0, 2.0]);
    scratch.raise_error_norm(&[0.1; 3], &[1.0], |_| &good, (&good, &good), &TOL, &mut norm);
    assert!(norm.iter().all(|n| n.is_finite()), "{norm:?}");
}
