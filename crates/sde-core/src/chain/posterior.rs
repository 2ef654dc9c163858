//! One step of a DDPM chain: its signal-to-noise ratio, the posterior `q(x_{t−1} | x_t, x_0)`, reverse variances and
//! the weights of the loss (Ho et al. 2020; Luo 2022, arXiv 2208.11970, equations 84–148).
//!
//! ```text
//! q(x_{t−1} | x_t, x_0) = N(c x_0 + d x_t, β̃ I),   c = √ᾱ_{t−1} β/(1−ᾱ_t),
//!                         d = √(1−β) (1−ᾱ_{t−1})/(1−ᾱ_t),   β̃ = β (1−ᾱ_{t−1})/(1−ᾱ_t)             (C10)
//! KL = w_x0 |x_0 − x̂_0|² = w_eps |ε − ε̂|² = w_score |s − ŝ|²,   w_x0 = β ᾱ_{t−1}/(2 (1−ᾱ_t)(1−ᾱ_{t−1})),
//!      w_eps = β/(2 (1−β)(1−ᾱ_{t−1})),   w_score = w_eps (1−ᾱ_t)                                    (C11)
//! ```
//!
//! c + d is not 1: the mean is no interpolation. At t = 1 the posterior is the point `x_0`, exactly (1, 0, 0); the sum
//! of KL terms therefore starts at t = 2, and t = 1 is the reconstruction term with a variance of its own. In (C11) s
//! is the score `−ε/√(1−ᾱ_t)` of `q(x_t | x_0)`, and both Gaussians have the variance β̃. `w_x0` is half the fall of
//! the signal-to-noise ratio from t−1 to t.
//!
//! The reverse process itself is Gaussian only for Gaussian data or in the limit β → 0, so the variance is a choice.

/// All values at step t of a chain.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DdpmStep {
    /// t, from 1.
    pub t: usize,
    /// `β_t`.
    pub beta: f64,
    /// `ln ᾱ_t`.
    pub log_abar: f64,
    /// `ln ᾱ_{t−1}`.
    pub log_abar_prev: f64,
}

/// (C10): the Gaussian `q(x_{t−1} | x_t, x_0)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Posterior {
    /// c, the weight of `x_0` in the mean.
    pub coef_x0: f64,
    /// d, the weight of `x_t` in the mean.
    pub coef_xt: f64,
    /// β̃, the variance of each coordinate.
    pub var: f64,
}

/// The variance of a reverse step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Variance {
    /// β̃: optimal for data that are one point. Any other data have wider reverse steps, and their likelihood bound pays
    /// for it, so this is not a choice for likelihoods.
    Small,
    /// β: optimal for data N(0, I).
    Large,
    /// `β̃ + c² mmse`: the optimal one, with `mmse = tr Cov(x_0 | x_t)/d` in the mean over `x_t`
    /// (Bao et al. 2022, arXiv 2201.06503).
    Optimal {
        /// Mean squared error of the best denoiser, per dimension.
        mmse: f64,
    },
}

/// (C11): the three weights that make the same KL divergence of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KlWeights {
    /// Weight of `|x_0 − x̂_0|²`.
    pub x0: f64,
    /// Weight of `|ε − ε̂|²`; infinite where `β = 1`, as ε then says nothing of `x_0`.
    pub eps: f64,
    /// Weight of `|s − ŝ|²`; infinite where `eps` is.
    pub score: f64,
}

impl DdpmStep {
    /// `1 − β_t`.
    pub fn alpha(&self) -> f64 {
        1.0 - self.beta
    }
    /// `ᾱ_t`.
    pub fn abar(&self) -> f64 {
        self.log_abar.exp()
    }
    /// `1 − ᾱ_t`.
    pub fn one_minus_abar(&self) -> f64 {
        -self.log_abar.exp_m1()
    }
    /// `ᾱ_t/(1 − ᾱ_t)`.
    pub fn snr(&self) -> f64 {
        self.abar() / self.one_minus_abar()
    }
    /// `λ_t = ln(ᾱ_t/(1 − ᾱ_t))`.
    pub fn log_snr(&self) -> f64 {
        self.log_abar - self.one_minus_abar().ln()
    }
    /// (C10).
    pub fn posterior(&self) -> Posterior {
        if self.t == 1 {
            return Posterior { coef_x0: 1.0, coef_xt: 0.0, var: 0.0 };
        }
        let before = -self.log_abar_prev.exp_m1(); // 1 − ᾱ_{t−1}
        let (noise, kept) = (self.beta / self.one_minus_abar(), before / self.one_minus_abar());
        Posterior {
            coef_x0: (0.5 * self.log_abar_prev).exp() * noise,
            coef_xt: self.alpha().sqrt() * kept,
            var: self.beta * kept,
        }
    }
    /// The variance of a reverse step; 0 for [`Variance::Small`] at t = 1.
    pub fn variance(&self, variance: Variance) -> f64 {
        let posterior = self.posterior();
        match variance {
            Variance::Small => posterior.var,
            Variance::Large => self.beta,
            Variance::Optimal { mmse } => posterior.coef_x0.powi(2).mul_add(mmse, posterior.var),
        }
    }
    /// (C11); `None` at t = 1, where the posterior has no width.
    pub fn kl_weights(&self) -> Option<KlWeights> {
        let before = -self.log_abar_prev.exp_m1();
        (self.t > 1).then(|| {
            let (common, noise) = (0.5 * self.beta / before, self.one_minus_abar());
            let eps = common / self.alpha();
            KlWeights { x0: common * self.log_abar_prev.exp() / noise, eps, score: eps * noise }
        })
    }
}

impl Posterior {
    /// The mean `c x_0 + d x_t` of one coordinate.
    pub fn mean(&self, x0: f64, xt: f64) -> f64 {
        self.coef_x0 * x0 + self.coef_xt * xt
    }
}
