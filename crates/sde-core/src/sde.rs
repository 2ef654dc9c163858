//! The forward process and its coefficients, all `f64 → f64` on the host.
//!
//! Every process adds Gaussian noise to data with a scalar schedule,
//!
//! ```text
//! x_t = α(t) x_0 + σ(t) ε,   ε ~ N(0, I),   t = 0 data, t = T noise,          (F1)
//! dx = f(t) x dt + g(t) dw,                                                   (F2)
//! f = α'/α,   g² = (σ²)' − 2 f σ²,   λ = ln(α²/σ²),   λ' = −g²/σ².            (F3)
//! ```
//!
//! (F3) follows from (F2) by Itô's rule for the mean, `α' = f α`, and the variance,
//! `(σ²)' = 2 f σ² + g²` (Song et al. 2021, arXiv 2011.13456, appendix B). A process states
//! `α, σ, α', (σ²)'` — these stay finite at both ends of time where f and g² need not — and each of the
//! rest in the form that loses no digits: `−expm1(−B)`, never `1 − exp(−B)`.

mod custom;
mod exploding;
mod preserving;
mod vp;

pub use custom::Custom;
pub use exploding::{Edm, RectifiedFlow, VarianceExploding};
pub use preserving::{SubVp, VpCosine};
pub use vp::VpLinear;

use serde::{Deserialize, Serialize};
use std::fmt::Debug;
use std::ops::Deref;

/// `α, σ` and the derivatives `α', (σ²)', σ'` at one time: all that motion along the flow needs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Coefficients {
    /// Amplitude of the data, `α(t)`.
    pub alpha: f64,
    /// Standard deviation of the noise, `σ(t)`.
    pub sigma: f64,
    /// `dα/dt`.
    pub d_alpha: f64,
    /// `d(σ²)/dt`.
    pub d_sigma2: f64,
    /// `dσ/dt`; infinite where σ starts like a square root, as at t = 0 of VP.
    pub d_sigma: f64,
}

/// [`Coefficients`] at many times, a column for each.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Columns {
    /// `α`.
    pub alpha: Vec<f64>,
    /// `σ²`.
    pub sigma2: Vec<f64>,
    /// `dα/dt`.
    pub d_alpha: Vec<f64>,
    /// `d(σ²)/dt`.
    pub d_sigma2: Vec<f64>,
}

impl Columns {
    /// Gives every column `rows` entries.
    pub fn fit(&mut self, rows: usize) {
        let all = [&mut self.alpha, &mut self.sigma2, &mut self.d_alpha, &mut self.d_sigma2];
        all.into_iter().for_each(|column| column.resize(rows, 0.0));
    }
}

/// The Gaussian transition `q(x_t | x_s) = N(a x_s, var I)` for s < t:
/// `a = α_t/α_s`, `var = σ_t² − a² σ_s²`, without the cancellation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Kernel {
    /// Amplitude ratio `α_t/α_s`.
    pub a: f64,
    /// Variance added between s and t.
    pub var: f64,
}

/// A forward process with a scalar schedule; see the module's equations (F1)–(F3).
///
/// Object-safe on purpose: solvers and models hold `&dyn Sde`.
pub trait Sde: Debug + Send + Sync {
    /// `α, σ, α', (σ²)'` at t.
    fn coefficients(&self, t: f64) -> Coefficients;
    /// [`coefficients`](Self::coefficients) at each of the times.
    fn columns(&self, t: &[f64], out: &mut Columns) {
        out.fit(t.len());
        for (i, &t) in t.iter().enumerate() {
            let k = self.coefficients(t);
            (out.alpha[i], out.sigma2[i]) = (k.alpha, k.sigma * k.sigma);
            (out.d_alpha[i], out.d_sigma2[i]) = (k.d_alpha, k.d_sigma2);
        }
    }
    /// Drift coefficient `f = α'/α`; infinite where α = 0.
    fn f(&self, t: f64) -> f64;
    /// Squared diffusion coefficient `g²`; infinite where α = 0.
    fn g2(&self, t: f64) -> f64;
    /// `λ(t) = ln(α²/σ²)`, strictly decreasing.
    fn log_snr(&self, t: f64) -> f64;
    /// `dλ/dt`.
    fn d_log_snr(&self, t: f64) -> f64;
    /// The inverse `t(λ)`.
    fn time_of_log_snr(&self, log_snr: f64) -> f64;
    /// The transition from s to t, s < t, where `α_s > 0`.
    fn kernel(&self, s: f64, t: f64) -> Kernel;
    /// The end T of time, where sampling starts.
    fn end(&self) -> f64 {
        1.0
    }
    /// `α(t)`.
    fn alpha(&self, t: f64) -> f64 {
        self.coefficients(t).alpha
    }
    /// `σ(t)`.
    fn sigma(&self, t: f64) -> f64 {
        self.coefficients(t).sigma
    }
}

/// Every process of this crate under one name, for configuration files.
///
/// ```
/// use sde_core::sde::{Process, Sde};
/// let p: Process = serde_json::from_str(
///     r#"{"name": "vp-linear", "beta_min": 0.1, "beta_max": 20.0}"#)?;
/// assert!(p.alpha(1.0) < 0.007);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name")]
pub enum Process {
    /// Variance preserving, β linear in t.
    #[serde(rename = "vp-linear", alias = "vp_linear")]
    VpLinear(VpLinear),
    /// Variance preserving, cosine schedule in continuous time.
    #[serde(rename = "vp-cosine", alias = "vp_cosine")]
    VpCosine(VpCosine),
    /// Sub-variance preserving.
    #[serde(rename = "sub-vp", alias = "sub_vp")]
    SubVp(SubVp),
    /// Variance exploding, σ geometric in t.
    #[serde(rename = "ve")]
    VarianceExploding(VarianceExploding),
    /// Karras et al.: α = 1, σ = t.
    #[serde(rename = "edm")]
    Edm(Edm),
    /// Rectified flow: α = 1 − t, σ = t.
    #[serde(rename = "rectified", alias = "ot")]
    RectifiedFlow(RectifiedFlow),
}

impl Deref for Process {
    type Target = dyn Sde;
    fn deref(&self) -> &Self::Target {
        match self {
            Self::VpLinear(p) => p,
            Self::VpCosine(p) => p,
            Self::SubVp(p) => p,
            Self::VarianceExploding(p) => p,
            Self::Edm(p) => p,
            Self::RectifiedFlow(p) => p,
        }
    }
}
