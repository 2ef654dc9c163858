//! The reverse family: every SDE that shares the marginals of the forward process.
//!
//! The density of `dx = f x dt + g dw` obeys the Fokker–Planck equation
//! `∂p/∂t = −∇·(f x p) + (g²/2) Δp`. Because `Δp = ∇·(p ∇log p) = ∇·(p s)`, diffusion may be traded for drift:
//! for any η ≥ 0,
//!
//! ```text
//! ∂p/∂t = −∇·([f x − (g²/2) s] p)                                              (R1)
//! dx = [f x − (1+η²)/2 g² s] dt + η g dw̄      (t running backwards)             (R2)
//! ```
//!
//! have the same `p_t`, and so has the forward member, with `(1−η²)/2` for `(1+η²)/2` (w̄ is a Wiener process in reverse time). η = 1 is Anderson's SDE, η = 0 the
//! probability-flow ODE (Song et al. 2021, arXiv 2011.13456, section 4.3 and appendix D); η > 1 adds Langevin
//! churn and needs no bound, and η may depend on t. For the linear drift the ODE is DDIM's, `d(x/α) = ε* d(σ/α)`; a DDIM
//! step from t to s with its own η is the reverse SDE's in the limit of small steps,
//!
//! ```text
//! σ_DDIM(s, t) = η (σ_s/σ_t) √var(t|s),      σ_DDIM²/(g² (t − s)) → η².            (R4)
//! ```
//!
//! The equality of marginals holds for the exact score only.
//!
//! `f` and `g²` are infinite where α = 0 and a network's ε or D form loses its digits at one of the ends, so the
//! drift is computed in the form that is regular at both: with `v = α' D − (σ²)'/2 s`,
//!
//! ```text
//! drift = v − (η²/2) g² s,      div drift = α' div D − [(σ²)' + η² g²]/2 div s.   (R3)
//! ```

use crate::error::{Result, check, check_size};
use crate::score::{Along, Divergence, Field, Pull, Score};
use crate::sde::{Columns, Sde};
use crate::state::{Lanes, State, check_alike};

/// `η g(t)`, the scale of the reverse-time noise in (R2); 0 for η = 0 even where g is infinite.
#[inline]
pub fn noise_scale(sde: &dyn Sde, eta: f64, t: f64) -> f64 {
    if eta == 0.0 { 0.0 } else { eta * sde.g2(t).sqrt() }
}

/// (R4): the noise of a DDIM step from t to s < t (Song, Meng & Ermon 2020, eq. 16, for any process).
pub fn ddim_sigma(sde: &dyn Sde, eta: f64, s: f64, t: f64) -> f64 {
    eta * sde.sigma(s) / sde.sigma(t) * sde.kernel(s, t).var.sqrt()
}

/// The η for which (R4) gives `sigma`.
pub fn eta_of_ddim_sigma(sde: &dyn Sde, sigma: f64, s: f64, t: f64) -> f64 {
    sigma / ddim_sigma(sde, 1.0, s, t)
}

/// The size of the reverse-time noise in units of g: a number, or a function of t.
#[derive(Clone, Copy)]
pub enum Eta<'a> {
    /// The same at every t.
    Constant(f64),
    /// `η(t)`, not negative.
    OfTime(&'a (dyn Fn(f64) -> f64 + Sync)),
}

impl Eta<'_> {
    /// `η(t)`.
    #[inline]
    pub fn at(self, t: f64) -> f64 {
        match self {
            Self::Constant(eta) => eta,
            Self::OfTime(eta) => eta(t),
        }
    }
}

impl std::fmt::Debug for Eta<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Constant(eta) => write!(f, "{eta}"),
            Self::OfTime(_) => f.write_str("η(t)"),
        }
    }
}

impl From<f64> for Eta<'_> {
    fn from(eta: f64) -> Self {
        Self::Constant(eta)
    }
}

/// A process, a score model and η: the drift and the noise scale of (R2). η = 0 is the probability-flow ODE.
#[derive(Debug)]
pub struct Reverse<'a, X, M> {
    sde: &'a dyn Sde,
    score: M,
    eta: Eta<'a>,
    field: Option<Field<X>>,
    divergence: Divergence,
    forms: Vec<Divergence>,
    columns: Columns,
    to_score: Vec<f64>,
}

impl<'a, X: State, M: Score<X>> Reverse<'a, X, M> {
    /// The member of the family with noise `η g(t)`; η is a number or a function of t, and may exceed 1.
    ///
    /// # Errors
    /// [`Error::Parameter`](crate::Error::Parameter) unless `0 ≤ η < ∞`, a function at both ends of time.
    pub fn new(sde: &'a dyn Sde, score: M, eta: impl Into<Eta<'a>>) -> Result<Self> {
        let eta = eta.into();
        for t in [0.0, sde.end()] {
            check("eta", eta.at(t), eta.at(t) >= 0.0, "a number not below 0")?;
        }
        Ok(Self { eta, ..Self::probability_flow(sde, score) })
    }

    /// The probability-flow ODE, η = 0.
    pub fn probability_flow(sde: &'a dyn Sde, score: M) -> Self {
        let (field, divergence) = (None, Divergence::default());
        let (columns, to_score, forms) = (Columns::default(), Vec::new(), Vec::new());
        let eta = Eta::Constant(0.0);
        Self { sde, score, eta, field, divergence, forms, columns, to_score }
    }

    /// The forward process.
    pub fn sde(&self) -> &'a dyn Sde {
        self.sde
    }

    /// The noise in units of g.
    pub fn eta(&self) -> Eta<'a> {
        self.eta
    }

    /// Writes D and s of every row.
    ///
    /// # Errors
    /// Those of the score model.
    pub fn evaluate(&mut self, x: &X, at: Lanes<'_>, out: &mut Field<X>) -> Result<()> {
        at.check(x.samples())?;
        self.score.evaluate(x, at, out)
    }

    /// Writes the drift (R3) of every row: the velocity `dx/dt` when η = 0.
    ///
    /// # Errors
    /// Those of the score model; for buffers of another size than x.
    pub fn drift(&mut self, x: &X, at: Lanes<'_>, out: &mut X) -> Result<()> {
        self.drift_with_sign(1.0, x, at, out)
    }

    /// Writes the drift of the forward member, `v + (η²/2) g² s`, of every row. With noise `η g dw` forward in time it keeps
    /// `p_t`; it does not keep the transitions `p(x_t | x_0)` unless η = 1.
    ///
    /// # Errors
    /// As [`drift`](Self::drift).
    pub fn forward_drift(&mut self, x: &X, at: Lanes<'_>, out: &mut X) -> Result<()> {
        self.drift_with_sign(-1.0, x, at, out)
    }

    fn drift_with_sign(&mut self, sign: f64, x: &X, at: Lanes<'_>, out: &mut X) -> Result<()> {
        at.check(x.samples())?;
        check_alike("the drift", out, x)?;
        self.set_coefficients(at.t, sign);
        let field = self.field.get_or_insert_with(|| Field::like(x));
        let (columns, to_score) = (&self.columns, &self.to_score[..]);
        let along = Along { sde: self.sde, columns, to_denoised: &columns.d_alpha, to_score };
        self.score.drift(x, at, &along, field, out)
    }

    /// As [`drift`](Self::drift), with its divergence for each row.
    ///
    /// # Errors
    /// Those of the score model; for buffers of another size than x.
    pub fn drift_and_divergence(
        &mut self,
        x: &X,
        at: Lanes<'_>,
        out: &mut X,
        divergence: &mut [f64],
    ) -> Result<()> {
        at.check(x.samples())?;
        check_alike("the drift", out, x)?;
        check_size("divergences of the batch", divergence.len(), x.samples())?;
        self.set_coefficients(at.t, 1.0);
        let field = self.field.get_or_insert_with(|| Field::like(x));
        field.fit(x);
        self.divergence.fit(at.t.len());
        self.score.evaluate_with_divergence(x, at, field, &mut self.divergence)?;
        let to_denoised = &self.columns.d_alpha;
        out.combine(&[(to_denoised, &field.denoised), (&self.to_score, &field.score)]);
        for (i, div) in divergence.iter_mut().enumerate() {
            *div = to_denoised[i] * self.divergence.denoised[i]
                + self.to_score[i] * self.divergence.score[i];
        }
        Ok(())
    }

    /// As [`drift`](Self::drift), with the quadratic form `uᵀ (∂ drift/∂x) u` of each row for every probe u: `forms[k]` is
    /// for `probes[k]`, shaped as `x`. Its mean over probes with `E u uᵀ = I` is the divergence.
    ///
    /// # Errors
    /// As [`drift`](Self::drift); [`Error::NoForms`](crate::Error::NoForms) for models that have none.
    pub fn drift_and_forms(
        &mut self,
        x: &X,
        at: Lanes<'_>,
        probes: &[X],
        out: &mut X,
        forms: &mut [Vec<f64>],
    ) -> Result<()> {
        at.check(x.samples())?;
        check_alike("the drift", out, x)?;
        check_size("forms of the probes", forms.len(), probes.len())?;
        for (probe, form) in probes.iter().zip(&*forms) {
            check_alike("a probe", probe, x)?;
            check_size("forms of the batch", form.len(), x.samples())?;
        }
        self.set_coefficients(at.t, 1.0);
        let field = self.field.get_or_insert_with(|| Field::like(x));
        field.fit(x);
        self.forms.resize_with(probes.len(), Divergence::default);
        self.forms.iter_mut().for_each(|form| form.fit(at.t.len()));
        self.score.evaluate_with_forms(x, at, probes, field, &mut self.forms)?;
        out.combine(&[(&self.columns.d_alpha, &field.denoised), (&self.to_score, &field.score)]);
        for (form, of) in forms.iter_mut().zip(&self.forms) {
            for (i, form) in form.iter_mut().enumerate() {
                *form = self.columns.d_alpha[i] * of.denoised[i] + self.to_score[i] * of.score[i];
            }
        }
        Ok(())
    }

    /// Writes the gradient `∂/∂x (⟨w, drift⟩ + c div drift)` of every row, (S3) with w = `cotangent` and c = `weight`, and the
    /// divergence; the latter is that of `probes` where there are some. It leaves [`field`](Self::field) as it is.
    ///
    /// # Errors
    /// As [`drift`](Self::drift); [`Error::NoPullBack`](crate::Error::NoPullBack) for models without second derivatives.
    pub fn pull_back(
        &mut self,
        x: &X,
        at: Lanes<'_>,
        (cotangent, weight): (&X, &[f64]),
        probes: Option<&[X]>,
        divergence: &mut [f64],
        out: &mut X,
    ) -> Result<()> {
        at.check(x.samples())?;
        check_alike("the cotangent", cotangent, x)?;
        check_alike("the gradient", out, x)?;
        check_size("weights of the divergence", weight.len(), x.samples())?;
        check_size("divergences of the batch", divergence.len(), x.samples())?;
        probes.unwrap_or(&[]).iter().try_for_each(|probe| check_alike("a probe", probe, x))?;
        self.set_coefficients(at.t, 1.0);
        let (columns, to_score) = (&self.columns, &self.to_score[..]);
        let along = Along { sde: self.sde, columns, to_denoised: &columns.d_alpha, to_score };
        self.score.pull_back(x, at, &Pull { along, cotangent, weight, probes }, divergence, out)
    }

    /// D and s where a drift was evaluated last with its divergence or its forms; a drift alone may be found without them.
    pub fn field(&self) -> Option<&Field<X>> {
        self.field.as_ref()
    }

    /// The factors of D and s in (R3) at each row's time; sign −1 for the forward member.
    fn set_coefficients(&mut self, t: &[f64], sign: f64) {
        self.sde.columns(t, &mut self.columns);
        let eta_g = t.iter().map(|t| noise_scale(self.sde, self.eta.at(*t), *t));
        let noisy = self.columns.d_sigma2.iter().zip(eta_g).map(|(d, g)| -0.5 * (d + sign * g * g));
        self.to_score.clear();
        self.to_score.extend(noisy);
    }
}
