//! Whether a model's score belongs to a density that obeys its process: integrals around small closed loops.
//!
//! With the velocity `v = f x − (g²/2) s` of the probability flow, the one-form
//!
//! ```text
//! ω = s·dx − (div v + s·v) dt                                                          (Y1)
//! ```
//!
//! is `d log p` where `s = ∇ log p` and p obeys the Fokker–Planck equation (P1); its integral around every closed loop is
//! then 0. For any other score, and unit vectors u and w, small loops measure by how much it fails:
//!
//! ```text
//! (1/ℓτ) ∮ ω → −u·r        around [x, x + ℓu] × [t, t + τ],   r the residual of (P5)     (Y2)
//! (1/ℓ²) ∮ s·dx → wᵀ(J − Jᵀ)u     around x, x + ℓu, x + ℓu + ℓw, x + ℓw,   J = ∂s/∂x     (Y3)
//! ```
//!
//! by Stokes' theorem. (P5) has second derivatives of s; its integral has none, and of the first only the divergence, on the
//! two sides in time. For u uniform on the sphere the mean square of (Y2) is `|r|²/d`; for u and w orthonormal that of (Y3) is
//! `|J − Jᵀ|²/(d(d−1))` in Frobenius' norm. A score that is no gradient fails both; but one may fail (Y3) and have the right
//! density, so that (Y3) alone is no evidence (Horvat and Pfister 2024).

use crate::error::{Result, check, check_size};
use crate::quadrature::gauss_legendre;
use crate::reverse::Reverse;
use crate::score::{Field, Score};
use crate::sde::Sde;
use crate::state::{Lanes, State, check_alike};
use crate::summary::Summary;

/// Gauss–Legendre nodes on each side of a loop.
const NODES: u32 = 5;

/// Loop integrals per unit area, one entry for each row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Circulation {
    /// The integral: (Y2) or (Y3).
    pub value: Vec<f64>,
    /// An unbiased estimate of its square: the square itself unless the divergence is estimated.
    pub square: Vec<f64>,
    /// What it is measured against: `u·∂s/∂t` for (Y2), `|J u|/√(d−1)` for (Y3).
    pub scale: Vec<f64>,
}

impl Circulation {
    /// The root mean square of the integrals and its standard error, in their own units.
    pub fn rms(&self) -> Summary {
        self.root(&vec![1.0; self.square.len()])
    }

    /// The root mean square of the integrals in units of that of the scales, and its standard error: an estimate of
    /// `rms r / rms ∂s/∂t` for (Y2) and of `|J − Jᵀ|/|J|` for (Y3).
    pub fn relative(&self) -> Summary {
        self.root(&self.scale.iter().map(|s| s * s).collect::<Vec<_>>())
    }

    /// `√(Σ square / Σ units)`, with the error of a ratio of means; 0 where noise makes the sum negative.
    fn root(&self, units: &[f64]) -> Summary {
        let n = units.len() as f64;
        let unit = units.iter().sum::<f64>() / n;
        let ratio = self.square.iter().sum::<f64>() / n / unit;
        let off = self.square.iter().zip(units).map(|(s, u)| (s - ratio * u).powi(2));
        let error = (off.sum::<f64>() / (n * (n - 1.0))).sqrt() / unit;
        let mean = ratio.max(0.0).sqrt();
        // d√y = dy/(2√y), and √dy where y is not above its error
        let standard_error = if ratio > error { 0.5 * error / mean } else { error.sqrt() };
        Summary { mean, standard_error }
    }

    /// Appends the rows of another batch.
    pub fn extend(&mut self, other: Self) {
        self.value.extend(other.value);
        self.square.extend(other.square);
        self.scale.extend(other.scale);
    }
}

/// A small loop for each row, from a corner x at a time t.
#[derive(Debug)]
pub struct Corner<'a, X> {
    /// x.
    pub x: &'a X,
    /// t and the number of each row.
    pub at: Lanes<'a>,
    /// ℓ of each row, above 0.
    pub length: &'a [f64],
}

impl<X> Copy for Corner<'_, X> {}

impl<X> Clone for Corner<'_, X> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<X: State> Corner<'_, X> {
    fn check(&self, directions: &[&X]) -> Result<()> {
        self.at.check(self.x.samples())?;
        check_size("lengths of the loops", self.length.len(), self.x.samples())?;
        directions.iter().try_for_each(|u| check_alike("a side of the loops", *u, self.x))?;
        let lengths = self.length.iter();
        lengths
            .map(|&l| check("length", l, l > 0.0, "a positive number"))
            .try_for_each(|r| r.map(drop))
    }

    /// `x + ℓ u`.
    fn beside(&self, u: &X) -> X {
        let mut moved = self.x.zeros_like();
        moved.combine(&[(&vec![1.0; self.length.len()], self.x), (self.length, u)]);
        moved
    }
}

/// (Y2) of every row, along the unit vectors `u` and over the times `duration` above 0. The divergence is exact without
/// `probes`; with them it is their mean form, the same probes on both sides. With two or more, `square` is unbiased.
///
/// # Errors
/// Sizes that disagree, lengths or durations that are not positive, and those of the model.
pub fn in_time<X: State, M: Score<X>>(
    sde: &dyn Sde,
    score: &mut M,
    corner: Corner<'_, X>,
    (u, duration): (&X, &[f64]),
    probes: &[X],
) -> Result<Circulation> {
    corner.check(&[u])?;
    check_size("durations of the loops", duration.len(), corner.length.len())?;
    duration
        .iter()
        .try_for_each(|&h| check("duration", h, h > 0.0, "a positive number").map(drop))?;
    let Corner { x, at, length } = corner;
    let later: Vec<f64> = at.t.iter().zip(duration).map(|(t, h)| t + h).collect();
    let before = side(score, corner, u)?;
    let after = side(score, Corner { at: Lanes { t: &later, ..at }, ..corner }, u)?;
    let mut flow = Reverse::probability_flow(sde, score);
    let near = waiting(&mut flow, x, (at, duration), probes)?;
    let far = waiting(&mut flow, &corner.beside(u), (at, duration), probes)?;
    let area: Vec<f64> = length.iter().zip(duration).map(|(l, h)| l * h).collect();
    let mut found = Circulation::default();
    for (i, area) in area.iter().enumerate() {
        let rise = (after[i] - before[i]) / area;
        let loops: Vec<f64> =
            near.iter().zip(&far).map(|(near, far)| (far[i] - near[i]) / area - rise).collect();
        let of_probes = Summary::of(&loops);
        let noise = if loops.len() > 1 { of_probes.standard_error.powi(2) } else { 0.0 };
        found.value.push(of_probes.mean);
        found.square.push(of_probes.mean.powi(2) - noise);
        found.scale.push(rise);
    }
    Ok(found)
}

/// (Y3) of every row, around the parallelogram that `ℓ u` and `ℓ w` span, for unit vectors at right angles.
///
/// # Errors
/// Sizes that disagree, samples of one dimension, lengths that are not positive, and those of the model.
pub fn in_space<X: State, M: Score<X>>(
    score: &mut M,
    corner: Corner<'_, X>,
    (u, w): (&X, &X),
) -> Result<Circulation> {
    corner.check(&[u, w])?;
    let d = corner.x.sample_len() as f64;
    check("dimensions", d, d >= 2.0, "at least 2")?;
    let (beside, above) = (corner.beside(u), corner.beside(w));
    let sides = [
        side(score, corner, u)?,
        side(score, Corner { x: &beside, ..corner }, w)?,
        side(score, Corner { x: &above, ..corner }, u)?,
        side(score, corner, w)?,
    ];
    let slope = slope(score, corner, &beside)?;
    let mut found = Circulation::default();
    for (i, l) in corner.length.iter().enumerate() {
        let value = (sides[0][i] + sides[1][i] - sides[2][i] - sides[3][i]) / (l * l);
        found.value.push(value);
        found.square.push(value * value);
        found.scale.push(slope[i] / (d - 1.0).sqrt());
    }
    Ok(found)
}

/// The rule on [0, 1].
fn rule() -> impl Iterator<Item = (f64, f64)> {
    gauss_legendre(NODES).into_iter().map(|(x, w)| (0.5 + 0.5 * x, 0.5 * w))
}

/// `∫ s·dx` from x to x + ℓu, at the times of the corner.
fn side<X: State, M: Score<X>>(score: &mut M, corner: Corner<'_, X>, u: &X) -> Result<Vec<f64>> {
    let mut sum = vec![0.0; corner.length.len()];
    let mut field = Field::like(corner.x);
    for (node, weight) in rule() {
        let length: Vec<f64> = corner.length.iter().map(|l| node * l).collect();
        let point = Corner { length: &length, ..corner }.beside(u);
        score.evaluate(&point, corner.at, &mut field)?;
        let mut along = vec![0.0; sum.len()];
        field.score.add_dot(u, &mut along);
        sum.iter_mut()
            .zip(along.iter().zip(corner.length))
            .for_each(|(s, (a, l))| *s += weight * l * a);
    }
    Ok(sum)
}

/// `−∫ (div v + s·v) dt` at x from t to t + τ, once for the exact divergence or once for each probe.
fn waiting<X: State, M: Score<X>>(
    flow: &mut Reverse<'_, X, M>,
    x: &X,
    (at, duration): (Lanes<'_>, &[f64]),
    probes: &[X],
) -> Result<Vec<Vec<f64>>> {
    let n = duration.len();
    let mut sums = vec![vec![0.0; n]; probes.len().max(1)];
    let mut divergence = sums.clone();
    let mut v = x.zeros_like();
    for (node, weight) in rule() {
        let t: Vec<f64> = at.t.iter().zip(duration).map(|(t, h)| t + node * h).collect();
        let at = Lanes { t: &t, ..at };
        if probes.is_empty() {
            flow.drift_and_divergence(x, at, &mut v, &mut divergence[0])?;
        } else {
            flow.drift_and_forms(x, at, probes, &mut v, &mut divergence)?;
        }
        let mut along = vec![0.0; n];
        flow.field().into_iter().for_each(|field| field.score.add_dot(&v, &mut along));
        for (sum, divergence) in sums.iter_mut().zip(&divergence) {
            for (i, sum) in sum.iter_mut().enumerate() {
                *sum -= weight * duration[i] * (divergence[i] + along[i]);
            }
        }
    }
    Ok(sums)
}

/// `|J u|` by the difference of s between x and `beside = x + ℓu`.
fn slope<X: State, M: Score<X>>(
    score: &mut M,
    corner: Corner<'_, X>,
    beside: &X,
) -> Result<Vec<f64>> {
    let (mut here, mut there) = (Field::like(corner.x), Field::like(corner.x));
    score.evaluate(corner.x, corner.at, &mut here)?;
    score.evaluate(beside, corner.at, &mut there)?;
    let per_length: Vec<f64> = corner.length.iter().map(|l| 1.0 / l).collect();
    let against: Vec<f64> = per_length.iter().map(|l| -l).collect();
    let mut rise = corner.x.zeros_like();
    rise.combine(&[(&per_length, &there.score), (&against, &here.score)]);
    let mut squares = vec![0.0; per_length.len()];
    rise.add_squared_norm(&mut squares);
    Ok(squares.into_iter().map(f64::sqrt).collect())
}
