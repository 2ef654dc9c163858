//! Where memory runs out the batch is cut, and the result is the same; a single sample that does not fit is an error.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp)]
#![allow(clippy::cast_possible_wrap, clippy::cast_sign_loss)]

mod common;

use std::cell::{Cell, RefCell};

use common::{VP, apart, coefficients, describe, lanes, model, noised, numbers, sentence};
use models::tch::Tensor;
use models::{Batch, Error, Input, Network, NetworkScore};
use sde_core::score::Field;
use sde_core::{Divergence, Prediction, Score};

/// A network on a machine whose memory holds so many samples, and the sizes of the batches that it was given.
struct Small<'a> {
    network: &'a dyn Network,
    fits: Cell<usize>,
    seen: RefCell<Vec<usize>>,
}

impl std::fmt::Debug for Small<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Small")
    }
}

impl Network for Small<'_> {
    fn forward(&self, input: Input<'_>) -> models::Result<Tensor> {
        let n = input.label.len();
        self.seen.borrow_mut().push(n);
        if n > self.fits.get() {
            let text = "DefaultCPUAllocator: can't allocate memory".to_owned();
            return Err(Error::Torch(models::torch_ext::Error::OutOfMemory(text)));
        }
        self.network.forward(input)
    }
}

const SAMPLES: [u64; 7] = [0, 1, 2, 3, 4, 5, 6];
const T: [f64; 7] = [0.4, 0.05, 0.9, 0.65, 0.2, 0.3, 0.7];

#[test]
fn a_batch_that_does_not_fit_is_cut() {
    for prediction in [Prediction::Epsilon, Prediction::Edm { sigma_data: 0.8 }] {
        let model = model(&[], describe(&VP, prediction));
        let description = model.description.as_ref().unwrap();
        let x = noised(3, &coefficients(description, &T));
        let probes =
            [noised(4, &coefficients(description, &T)), noised(5, &coefficients(description, &T))];
        let evaluate = |score: &mut NetworkScore<'_>| {
            let (mut value, mut traced, mut formed) =
                (Field::like(&x), Field::like(&x), Field::like(&x));
            let mut divergence = Divergence::default();
            let mut forms = [Divergence::default(), Divergence::default()];
            let at = lanes(&T, &SAMPLES);
            score.evaluate(&x, at, &mut value).unwrap();
            score.evaluate_with_divergence(&x, at, &mut traced, &mut divergence).unwrap();
            score.evaluate_with_forms(&x, at, &probes, &mut formed, &mut forms).unwrap();
            let mut all: Vec<Vec<f64>> = Vec::new();
            for field in [&value, &traced, &formed] {
                all.push(numbers(field.denoised.tensor()));
                all.push(numbers(field.score.tensor()));
            }
            for d in [&divergence, &forms[0], &forms[1]] {
                all.push(d.denoised.clone());
            }
            all
        };
        let expected = evaluate(&mut NetworkScore::new(&*model.network, description));
        let small =
            Small { network: &*model.network, fits: Cell::new(2), seen: RefCell::default() };
        let mut score = NetworkScore::new(&small, description);
        assert_eq!(score.limit(), None);
        for (found, expected) in evaluate(&mut score).iter().zip(&expected) {
            let size = expected.iter().fold(1.0, |m: f64, y| m.max(y.abs()));
            assert!(apart(found, expected) < 1e-5 * size);
        }
        assert_eq!(score.limit(), Some(2));
        // The first batch is halved twice; all later ones come in twos at once.
        assert_eq!(small.seen.borrow()[..6], [7, 4, 2, 2, 2, 1]);
        assert!(small.seen.borrow()[6..].iter().all(|&n| n <= 2));
    }
}

#[test]
fn a_sample_that_does_not_fit_is_an_error() {
    let model = model(&[], describe(&VP, Prediction::Epsilon));
    let description = model.description.as_ref().unwrap();
    let small = Small { network: &*model.network, fits: Cell::new(0), seen: RefCell::default() };
    let mut score = NetworkScore::new(&small, description);
    let x: Batch = noised(3, &coefficients(description, &T));
    let mut out = Field::like(&x);
    let text = sentence(score.evaluate(&x, lanes(&T, &SAMPLES), &mut out).unwrap_err());
    assert!(text.contains("out of memory: DefaultCPUAllocator"), "{text}");
    assert_eq!(score.limit(), Some(1));
}
