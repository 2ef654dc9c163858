//! A mean over samples, with the error that it has because there are only so many of them.

/// Mean of n numbers and its standard error `s/√n`, s being the sample standard deviation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// The mean; NaN of no numbers.
    pub mean: f64,
    /// The standard error of the mean; NaN of fewer than two numbers.
    pub standard_error: f64,
}

impl Summary {
    /// Summarises `values`.
    pub fn of(values: &[f64]) -> Self {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0);
        Self { mean, standard_error: (variance / n).sqrt() }
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.4} ± {:.4}", self.mean, self.standard_error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_and_standard_error() {
        let s = Summary::of(&[1.0, 2.0, 3.0, 4.0]);
        assert!((s.mean - 2.5).abs() < 1e-15);
        assert!((s.standard_error - (5.0 / 3.0_f64 / 4.0).sqrt()).abs() < 1e-15);
        assert_eq!(s.to_string(), "2.5000 ± 0.6455");
    }
}
