//! Brent's root of a function of one number: bisection, made faster by secants and inverse parabolas where they help.

/// Both tolerances of the root, absolute and relative, as in SciPy's events.
const TOLERANCE: f64 = 4.0 * f64::EPSILON;
const MOST_STEPS: u32 = 100;

/// The root between a and b, whose values fa and fb have different signs or are zero.
///
/// # Errors
/// That of `f`.
#[expect(clippy::float_cmp, reason = "asks whether two points are the same one")]
pub(super) fn root<E>(
    (a, b): (f64, f64),
    (fa, fb): (f64, f64),
    mut f: impl FnMut(f64) -> Result<f64, E>,
) -> Result<f64, E> {
    // `best` has the smaller value, `last` is the best before it, `other` lies beyond the root.
    let (mut last, mut best, mut other) = (a, b, a);
    let (mut f_last, mut f_best, mut f_other) = (fa, fb, fa);
    let (mut step, mut step_before) = (b - a, b - a);
    for _ in 0..MOST_STEPS {
        if f_last != 0.0 && f_best != 0.0 && (f_last < 0.0) != (f_best < 0.0) {
            (other, f_other) = (last, f_last);
            (step, step_before) = (best - last, best - last);
        }
        if f_other.abs() < f_best.abs() {
            (last, best, other) = (best, other, best);
            (f_last, f_best, f_other) = (f_best, f_other, f_best);
        }
        let delta = 0.5 * (TOLERANCE + TOLERANCE * best.abs());
        let half = 0.5 * (other - best);
        if f_best == 0.0 || half.abs() < delta {
            break;
        }
        let bisect = step_before.abs() <= delta || f_best.abs() >= f_last.abs();
        let trial = if last == other {
            -f_best * (best - last) / (f_best - f_last)
        } else {
            let to_last = (f_last - f_best) / (last - best);
            let to_other = (f_other - f_best) / (other - best);
            -f_best * (f_other * to_other - f_last * to_last)
                / (to_other * to_last * (f_other - f_last))
        };
        if !bisect && 2.0 * trial.abs() < step_before.abs().min(3.0 * half.abs() - delta) {
            (step_before, step) = (step, trial);
        } else {
            (step_before, step) = (half, half);
        }
        (last, f_last) = (best, f_best);
        best += if step.abs() > delta { step } else { delta.copysign(half) };
        f_best = f(best)?;
    }
    Ok(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(f: fn(f64) -> f64, (a, b): (f64, f64), want: f64, tolerance: f64, most: u32) {
        let mut calls = 0;
        let got = root((a, b), (f(a), f(b)), |x| {
            calls += 1;
            Ok::<_, ()>(f(x))
        });
        let off = (got.unwrap() - want).abs();
        assert!(off <= tolerance && calls <= most, "{want}: off by {off:e} after {calls} calls");
    }

    /// Roots in either direction of the bracket; bisection alone needs 50 evaluations and more.
    #[test]
    fn roots_are_found_to_the_last_digits() {
        check(f64::cos, (0.0, 3.0), std::f64::consts::FRAC_PI_2, 2e-15, 10);
        check(|x| x.exp() - 2.0, (5.0, -1.0), 2_f64.ln(), 2e-15, 15);
        check(|x| x - 1.0, (0.0, 1.0), 1.0, 0.0, 0);
        check(|x| if x < 0.3 { -1.0 } else { 1.0 }, (0.0, 1.0), 0.3, 2e-15, 60);
        check(|x| (x - 0.3).powi(3), (0.0, 1.0), 0.3, 1e-5, 100); // flat: the cube of 1e-5 is all that it sees
    }

    #[test]
    fn an_error_of_the_function_comes_back() {
        assert_eq!(root((0.0, 1.0), (-1.0, 1.0), |_| Err("no")), Err("no"));
    }
}
