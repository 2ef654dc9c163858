//! `eˣ` and `eˣ − 1` together, in a form that a loop over many numbers turns into vector instructions: no branch, no call.
//!
//! With `x = n ln 2 + r`, `|r| ≤ ln 2 / 2`, and `p = e^r − 1` by its Taylor polynomial of degree 13, whose remainder is below
//! 2⁻⁵⁶ of it,
//!
//! ```text
//! eˣ = 2ⁿ + 2ⁿ p,        eˣ − 1 = (2ⁿ − 1) + 2ⁿ p                                  (E1)
//! ```
//!
//! without cancellation. Only sums, products and comparisons: the same bits on every machine, however wide its vectors.

#![expect(
    clippy::inline_always,
    reason = "a function that is called in vector code is compiled for it only when inlined"
)]

/// `1/j!` for j from 13 down to 2.
const TAYLOR: [f64; 12] = {
    let (mut out, mut factorial, mut j) = ([0.0; 12], 1.0, 2);
    while j <= 13 {
        factorial *= j as f64;
        out[13 - j] = 1.0 / factorial;
        j += 1;
    }
    out
};

/// ln 2 in two parts, of which the first has zeros where a product with n needs them.
const LN_2: [f64; 2] = [6.931_471_803_691_238e-1, 1.908_214_929_270_587_7e-10];

/// `1.5 · 2⁵²`: adding it rounds to a whole number, which then stands in the last bits.
const ROUND: f64 = 6_755_399_441_055_744.0;

/// `(eˣ, eˣ − 1)` for `x ≤ 700`, within two units in the last place; `(0, −1)` below −708; NaN for NaN.
#[inline(always)]
pub(crate) fn exp_and_exp_m1(x: f64) -> (f64, f64) {
    let inside = if x < -708.0 { -708.0 } else { x }; // a NaN stays
    let shifted = inside * std::f64::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (inside - n * LN_2[0]) - n * LN_2[1];
    let mut q = TAYLOR[0];
    for c in &TAYLOR[1..] {
        q = q * r + c;
    }
    let power = f64::from_bits((shifted.to_bits() << 52).wrapping_add(1023 << 52)); // 2ⁿ
    let tail = power * (r + r * r * q);
    if x < -708.0 { (0.0, -1.0) } else { (power + tail, (power - 1.0) + tail) }
}

#[cfg(test)]
mod tests {
    use super::exp_and_exp_m1;

    #[test]
    fn two_units_in_the_last_place_of_libm() {
        for i in -70_800_000..=70_000_i64 {
            let x = i as f64 * 1e-5;
            if i % 37 != 0 && i < -100_000 {
                continue;
            }
            let (e, m) = exp_and_exp_m1(x);
            let off = |got: f64, want: f64| (got - want).abs() / want.abs().max(f64::MIN_POSITIVE);
            assert!(off(e, x.exp()) <= 2.0 * f64::EPSILON, "exp({x}) = {e}");
            assert!(i == 0 || off(m, x.exp_m1()) <= 2.0 * f64::EPSILON, "exp_m1({x}) = {m}");
        }
    }

    #[test]
    fn ends_of_the_range() {
        assert_eq!(exp_and_exp_m1(0.0), (1.0, 0.0));
        assert_eq!(exp_and_exp_m1(-0.0), (1.0, 0.0));
        assert_eq!(exp_and_exp_m1(-1e300), (0.0, -1.0));
        assert_eq!(exp_and_exp_m1(f64::NEG_INFINITY), (0.0, -1.0));
        assert_eq!(exp_and_exp_m1(1e-300), (1.0, 1e-300));
        let (e, m) = exp_and_exp_m1(f64::NAN);
        assert!(e.is_nan() && m.is_nan());
    }
}
