//! What step k sees: which rows, dequantised how, at which times, under which noise, and what the network is to say.
//!
//! ```text
//! x_t = α x_0 + σ ε,     input c_in x_t,     target y = a x_0 + b ε,     weight w_y/(2q)     (M1), (M3), (M5), (M6)
//! ```
//!
//! All of it is a function of (seed, k). Epoch e shows every row once, in an order of its own; step k takes the next B.
//! The draws of row i of step k are keyed by the number `(k − 1) B + i`.

use std::ops::Range;

use models::Description;
use ndarray::{Array2, ArrayViewMut1, Axis};
use score_match::perturb;
use score_match::residual::target;
use score_match::times::{Times, strata};
use sde_core::{Noise, Prediction, Purpose, Sde};

use super::augment::Transform;
use super::config::TrainConfig;
use super::error::Result;
use super::examples::Examples;

/// Steps of the keyed noise: what a draw is for. `examples` and `augment` have the others.
const TIMES: u32 = 2;
const ORDER: u32 = 3;
const DROPOUT: u32 = 4;
const CLASS: u32 = 6;

/// A batch as the loss takes it; entry or row i of each field belongs to sample i.
#[derive(Clone, Debug)]
pub struct Drawn {
    /// Rows of the data set.
    pub rows: Vec<usize>,
    /// `c_in x_t`, sample after sample.
    pub input: Vec<f32>,
    /// y.
    pub target: Vec<f32>,
    /// What the network is told of the time.
    pub label: Vec<f64>,
    /// What it is told of the class.
    pub class: Option<Vec<i64>>,
    /// Factor of `|ŷ − y|²/d` in the loss.
    pub weight: Vec<f64>,
    /// λ.
    pub log_snr: Vec<f64>,
    /// The key of what dropout drops.
    pub keys: Vec<u64>,
    /// What was done to each image, [`LABEL`](super::augment::LABEL) numbers a sample.
    pub augmented: Option<Vec<f64>>,
}

impl Drawn {
    /// How many samples there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The samples of part i of n equal ones.
    pub fn part(&self, i: usize, n: usize) -> Range<usize> {
        let size = self.len() / n.max(1);
        i * size..(i + 1) * size
    }
}

/// What one thread needs to make batches; it remembers the order of the last epoch.
#[derive(Debug)]
pub struct Batches<'a> {
    config: &'a TrainConfig,
    description: &'a Description,
    examples: &'a Examples,
    noise: Noise,
    times: Times<'a>,
    epoch: Option<(u64, Vec<usize>)>,
}

impl<'a> Batches<'a> {
    /// Batches of these examples.
    ///
    /// # Errors
    /// A law of times that the process does not have.
    pub fn new(
        config: &'a TrainConfig,
        description: &'a Description,
        examples: &'a Examples,
    ) -> Result<Self> {
        let process: &dyn Sde = &*description.process;
        let span = (description.t_min, process.end());
        let times = config.training.times.on(process, config.training.weighting, span)?;
        let noise = Noise::new(config.seed, Purpose::Training);
        Ok(Self { config, description, examples, noise, times, epoch: None })
    }

    /// What step k sees.
    ///
    /// # Errors
    /// A file of the data that can no longer be read; a prediction that is infinite at a time of the law.
    pub fn draw(&mut self, k: u64) -> Result<Drawn> {
        let n = self.config.training.batch;
        let first = (k - 1) * n as u64;
        let samples: Vec<u64> = (first..first + n as u64).collect();
        let rows = self.rows(&samples);
        let (t, weight) = self.times(n, k)?;
        let mut x0 = self.examples.points(&self.noise, &rows, &samples)?;
        let augmented = self.augment(&mut x0, &samples);
        let eps = self.examples.noise(&self.noise, &samples);
        let (input, target) = self.seen(&x0, &eps, &t)?;
        let process = &self.description.process;
        let label = t.iter().map(|&t| self.description.label.at(process, t)).collect();
        let log_snr = t.iter().map(|&t| process.log_snr(t)).collect();
        let class = self.classes(&rows, &samples);
        let keys = samples.iter().map(|&i| self.noise.word(i, DROPOUT)).collect();
        Ok(Drawn { rows, input, target, label, class, weight, log_snr, keys, augmented })
    }

    /// Does to the images what the network is told of.
    fn augment(&self, x0: &mut Array2<f64>, samples: &[u64]) -> Option<Vec<f64>> {
        let p = self.config.data.augment;
        let &[_, height, width] = self.examples.shape() else { return None };
        let side = |n: i64| usize::try_from(n).unwrap_or(0);
        let size = (side(height), side(width));
        let one = |(mut image, &sample): (ArrayViewMut1<'_, f64>, &u64)| {
            let transform = Transform::draw(&self.noise, sample, p, size);
            if let Some(image) = image.as_slice_mut() {
                transform.apply(image, size); // always: rows are whole
            }
            transform.label
        };
        (p > 0.0).then(|| x0.outer_iter_mut().zip(samples).flat_map(one).collect())
    }

    /// Times in strata of their law, and the weights of the squared errors there.
    fn times(&self, n: usize, k: u64) -> Result<(Vec<f64>, Vec<f64>)> {
        let mut u = [0.0];
        self.noise.uniform(k, TIMES, &mut u);
        let (training, prediction) = (&self.config.training, self.description.prediction);
        let process: &dyn Sde = &*self.description.process;
        let of = |u: f64| {
            let drawn = self.times.at(u);
            if !training.divide_by_law {
                let weight = training.weighting.weight_of(prediction, process, drawn.t)?;
                return Ok((drawn.t, weight));
            }
            let k = process.coefficients(drawn.t);
            let of_epsilon = prediction.into(Prediction::Epsilon, k)?.value;
            Ok((drawn.t, drawn.weight * of_epsilon * of_epsilon))
        };
        strata(n, u[0]).map(of).collect()
    }

    /// `c_in x_t` and y.
    fn seen(&self, x0: &Array2<f64>, eps: &Array2<f64>, t: &[f64]) -> Result<(Vec<f32>, Vec<f32>)> {
        let Description { process, prediction, .. } = self.description;
        let (mut x, mut y) = (x0.clone(), x0.clone());
        perturb(&**process, x0, eps, t, &mut x)?;
        target(*prediction, &**process, (x0, eps), t, &mut y)?;
        for (mut row, &t) in x.axis_iter_mut(Axis(0)).zip(t) {
            row *= prediction.input_scale(process.coefficients(t));
        }
        let single = |values: Array2<f64>| values.iter().map(|&v| v as f32).collect();
        Ok((single(x), single(y)))
    }

    /// The classes that the network is told: some samples are shown without theirs, as the last one of the table.
    fn classes(&self, rows: &[usize], samples: &[u64]) -> Option<Vec<i64>> {
        let classes = self.config.classes()?;
        let hidden = |&sample: &u64| {
            let mut u = [0.0];
            self.noise.uniform(sample, CLASS, &mut u);
            u[0] < self.config.training.label_dropout
        };
        let told = |(&row, sample): (&usize, &u64)| {
            let class = self.examples.class(row)?;
            Some(if hidden(sample) { classes } else { class })
        };
        rows.iter().zip(samples).map(told).collect()
    }

    /// The rows with these numbers in the endless sequence of epochs.
    fn rows(&mut self, numbers: &[u64]) -> Vec<usize> {
        if self.examples.is_endless() {
            return numbers.iter().map(|&number| number as usize).collect();
        }
        let len = self.examples.len() as u64;
        let mut row = |&number: &u64| {
            let (e, place) = (number / len, (number % len) as usize);
            if self.epoch.as_ref().is_none_or(|(known, _)| *known != e) {
                self.epoch = Some((e, order(&self.noise, self.examples.len(), e)));
            }
            self.epoch.as_ref().map_or(0, |(_, order)| order[place])
        };
        numbers.iter().map(&mut row).collect()
    }
}

/// The order of epoch e: by random keys.
fn order(noise: &Noise, len: usize, e: u64) -> Vec<usize> {
    let mut keys = vec![0.0; len];
    noise.uniform(e, ORDER, &mut keys);
    let mut order: Vec<usize> = (0..len).collect();
    order.sort_by(|&a, &b| keys[a].total_cmp(&keys[b]).then(a.cmp(&b)));
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Equal keys would drop the same units at every step, and train a part of the network only.
    #[test]
    fn every_sample_of_every_step_drops_other_units() {
        let keys = |seed| {
            let noise = Noise::new(seed, Purpose::Training);
            (0..2000).map(move |sample| noise.word(sample, DROPOUT))
        };
        let distinct: std::collections::HashSet<u64> = keys(0).chain(keys(1)).collect();
        assert_eq!(distinct.len(), 4000);
        assert!(keys(7).eq(keys(7)));
    }

    #[test]
    fn every_epoch_has_an_order_of_its_own() {
        let noise = Noise::new(1, Purpose::Training);
        let [a, b] = [0, 1].map(|e| order(&noise, 50, e));
        assert_ne!(a, b);
        let mut sorted = a;
        sorted.sort_unstable();
        assert!(sorted.into_iter().eq(0..50));
    }
}
