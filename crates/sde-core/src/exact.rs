//! Scores known in closed form: Gaussian mixtures, of which one Gaussian is the case K = 1.
//!
//! Data `p_0 = Σ_k w_k N(m_k, C_k)` under `x_t = α x_0 + σ ε` stay a mixture, with `V_k = α² C_k + σ² I`:
//!
//! ```text
//! p_t = Σ_k w_k N(α m_k, V_k),        r_k = w_k N(x; α m_k, V_k) / p_t(x)             (G1)
//! s_k = −V_k⁻¹ (x − α m_k),           s = Σ r_k s_k                                   (G2)
//! D_k = m_k + α C_k V_k⁻¹ (x − α m_k), D = Σ r_k D_k                                  (G3)
//! div s = Σ r_k (−tr V_k⁻¹ + |s_k − s|²)                                              (G4)
//! div D = Σ r_k (α tr(C_k V_k⁻¹) + (D_k − D)·(s_k − s))                               (G5)
//! tr Cov(x_0|x_t) = Σ r_k (σ² tr(C_k V_k⁻¹) + |D_k − D|²)                             (G6)
//! ```
//!
//! Each `C_k = Q Λ Qᵀ` is kept by its eigenvalues, so that `V_k` costs `α² Λ + σ²`. The `r_k` come from a
//! log-sum-exp and the second moments in (G4)–(G6) are centred: both stay exact 20 σ away from every mode.

mod adjoint;
mod bulk;
mod component;
mod forms;
mod isotropic;
mod jacobian;
mod line;
mod planar;
mod score;

pub use jacobian::{Asymmetry, asymmetry};
pub use line::LinePoint;
pub use score::{MixtureScore, PointValues};

use crate::error::{Error, Result, check, check_size};
use component::Components;
use isotropic::Isotropic;
use nalgebra::{DMatrix, SymmetricEigen};
use ndarray::{Array1, Array2, Array3, ArrayView2, Axis};

/// A Gaussian mixture in d dimensions: the ground truth for samplers, likelihoods and networks.
#[derive(Clone, Debug)]
pub struct GaussianMixture {
    log_weights: Vec<f64>,
    means: Array2<f64>,
    covariances: Covariances,
}

/// Covariances of the components by their eigenvalues and, where they are not diagonal, eigenvectors.
#[derive(Clone, Debug)]
enum Covariances {
    /// `C_k = c_k I`.
    Isotropic(Vec<f64>),
    /// `C_k = diag(row k)`.
    Diagonal(Array2<f64>),
    /// Eigenvalues (K, d); eigenvectors (K, d, d), row i of slice k the i-th one.
    Full { values: Array2<f64>, vectors: Array3<f64> },
}

impl GaussianMixture {
    /// Components `N(m_k, c_k I)`: `means` of shape (K, d), `variances` `c_k ≥ 0`.
    ///
    /// A component of variance 0 is a point mass: fine wherever σ > 0; at σ = 0 it has no density and every value is NaN.
    ///
    /// # Errors
    /// When sizes disagree, weights are not positive or do not sum to 1 within 1e-9, or a variance is negative.
    pub fn isotropic(weights: &[f64], means: Array2<f64>, variances: &[f64]) -> Result<Self> {
        check_size("variances of the mixture", variances.len(), means.nrows())?;
        for &c in variances {
            check("variance", c, c >= 0.0, "a number not below 0")?;
        }
        Self::new(weights, means, Covariances::Isotropic(variances.to_vec()))
    }

    /// Components `N(m_k, diag(variances_k))`; `variances` of shape (K, d).
    ///
    /// # Errors
    /// As [`isotropic`](Self::isotropic).
    pub fn diagonal(weights: &[f64], means: Array2<f64>, variances: &Array2<f64>) -> Result<Self> {
        check_size("rows of the variances", variances.nrows(), means.nrows())?;
        check_size("columns of the variances", variances.ncols(), means.ncols())?;
        for &c in variances {
            check("variance", c, c >= 0.0, "a number not below 0")?;
        }
        let variances = variances.as_standard_layout().into_owned();
        Self::new(weights, means, Covariances::Diagonal(variances))
    }

    /// Components `N(m_k, C_k)`; `covariances` of shape (K, d, d), each symmetric positive semi-definite.
    ///
    /// # Errors
    /// As [`isotropic`](Self::isotropic), and [`Error::Covariance`].
    pub fn full(weights: &[f64], means: Array2<f64>, covariances: &Array3<f64>) -> Result<Self> {
        let (k, d) = means.dim();
        check_size("matrices of the covariances", covariances.dim().0, k)?;
        check_size("rows of a covariance", covariances.dim().1, d)?;
        check_size("columns of a covariance", covariances.dim().2, d)?;
        let (mut values, mut vectors) = (Array2::zeros((k, d)), Array3::zeros((k, d, d)));
        for (component, c) in covariances.outer_iter().enumerate() {
            let eigen = eigen(component, c)?;
            for i in 0..d {
                values[[component, i]] = eigen.eigenvalues[i].max(0.0);
                for j in 0..d {
                    vectors[[component, i, j]] = eigen.eigenvectors[(j, i)];
                }
            }
        }
        Self::new(weights, means, Covariances::Full { values, vectors })
    }

    /// A kernel density estimate: equal weights, the rows of `points` as means, one bandwidth.
    ///
    /// # Errors
    /// When there is no point or the bandwidth is not positive.
    pub fn kernel_density(points: Array2<f64>, bandwidth: f64) -> Result<Self> {
        check("bandwidth", bandwidth, bandwidth > 0.0, "a positive number")?;
        let k = points.nrows();
        Self::isotropic(&vec![1.0 / k as f64; k], points, &vec![bandwidth * bandwidth; k])
    }

    fn new(weights: &[f64], means: Array2<f64>, covariances: Covariances) -> Result<Self> {
        check_size("weights of the mixture", weights.len(), means.nrows())?;
        if means.is_empty() {
            return Err(Error::Size { what: "numbers in the means", found: 0, expected: 1 });
        }
        for &m in &means {
            check("mean", m, true, "a finite number")?;
        }
        for &w in weights {
            check("weight", w, w > 0.0, "a positive number")?;
        }
        let total: f64 = weights.iter().sum();
        check("sum of the weights", total, (total - 1.0).abs() < 1e-9, "1 within 1e-9")?;
        let log_weights = weights.iter().map(|w| w.ln()).collect();
        let means = if means.is_standard_layout() {
            means
        } else {
            means.as_standard_layout().into_owned()
        };
        Ok(Self { log_weights, means, covariances })
    }

    /// The dimension d.
    pub fn dim(&self) -> usize {
        self.means.ncols()
    }

    /// The number of components K.
    pub fn components(&self) -> usize {
        self.means.nrows()
    }

    /// The means `m_k` as the rows of a (K, d) matrix.
    pub fn means(&self) -> ArrayView2<'_, f64> {
        self.means.view()
    }

    /// The weights `w_k`.
    pub fn weights(&self) -> impl Iterator<Item = f64> + '_ {
        self.log_weights.iter().map(|w| w.exp())
    }

    /// Eigenvalues of `C_k` and its eigenvectors, one in each row.
    pub(crate) fn spectrum(&self, k: usize) -> (Array1<f64>, Array2<f64>) {
        let d = self.dim();
        match &self.covariances {
            Covariances::Isotropic(c) => (Array1::from_elem(d, c[k]), Array2::eye(d)),
            Covariances::Diagonal(c) => (c.row(k).to_owned(), Array2::eye(d)),
            Covariances::Full { values, vectors } => {
                (values.row(k).to_owned(), vectors.index_axis(Axis(0), k).to_owned())
            }
        }
    }

    /// The components as contiguous slices, in the form that their covariances allow.
    fn shape(&self) -> Shape<'_> {
        let (d, means) = (self.dim(), self.means.as_slice().unwrap_or_default());
        match &self.covariances {
            Covariances::Isotropic(variances) => Shape::Isotropic(Isotropic { means, variances }),
            Covariances::Diagonal(v) => {
                Shape::General(Components { d, means, values: flat(v), vectors: None })
            }
            Covariances::Full { values, vectors } => {
                let vectors = vectors.as_slice();
                Shape::General(Components { d, means, values: flat(values), vectors })
            }
        }
    }
}

/// The components of a mixture, isotropic ones apart because they are so much cheaper.
#[derive(Clone, Copy)]
enum Shape<'a> {
    Isotropic(Isotropic<'a>),
    General(Components<'a>),
}

/// The entries of an array that this type keeps in standard layout.
fn flat(x: &Array2<f64>) -> &[f64] {
    x.as_slice().unwrap_or_default()
}

/// The eigen-decomposition of a covariance, or the reason why it is none.
fn eigen(component: usize, c: ArrayView2<'_, f64>) -> Result<SymmetricEigen<f64, nalgebra::Dyn>> {
    let scale = c.iter().fold(0.0_f64, |m, v| m.max(v.abs()));
    let asymmetry = (&c - &c.t()).iter().fold(0.0_f64, |m, v| m.max(v.abs()));
    if !c.iter().all(|v| v.is_finite()) || asymmetry > 1e-12 * scale {
        return Err(Error::Covariance { component, expected: "symmetric" });
    }
    let eigen = SymmetricEigen::new(DMatrix::from_fn(c.nrows(), c.ncols(), |i, j| c[[i, j]]));
    if eigen.eigenvalues.iter().any(|&v| v < -1e-12 * scale) {
        return Err(Error::Covariance { component, expected: "positive semi-definite" });
    }
    Ok(eigen)
}
