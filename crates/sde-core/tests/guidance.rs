//! Guidance where it has a closed form.

#![allow(clippy::unwrap_used)]

use ndarray::{Array2, array};
use proptest::prelude::*;
use sde_core::guidance::{ClassifierFree, Guided, Known};
use sde_core::{Divergence, Field, GaussianMixture, Lanes, Reverse, Score, Sde, State, VpLinear};

fn largest(a: &Array2<f64>, b: &Array2<f64>) -> f64 {
    (a - b).iter().fold(0.0, |m, e| m.max(e.abs()))
}

proptest! {
    /// (H2) between normals of one variance is the normal whose mean lies on the line through theirs.
    #[test]
    fn h2_guidance_moves_the_mean_of_a_normal(
        x in -3.0..3.0_f64, t in 0.01..1.0_f64, w in -1.0..8.0_f64, m in -2.0..2.0_f64,
    ) {
        let sde = VpLinear::default();
        let normal = |m: f64| GaussianMixture::isotropic(&[1.0], array![[m, 0.5]], &[0.3]).unwrap();
        let (class, none, guided) = (normal(m), normal(0.2), normal(0.2 + w * (m - 0.2)));
        let mut score = ClassifierFree::new(class.score(&sde), none.score(&sde), w).unwrap();
        let (x, at) = (array![[x, 1.0]], Lanes { t: &[t], sample: &[0] });
        let (mut found, mut expected) = (Field::like(&x), Field::like(&x));
        let (mut a, mut b) = (Divergence::default(), Divergence::default());
        a.fit(1);
        b.fit(1);
        score.evaluate_with_divergence(&x, at, &mut found, &mut a).unwrap();
        guided.score(&sde).evaluate_with_divergence(&x, at, &mut expected, &mut b).unwrap();
        let size = 1.0 + expected.score.iter().fold(0.0_f64, |m, s| m.max(s.abs()));
        prop_assert!(largest(&found.score, &expected.score) < 1e-11 * size);
        prop_assert!(largest(&found.denoised, &expected.denoised) < 1e-9);
        prop_assert!((a.score[0] - b.score[0]).abs() < 1e-9 * (1.0 + b.score[0].abs()));
        prop_assert!((a.denoised[0] - b.denoised[0]).abs() < 1e-9);
        let values = found.score.clone();
        score.evaluate(&x, at, &mut found).unwrap();
        prop_assert_eq!(values, found.score);
    }
}

#[test]
fn weights_0_and_1_are_the_scores_themselves() {
    let sde = VpLinear::default();
    let class = GaussianMixture::isotropic(&[1.0], array![[1.0]], &[0.3]).unwrap();
    let none = GaussianMixture::isotropic(&[0.5, 0.5], array![[1.0], [-1.0]], &[0.3, 0.2]).unwrap();
    let (x, at) = (array![[0.3], [-0.7]], Lanes { t: &[0.2, 0.6], sample: &[0, 1] });
    for (w, of) in [(0.0, &none), (1.0, &class)] {
        let mut score = ClassifierFree::new(class.score(&sde), none.score(&sde), w).unwrap();
        let (mut found, mut expected) = (Field::like(&x), Field::like(&x));
        score.evaluate(&x, at, &mut found).unwrap();
        of.score(&sde).evaluate(&x, at, &mut expected).unwrap();
        assert_eq!((found.denoised, found.score), (expected.denoised, expected.score));
    }
    assert!(
        ClassifierFree::<Array2<f64>, _, _>::new(class.score(&sde), none.score(&sde), f64::NAN)
            .is_err()
    );
}

/// (H3) keeps Tweedie's formula, puts the known elements in, and says nothing at σ = 0.
#[test]
fn h3_a_measurement_changes_both_members() {
    let sde = VpLinear::default();
    let data = GaussianMixture::isotropic(&[1.0], array![[0.7, -0.2]], &[0.25]).unwrap();
    let numbers = vec![4, 6, 9];
    let known = array![[1.0, 5.0], [2.0, 5.0], [3.0, 5.0]];
    let mut known = Known::new(known, array![[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]], numbers).unwrap();
    let mut guided =
        Guided::new(&sde, data.score(&sde), |_: &_, at: Lanes<'_>, d: &mut _| known.project(at, d));
    let x = array![[0.3, 0.1], [-0.7, 0.2]];
    let at = Lanes { t: &[0.2, 0.0], sample: &[4, 9] }; // sample 6 has left
    let (mut found, mut plain) = (Field::like(&x), Field::like(&x));
    guided.evaluate(&x, at, &mut found).unwrap();
    data.score(&sde).evaluate(&x, at, &mut plain).unwrap();
    assert_eq!((found.denoised[[0, 0]], found.denoised[[0, 1]]), (1.0, plain.denoised[[0, 1]]));
    let k = sde.coefficients(0.2);
    for j in 0..2 {
        let tweedie = (x[[0, j]] + k.sigma * k.sigma * found.score[[0, j]]) / k.alpha;
        assert!((tweedie - found.denoised[[0, j]]).abs() < 1e-14);
    }
    assert_eq!(found.denoised.row(1), plain.denoised.row(1));
    assert_eq!(found.score.row(1), plain.score.row(1));
    let mut divergence = Divergence::default();
    assert!(guided.evaluate_with_divergence(&x, at, &mut found, &mut divergence).is_err());
    let strange = Lanes { t: &[0.2, 0.1], sample: &[4, 5] };
    let refused = guided.evaluate(&x, strange, &mut found).unwrap_err().to_string();
    assert!(
        refused.contains("known samples among those evaluated: found 1, expected 2"),
        "{refused}"
    );
}

#[test]
fn marked_elements_are_taken() {
    let mut x = (array![[1.0, 2.0], [3.0, 4.0]], array![[5.0], [6.0]]);
    let src = (array![[-1.0, -2.0], [-3.0, f64::NAN]], array![[-5.0], [-6.0]]);
    let mark = (array![[0.0, 1.0], [-2.0, 0.0]], array![[0.0], [0.5]]);
    x.take_marked(&src, &mark);
    assert_eq!(x, (array![[1.0, -2.0], [-3.0, 4.0]], array![[5.0], [-6.0]]));
}

/// A closure that guides has no divergence, and a likelihood of it is refused by a sentence.
#[test]
fn guided_samples_have_no_density() {
    let (sde, x) = (VpLinear::default(), array![[0.3, -0.2]]);
    let data = GaussianMixture::isotropic(&[1.0], array![[0.7, 0.1]], &[0.36]).unwrap();
    let as_it_is = |_: &Array2<f64>, _: Lanes<'_>, _: &mut Array2<f64>| Ok(());
    let mut flow = Reverse::probability_flow(&sde, Guided::new(&sde, data.score(&sde), as_it_is));
    let at = Lanes { t: &[0.4], sample: &[0] };
    let (mut v, mut forms) = (x.clone(), [vec![0.0]]);
    flow.drift(&x, at, &mut v).unwrap();
    let refused = flow.drift_and_divergence(&x, at, &mut v, &mut [0.0]).unwrap_err().to_string();
    assert!(refused.contains("has no divergence, which a likelihood needs"), "{refused}");
    let refused = flow.drift_and_forms(&x, at, std::slice::from_ref(&x), &mut v, &mut forms);
    assert!(refused.unwrap_err().to_string().contains("no products with its Jacobian"));
}
