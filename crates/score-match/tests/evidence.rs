//! The bound is a bound: on a chain whose evidence and posterior are known, term by term and for any law of the latents.

#![allow(clippy::unwrap_used)]

use nalgebra::{DMatrix, DVector};
use score_match::elbo::{ChainElbo, ReverseVariance};
use sde_core::chain::DdpmChain;

fn log_normal(x: f64, mean: f64, v: f64) -> f64 {
    -0.5 * ((x - mean).powi(2) / v + (std::f64::consts::TAU * v).ln())
}

/// A chain of 4 steps with linear denoisers and the joint law of its model, `(x_0, …, x_4)`.
struct Small {
    chain: DdpmChain,
    denoiser: [(f64, f64); 4],
    mean: DVector<f64>,
    covariance: DMatrix<f64>,
}

impl Small {
    fn new() -> Self {
        let chain = DdpmChain::new(vec![0.1, 0.25, 0.3, 0.6]).unwrap();
        let denoiser = [(0.9, 0.05), (0.7, 0.1), (0.5, 0.3), (0.2, 0.6)];
        // x = K z + shift for z ~ N(0, I): x_{t−1} = gain x_t + offset + std z, from x_4 down.
        let (mut k, mut mean) = (DMatrix::zeros(5, 5), DVector::zeros(5));
        k[(4, 4)] = 1.0;
        for t in (1..=4).rev() {
            let step = chain.step(t).unwrap();
            let (posterior, (a, b)) = (step.posterior(), denoiser[t - 1]);
            let gain = posterior.coef_x0 * a + posterior.coef_xt;
            let row = k.row(t) * gain;
            k.set_row(t - 1, &row);
            k[(t - 1, t - 1)] = step.beta.sqrt();
            mean[t - 1] = gain * mean[t] + posterior.coef_x0 * b;
        }
        Self { chain, denoiser, mean, covariance: &k * k.transpose() }
    }

    fn log_evidence(&self, x0: f64) -> f64 {
        log_normal(x0, self.mean[0], self.covariance[(0, 0)])
    }

    /// Mean and covariance of the forward chain `(x_1, …, x_4)` from x0.
    fn forward(&self, x0: f64) -> (DVector<f64>, DMatrix<f64>) {
        let log_abar = &self.chain.log_abar()[1..];
        let mean = DVector::from_fn(4, |i, _| (0.5 * log_abar[i]).exp() * x0);
        let covariance = DMatrix::from_fn(4, 4, |i, j| {
            let (s, t) = (log_abar[i.min(j)], log_abar[i.max(j)]);
            (0.5 * (t - s)).exp() * -s.exp_m1()
        });
        (mean, covariance)
    }

    /// The model's posterior of `(x_1, …, x_4)` given x0.
    fn posterior(&self, x0: f64) -> (DVector<f64>, DMatrix<f64>) {
        let cross = self.covariance.view((1, 0), (4, 1)).clone_owned();
        let gain = &cross / self.covariance[(0, 0)];
        let mean = self.mean.rows(1, 4) + gain.column(0) * (x0 - self.mean[0]);
        (mean, self.covariance.view((1, 1), (4, 4)) - gain * cross.transpose())
    }

    /// `E_q log p(x_0, z) − E_q log q(z)` for a Gaussian q.
    fn elbo(&self, x0: f64, (mean, covariance): &(DVector<f64>, DMatrix<f64>)) -> f64 {
        let precision = self.covariance.clone().try_inverse().unwrap();
        let mut error = DVector::zeros(5);
        error[0] = x0 - self.mean[0];
        error.rows_mut(1, 4).copy_from(&(mean - self.mean.rows(1, 4)));
        let spread = (precision.view((1, 1), (4, 4)) * covariance).trace();
        let quadratic = (error.transpose() * &precision * &error)[(0, 0)];
        let tau = std::f64::consts::TAU.ln();
        let log_joint =
            -0.5 * (5.0 * tau + self.covariance.determinant().ln() + spread + quadratic);
        log_joint + 0.5 * (4.0 * (tau + 1.0) + covariance.determinant().ln())
    }
}

fn divergence((m, s): &(DVector<f64>, DMatrix<f64>), (n, r): &(DVector<f64>, DMatrix<f64>)) -> f64 {
    let precision = r.clone().try_inverse().unwrap();
    let shift = n - m;
    let quadratic = (shift.transpose() * &precision * &shift)[(0, 0)];
    let ratio = r.determinant().ln() - s.determinant().ln();
    0.5 * ((precision * s).trace() + quadratic - m.len() as f64 + ratio)
}

/// R20: the sum of terms and the divergence from the posterior make the evidence; the posterior makes it alone, and
/// every other law of the latents less.
#[test]
fn r20_bound_and_divergence_make_the_evidence() {
    let model = Small::new();
    for x0 in [-1.3, 0.2, 2.5] {
        let (forward, posterior) = (model.forward(x0), model.posterior(x0));
        let errors: Vec<f64> = (0..4)
            .map(|i| {
                let (a, b) = model.denoiser[i];
                (x0 - a * forward.0[i] - b).powi(2) + a * a * forward.1[(i, i)]
            })
            .collect();
        let terms = ChainElbo::of_errors(&model.chain, ReverseVariance::Large, &errors, x0 * x0, 1)
            .unwrap();
        let (bound, evidence) = (-terms.negative_log_likelihood(), model.log_evidence(x0));
        assert!((bound - model.elbo(x0, &forward)).abs() < 1e-10, "{bound}");
        assert!((bound + divergence(&forward, &posterior) - evidence).abs() < 1e-10);
        assert!((model.elbo(x0, &posterior) - evidence).abs() < 1e-10);
        for scale in [0.5, 0.99, 1.3] {
            let other = (posterior.0.clone(), &posterior.1 * scale);
            assert!(model.elbo(x0, &other) < evidence - 1e-5);
        }
    }
}
