//! Runge–Kutta methods as data.
//!
//! A step from (t, y) to (t + h, z) is
//!
//! ```text
//! k_0 = f(t, y),  k_s = f(t + c_s h, y + h Σ_{j<s} a_sj k_j),  z = y + h Σ_s b_s k_s,  k_S = f(t + h, z),
//! error = h Σ_{s≤S} e_s k_s.                                                     (O1)
//! ```
//!
//! `k_S` is evaluated by adaptive methods only, as the first stage of the next step (FSAL). Between the ends of a step
//!
//! ```text
//! y(t + θh) = y + h Σ_s Σ_p P_sp θ^{p+1} k_s,    0 ≤ θ ≤ 1.                      (O4)
//! ```
//!
//! A nested method has θ, θ(1−θ), θ²(1−θ), θ²(1−θ)², … in place of the powers, where fewer digits cancel. Where s runs
//! beyond S, the sum needs further stages `k_{S+1} …`, evaluated only in steps that are looked into.
//!
//! DOP853 has two rows of error weights. With the norms n of `e` and m of `e3`, each in units of the tolerance, a step
//! counts with
//!
//! ```text
//! norm = n² / √(n² + 0.01 m²).                                                   (O5)
//! ```
//!
//! Every row is checked against the order conditions by rooted trees (Hairer, Nørsett & Wanner, *Solving ODEs I*, II.2).

mod dop853;
mod tsit5;
mod vern7;

pub use dop853::DOP853;
pub use tsit5::TSIT5;
pub use vern7::VERN7;

use crate::error::{Error, Result};

/// One explicit Runge–Kutta method. A new method is one constant of this type.
#[derive(Debug)]
pub struct Tableau {
    /// Name as users write it.
    pub name: &'static str,
    /// Order of the solution `z`.
    pub order: u32,
    /// Order q of the error estimate; the step size follows `norm^(−1/(q+1))`.
    pub error_order: u32,
    /// Nodes `c_1 … c_{S−1}`.
    pub c: &'static [f64],
    /// Rows `a_1 … a_{S−1}`; row s has s entries.
    pub a: &'static [&'static [f64]],
    /// Weights `b_0 … b_{S−1}`.
    pub b: &'static [f64],
    /// Error weights `e_0 … e_S`; empty for a method without an estimate.
    pub e: &'static [f64],
    /// A second row of error weights, of order 3, for the norm (O5); empty for all methods but DOP853.
    pub e3: &'static [f64],
    /// Nodes of the stages that only dense output needs, `c_{S+1} …`.
    pub extra_c: &'static [f64],
    /// Their rows; the first has S + 1 entries.
    pub extra_a: &'static [&'static [f64]],
    /// Dense output: the rows `P_0 … P_S`, and one for each extra stage; empty for a method without.
    pub dense: &'static [&'static [f64]],
    /// Whether those rows are nested, in θ, θ(1−θ), θ²(1−θ), …, and not in powers.
    pub nested: bool,
}

impl Tableau {
    /// A method without any numbers, for `..Tableau::BLANK` in a method that lacks some of them.
    pub const BLANK: Self = Self {
        name: "",
        order: 0,
        error_order: 0,
        c: &[],
        a: &[],
        b: &[],
        e: &[],
        e3: &[],
        extra_c: &[],
        extra_a: &[],
        dense: &[],
        nested: false,
    };

    /// S, the number of evaluations of one step.
    pub fn stages(&self) -> usize {
        self.b.len()
    }

    /// Whether the rows have the lengths that (O1) and (O4) need.
    pub(crate) fn check(&self) -> Result<()> {
        let s = self.stages();
        let lengths = |rows: &[&[f64]], first| (first..).zip(rows).all(|(n, row)| row.len() == n);
        let powers = self.dense.first().map_or(0, |row| row.len());
        let whole = s > 0
            && lengths(self.a, 1)
            && lengths(self.extra_a, s + 1)
            && (self.c.len(), self.a.len()) == (s - 1, s - 1)
            && self.extra_c.len() == self.extra_a.len()
            && (self.e.is_empty() || self.e.len() == s + 1)
            && (self.e3.is_empty() || self.e3.len() == self.e.len())
            && (self.dense.is_empty() || self.dense.len() == s + 1 + self.extra_a.len())
            && self.dense.iter().all(|row| row.len() == powers);
        if whole { Ok(()) } else { Err(Error::Tableau { method: self.name }) }
    }
}

/// Euler's method.
pub const EULER: Tableau = Tableau { name: "euler", order: 1, b: &[1.0], ..Tableau::BLANK };

/// Heun's second-order method, the trapezium rule with an Euler predictor.
pub const HEUN: Tableau =
    Tableau { name: "heun", order: 2, c: &[1.0], a: &[&[1.0]], b: &[0.5, 0.5], ..Tableau::BLANK };

/// The explicit midpoint method.
pub const MIDPOINT: Tableau = Tableau {
    name: "midpoint",
    order: 2,
    c: &[0.5],
    a: &[&[0.5]],
    b: &[0.0, 1.0],
    ..Tableau::BLANK
};

/// Ralston 1962: the second-order method of two stages with the smallest bound of its error.
pub const RALSTON: Tableau = Tableau {
    name: "ralston",
    order: 2,
    c: &[2.0 / 3.0],
    a: &[&[2.0 / 3.0]],
    b: &[0.25, 0.75],
    ..Tableau::BLANK
};

/// The classical fourth-order method (Kutta 1901).
pub const RK4: Tableau = Tableau {
    name: "rk4",
    order: 4,
    c: &[0.5, 0.5, 1.0],
    a: &[&[0.5], &[0.0, 0.5], &[0.0, 0.0, 1.0]],
    b: &[1.0 / 6.0, 1.0 / 3.0, 1.0 / 3.0, 1.0 / 6.0],
    ..Tableau::BLANK
};

/// Bogacki & Shampine 1989, 3(2).
pub const RK23: Tableau = Tableau {
    name: "rk23",
    order: 3,
    error_order: 2,
    c: &[0.5, 0.75],
    a: &[&[0.5], &[0.0, 0.75]],
    b: &[2.0 / 9.0, 1.0 / 3.0, 4.0 / 9.0],
    e: &[5.0 / 72.0, -1.0 / 12.0, -1.0 / 9.0, 1.0 / 8.0],
    dense: &[
        &[1.0, -4.0 / 3.0, 5.0 / 9.0],
        &[0.0, 1.0, -2.0 / 3.0],
        &[0.0, 4.0 / 3.0, -8.0 / 9.0],
        &[0.0, -1.0, 1.0],
    ],
    ..Tableau::BLANK
};

/// Dormand & Prince 1980, 5(4), with their own error weights (last one 1/40): the method that SciPy calls
/// `RK45`. Libraries that say "dopri5" often mean Shampine's weights of 1986, whose step counts differ.
pub const RK45: Tableau = Tableau {
    name: "rk45",
    order: 5,
    error_order: 4,
    c: &[1.0 / 5.0, 3.0 / 10.0, 4.0 / 5.0, 8.0 / 9.0, 1.0],
    a: &[
        &[1.0 / 5.0],
        &[3.0 / 40.0, 9.0 / 40.0],
        &[44.0 / 45.0, -56.0 / 15.0, 32.0 / 9.0],
        &[19372.0 / 6561.0, -25360.0 / 2187.0, 64448.0 / 6561.0, -212.0 / 729.0],
        &[9017.0 / 3168.0, -355.0 / 33.0, 46732.0 / 5247.0, 49.0 / 176.0, -5103.0 / 18656.0],
    ],
    b: &[35.0 / 384.0, 0.0, 500.0 / 1113.0, 125.0 / 192.0, -2187.0 / 6784.0, 11.0 / 84.0],
    e: &[
        -71.0 / 57600.0,
        0.0,
        71.0 / 16695.0,
        -71.0 / 1920.0,
        17253.0 / 339_200.0,
        -22.0 / 525.0,
        1.0 / 40.0,
    ],
    // Shampine 1986, with the free parameter that makes the fourth-order interpolant's error smallest.
    dense: &[
        &[
            1.0,
            -8_048_581_381.0 / 2_820_520_608.0,
            8_663_915_743.0 / 2_820_520_608.0,
            -12_715_105_075.0 / 11_282_082_432.0,
        ],
        &[0.0, 0.0, 0.0, 0.0],
        &[
            0.0,
            131_558_114_200.0 / 32_700_410_799.0,
            -68_118_460_800.0 / 10_900_136_933.0,
            87_487_479_700.0 / 32_700_410_799.0,
        ],
        &[
            0.0,
            -1_754_552_775.0 / 470_086_768.0,
            14_199_869_525.0 / 1_410_260_304.0,
            -10_690_763_975.0 / 1_880_347_072.0,
        ],
        &[
            0.0,
            127_303_824_393.0 / 49_829_197_408.0,
            -318_862_633_887.0 / 49_829_197_408.0,
            701_980_252_875.0 / 199_316_789_632.0,
        ],
        &[
            0.0,
            -282_668_133.0 / 205_662_961.0,
            2_019_193_451.0 / 616_988_883.0,
            -1_453_857_185.0 / 822_651_844.0,
        ],
        &[
            0.0,
            40_617_522.0 / 29_380_423.0,
            -110_615_467.0 / 29_380_423.0,
            69_997_945.0 / 29_380_423.0,
        ],
    ],
    ..Tableau::BLANK
};

/// [`RK45`] with the error weights of Shampine 1986 (last one −1/60), as diffrax, torchdiffeq and torchode have them.
/// They are −2/3 of the classical ones: the same steps pass at a tolerance two thirds as large.
pub const DOPRI5: Tableau = Tableau {
    name: "dopri5",
    e: &[
        71.0 / 86400.0,
        0.0,
        -142.0 / 50085.0,
        71.0 / 2880.0,
        -5751.0 / 169_600.0,
        44.0 / 1575.0,
        -1.0 / 60.0,
    ],
    ..RK45
};

#[cfg(test)]
mod tests {
    use super::*;

    /// Those given by fractions; `tests/a01_tableaux.rs` sums the others to their rounding.
    const FRACTIONS: [&Tableau; 8] =
        [&EULER, &HEUN, &MIDPOINT, &RALSTON, &RK4, &RK23, &RK45, &DOPRI5];
    const DECIMALS: [&Tableau; 3] = [&TSIT5, &VERN7, &DOP853];

    #[test]
    fn rows_sum_to_nodes_weights_to_one_errors_to_zero() {
        for m in FRACTIONS {
            for (row, c) in m.a.iter().zip(m.c) {
                assert!((row.iter().sum::<f64>() - c).abs() < 2e-15, "{}", m.name);
            }
            assert!((m.b.iter().sum::<f64>() - 1.0).abs() < 1e-15, "{}", m.name);
            assert!(m.e.iter().sum::<f64>().abs() < 1e-15, "{}", m.name);
        }
    }

    #[test]
    fn dense_output_meets_both_ends() {
        for m in [&RK23, &RK45] {
            for (s, row) in m.dense.iter().enumerate() {
                let weight = m.b.get(s).copied().unwrap_or(0.0);
                assert!((row.iter().sum::<f64>() - weight).abs() < 1e-14, "{} row {s}", m.name);
                // y'(t) = k_0 and y'(t + h) = k_S.
                let slope: f64 = row.iter().zip(1..).map(|(p, n)| p * f64::from(n)).sum();
                let last = if s + 1 == m.dense.len() { 1.0 } else { 0.0 };
                assert!((slope - last).abs() < 1e-13, "{} row {s}: slope {slope}", m.name);
                assert!((row[0] - if s == 0 { 1.0 } else { 0.0 }).abs() < 1e-15);
            }
        }
    }

    #[test]
    fn shapes_agree() {
        for m in FRACTIONS.iter().chain(&DECIMALS) {
            assert!(m.check().is_ok(), "{}", m.name);
        }
        let broken = Tableau { c: &[], ..HEUN };
        assert_eq!(
            broken.check().unwrap_err().to_string(),
            "the rows of method `heun` have the wrong lengths"
        );
    }
}
