//! The schedules of betas that are in use, as they stand in configuration files.
//!
//! With `u = (t−1)/(T−1)` for t = 1…T:
//!
//! ```text
//! linear        β_t = β_0 + (β_1 − β_0) u                              Ho et al. 2020
//! scaled-linear β_t = (√β_0 + (√β_1 − √β_0) u)²                        Rombach et al. 2022
//! sigmoid       β_t = β_0 + (β_1 − β_0)/(1 + e^{6 − 12 u})             Xu et al. 2022 (GeoDiff)
//! exponential   β_t = β_0 (β_1/β_0)^u; equal ends make ᾱ exponential in t
//! cosine        β_t = min(1 − h(t)/h(t−1), max_beta),  h(t) = cos²(c (t/T + s)),  c = (π/2)/(1+s)
//!                                                                      Nichol and Dhariwal 2021
//! ```
//!
//! The cosine betas are computed as `sin(c/T) sin(c((2t−1)/T + 2s))/sin²(c(1 − (t−1)/T))`, which is the same without
//! the difference of two numbers near 1.

use super::weighting::linspace;
use super::{DdpmChain, check_steps};
use crate::error::{Error, Result, check};
use crate::sde::{Process, VpLinear};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// A range of betas and the number of steps.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BetaRange {
    /// T.
    #[serde(rename = "T", alias = "steps")]
    pub steps: usize,
    /// `β_0` of the formulas, the beta of t = 1.
    pub beta_start: f64,
    /// `β_1` of the formulas, the beta of t = T.
    pub beta_end: f64,
}

/// A recipe for a [`DdpmChain`], for configuration files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "kebab-case", deny_unknown_fields)]
pub enum BetaSchedule {
    /// Linear in t.
    Linear(BetaRange),
    /// The square of a linear function.
    #[serde(alias = "scaled_linear")]
    ScaledLinear(BetaRange),
    /// A sigmoid between its values at −6 and 6.
    Sigmoid(BetaRange),
    /// Geometric in t.
    Exponential(BetaRange),
    /// ᾱ a squared cosine. The defaults are the paper's constants.
    Cosine {
        /// T.
        #[serde(rename = "T", alias = "steps")]
        steps: usize,
        /// The offset s of the times.
        #[serde(default = "paper_s")]
        s: f64,
        /// The bound on β; 1 leaves no signal at the end.
        #[serde(default = "paper_max_beta")]
        max_beta: f64,
    },
    /// The exact transitions of the linear VP SDE, `β_t = −expm1(−(B(t/T) − B((t−1)/T)))`.
    #[serde(alias = "vp_exact")]
    VpExact {
        /// T.
        #[serde(rename = "T", alias = "steps")]
        steps: usize,
        /// β(0) of the SDE.
        beta_min: f64,
        /// β(1) of the SDE.
        beta_max: f64,
    },
    /// The signal-to-noise ratios of any process, see [`DdpmChain::of_sde`].
    Sde {
        /// T.
        #[serde(rename = "T", alias = "steps")]
        steps: usize,
        /// The process.
        sde: Process,
    },
    /// The betas themselves.
    Values {
        /// `β_t` of t = 1…T.
        values: Vec<f64>,
    },
    /// A text file of betas: one number per line, or a JSON array.
    File {
        /// Where it is.
        path: PathBuf,
    },
    /// Another schedule with its terminal signal-to-noise ratio rescaled to 0.
    #[serde(alias = "zero_terminal_snr")]
    ZeroTerminalSnr {
        /// The schedule to rescale.
        of: Box<BetaSchedule>,
    },
}

fn paper_s() -> f64 {
    0.008
}

fn paper_max_beta() -> f64 {
    0.999
}

impl BetaSchedule {
    /// The chain.
    ///
    /// # Errors
    /// A constant or a beta out of range, or a file that does not hold numbers.
    pub fn chain(&self) -> Result<DdpmChain> {
        match self {
            Self::Linear(range) => range.map(|from, to, u| from + (to - from) * u),
            Self::ScaledLinear(range) => range.map(|from, to, u| {
                let (from, to) = (from.sqrt(), to.sqrt());
                (from + (to - from) * u).powi(2)
            }),
            Self::Sigmoid(range) => {
                range.map(|from, to, u| from + (to - from) / (1.0 + (6.0 - 12.0 * u).exp()))
            }
            Self::Exponential(range) => range.map(|from, to, u| from * (to / from).powf(u)),
            Self::Cosine { steps, s, max_beta } => cosine(*steps, *s, *max_beta),
            Self::VpExact { steps, beta_min, beta_max } => {
                DdpmChain::of_sde(&VpLinear::new(*beta_min, *beta_max)?, *steps)
            }
            Self::Sde { steps, sde } => DdpmChain::of_sde(&**sde, *steps),
            Self::Values { values } => DdpmChain::new(values.clone()),
            Self::File { path } => DdpmChain::new(numbers(path)?),
            Self::ZeroTerminalSnr { of } => of.chain()?.zero_terminal_snr(),
        }
    }
}

impl BetaRange {
    /// The chain of `f(β_0, β_1, u)`, u from 0 to 1.
    fn map(&self, f: impl Fn(f64, f64, f64) -> f64) -> Result<DdpmChain> {
        let Self { steps, beta_start, beta_end } = *self;
        let inside = |b: f64| b > 0.0 && b < 1.0;
        check("beta_start", beta_start, inside(beta_start), "a number between 0 and 1")?;
        check("beta_end", beta_end, inside(beta_end), "a number between 0 and 1")?;
        let u = linspace(0.0, 1.0, steps)?;
        DdpmChain::new(u.into_iter().map(|u| f(beta_start, beta_end, u)).collect())
    }
}

fn cosine(steps: usize, s: f64, max_beta: f64) -> Result<DdpmChain> {
    check("s", s, (0.0..=1.0).contains(&s), "a number from 0 to 1")?;
    check("max_beta", max_beta, max_beta > 0.0 && max_beta <= 1.0, "above 0, at most 1")?;
    check_steps(steps, 1)?;
    let (c, n) = (std::f64::consts::FRAC_PI_2 / (1.0 + s), steps as f64);
    let beta = (1..=steps).map(|t| {
        let sum = c * ((2.0 * t as f64 - 1.0) / n + 2.0 * s);
        let from = (c * ((steps - t + 1) as f64 / n)).sin(); // cos(c((t−1)/T + s))
        let beta = (c / n).sin() * sum.sin() / (from * from);
        if t == steps { max_beta } else { beta.min(max_beta) } // h(T) = 0
    });
    DdpmChain::new(beta.collect())
}

/// The numbers of a text file: a JSON array, or one per line with blank lines between them.
fn numbers(path: &Path) -> Result<Vec<f64>> {
    let fail = |found: String| Error::File {
        path: path.into(),
        found,
        expected: "one number per line or a JSON array of numbers",
    };
    let text = std::fs::read_to_string(path).map_err(|e| fail(e.to_string()))?;
    if text.trim_start().starts_with('[') {
        return serde_json::from_str(&text).map_err(|e| fail(format!("no such array ({e})")));
    }
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(i, line)| {
            let line = line.trim();
            line.parse().map_err(|_| fail(format!("{line:?} in line {}", i + 1)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(spec: &str) -> serde_json::Result<BetaSchedule> {
        serde_json::from_str(spec)
    }

    fn betas(spec: &str) -> Vec<f64> {
        parse(spec).unwrap().chain().unwrap().betas().to_vec()
    }

    #[test]
    fn ends_and_middle_of_each_range() {
        let range = |name: &str| {
            betas(&format!(r#"{{"name": "{name}", "T": 3, "beta_start": 0.01, "beta_end": 0.04}}"#))
        };
        let expected = [("linear", 0.025), ("scaled_linear", 0.0225), ("exponential", 0.02)];
        for (name, middle) in expected {
            let found = range(name);
            assert!((found[0] - 0.01).abs() < 1e-15 && (found[2] - 0.04).abs() < 1e-15, "{name}");
            assert!((found[1] - middle).abs() < 1e-15, "{name}: {found:?}");
        }
        let found = range("sigmoid");
        let end = 0.03 / (1.0 + 6_f64.exp());
        assert!((found[0] - 0.01 - end).abs() < 1e-15 && (found[2] - 0.04 + end).abs() < 1e-15);
        assert!((found[1] - 0.025).abs() < 1e-15);
    }

    #[test]
    fn cosine_is_the_ratio_of_squared_cosines() {
        let found = betas(r#"{"name": "cosine", "T": 40}"#);
        let h = |t: f64| ((t / 40.0 + 0.008) / 1.008 * std::f64::consts::FRAC_PI_2).cos().powi(2);
        for (i, beta) in found.iter().enumerate() {
            let expected = (1.0 - h(i as f64 + 1.0) / h(i as f64)).min(0.999);
            assert!((beta - expected).abs() < 1e-13, "{i}");
        }
        let last = betas(r#"{"name": "cosine", "T": 40, "max_beta": 1.0}"#)[39];
        assert_eq!(last.to_bits(), 1_f64.to_bits());
    }

    #[test]
    fn a_chain_keeps_the_signal_to_noise_ratio_of_any_process() {
        for sde in [
            r#"{"name": "vp-cosine", "s": 0.008}"#,
            r#"{"name": "sub-vp", "beta_min": 0.1, "beta_max": 20.0}"#,
            r#"{"name": "ve", "sigma_min": 0.01, "sigma_max": 50.0}"#,
            r#"{"name": "edm"}"#,
            r#"{"name": "rectified"}"#,
        ] {
            let chain = parse(&format!(r#"{{"name": "sde", "T": 100, "sde": {sde}}}"#));
            let (chain, sde) =
                (chain.unwrap().chain().unwrap(), serde_json::from_str::<Process>(sde).unwrap());
            for step in chain.iter().take(99) {
                let t = sde.end() * (step.t as f64 / 100.0);
                assert!((step.log_snr() - sde.log_snr(t)).abs() < 1e-10, "{sde:?} {t}");
            }
        }
    }

    #[test]
    fn specifications_come_back_and_unknown_keys_are_refused() {
        let spec = r#"{"name": "zero-terminal-snr", "of": {"name": "vp_exact", "T": 9, "beta_min": 0.1, "beta_max": 20}}"#;
        let schedule = parse(spec).unwrap();
        let text = serde_json::to_string(&schedule).unwrap();
        assert_eq!(parse(&text).unwrap(), schedule);
        let error = |spec| parse(spec).unwrap_err().to_string();
        let unknown = r#"{"name": "cosine", "T": 10, "max_beat": 0.9}"#;
        assert!(error(unknown).contains("unknown field `max_beat`"), "{}", error(unknown));
        let unknown = r#"{"name": "linear", "T": 10, "beta_start": 0.1, "beta_end": 0.2, "s": 1}"#;
        assert!(error(unknown).contains("unknown field `s`"), "{}", error(unknown));
        assert!(error(r#"{"name": "linaer"}"#).contains("unknown variant `linaer`"));
    }

    #[test]
    fn numbers_out_of_range_are_refused_with_a_sentence() {
        let error = |spec| parse(spec).unwrap().chain().unwrap_err().to_string();
        assert_eq!(
            error(r#"{"name": "linear", "T": 10, "beta_start": 0.1, "beta_end": 1.5}"#),
            "beta_end = 1.5 is out of range: expected a number between 0 and 1"
        );
        assert_eq!(
            error(r#"{"name": "cosine", "T": 0}"#),
            "steps of the chain = 0 is out of range: expected 1 to 10 million"
        );
        assert_eq!(
            error(r#"{"name": "values", "values": [0.1, 1.0, 0.1]}"#),
            "beta = 1 in step 2 is out of range: expected a number between 0 and 1 (1 only at the end)"
        );
    }

    #[test]
    fn betas_come_from_files() {
        let folder = std::env::temp_dir().join(format!("betas-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let read = |name: &str, text: &str| {
            let path = folder.join(name);
            std::fs::write(&path, text).unwrap();
            BetaSchedule::File { path }.chain()
        };
        let expected = DdpmChain::new(vec![0.01, 0.2, 0.3]).unwrap();
        assert_eq!(read("lines.txt", "0.01\n 2e-1 \n\n0.3\n").unwrap(), expected);
        assert_eq!(read("array.json", "[0.01, 0.2,\n0.3]").unwrap(), expected);
        let error = read("wrong.txt", "0.01\nhalf\n").unwrap_err().to_string();
        assert!(
            error.contains("found \"half\" in line 2, expected one number per line"),
            "{error}"
        );
        assert!(read("wrong.json", "[0.01, \"a\"]").is_err());
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(BetaSchedule::File { path: folder }.chain().is_err());
    }
}
