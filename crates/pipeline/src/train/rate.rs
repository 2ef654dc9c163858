//! The step size over a run, as a part of the largest one: a rise along a line, then what a schedule says.
//!
//! ```text
//! constant       1
//! cosine         ½ (1 + cos π u),        u = (k − w)/(K − w)
//! inverse-sqrt   1/√(k/k₀) for k > k₀, else 1                     (Karras et al. 2024)
//! ```
//!
//! at step k of K, all of them times `min(k/w, 1)` for a warm-up of w steps.

use serde::{Deserialize, Serialize};

/// How the step size falls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Schedule {
    /// As half a cosine, to 0 at the end.
    #[default]
    Cosine,
    /// Not at all.
    Constant,
    /// As the inverse of a square root.
    InverseSqrt {
        /// `k₀`.
        after: u64,
    },
}

impl Schedule {
    /// The part at step k (from 1) of `steps`.
    pub fn at(self, k: u64, warmup: u64, steps: u64) -> f64 {
        let rise = (k as f64 / warmup.max(1) as f64).min(1.0);
        let fall = match self {
            Self::Constant => 1.0,
            Self::Cosine => {
                let gone = k.saturating_sub(warmup) as f64;
                let whole = steps.saturating_sub(warmup).max(1) as f64;
                0.5 * (1.0 + (std::f64::consts::PI * (gone / whole).min(1.0)).cos())
            }
            Self::InverseSqrt { after } => (k as f64 / after.max(1) as f64).max(1.0).sqrt().recip(),
        };
        rise * fall
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_have_their_known_values() {
        let near = |found: f64, want: f64| assert!((found - want).abs() < 1e-15, "{found} {want}");
        for schedule in [Schedule::Cosine, Schedule::Constant, Schedule::InverseSqrt { after: 100 }]
        {
            near(schedule.at(5, 10, 1000), 0.5 * schedule.at(5, 0, 1_000_000_000)); // the rise
            near(schedule.at(10, 10, 1000), 1.0);
        }
        near(Schedule::Cosine.at(505, 10, 1000), 0.5);
        near(Schedule::Cosine.at(1000, 10, 1000), 0.0);
        near(Schedule::Constant.at(999, 10, 1000), 1.0);
        near(Schedule::InverseSqrt { after: 100 }.at(400, 10, 1000), 0.5);
        near(Schedule::InverseSqrt { after: 100 }.at(100, 10, 1000), 1.0);
    }

    #[test]
    fn schedules_have_names() {
        #[derive(Deserialize)]
        struct File {
            schedule: Schedule,
        }
        let parse = |text: &str| toml::from_str::<File>(text).map(|file| file.schedule);
        assert_eq!(parse("schedule = 'constant'"), Ok(Schedule::Constant));
        let text = "schedule = { inverse-sqrt = { after = 7 } }";
        assert_eq!(parse(text), Ok(Schedule::InverseSqrt { after: 7 }));
        assert!(parse("schedule = 'linear'").is_err());
    }
}
