//! What a network was trained to say, and about which process: the `sde.toml` beside its weights.
//!
//! ```toml
//! process = { name = "vp-linear", beta_min = 0.1, beta_max = 20.0 }
//! prediction = { edm = { sigma_data = 0.8 } }      # or "epsilon", "x0", "score", "v", "velocity"
//! label = "c-noise"                                # what the network is told of the time
//! shape = [1, 8, 8]                                # of a sample; [D] for vectors
//! t_min = 1e-5                                     # where the flow stops on the side of the data
//! levels = 17                                      # of integer data, y = 2(k + u)/levels − 1
//! ```

use std::ops::Deref;
use std::path::Path;

use sde_core::chain::ContinuousChain;
use sde_core::sde::Process;
use sde_core::{BetaSchedule, Prediction, Sde};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// What one must know beside the weights to use a network.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Description {
    /// The forward process of the training.
    pub process: Forward,
    /// What the network's output means.
    pub prediction: Prediction,
    /// What the network is told of the time.
    pub label: Label,
    /// Shape of a sample.
    pub shape: Vec<i64>,
    /// The first time that the network knows.
    pub t_min: f64,
    /// Classes of a TorchScript network; other networks know theirs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub classes: Option<i64>,
    /// Levels of integer data; absent for data that are numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub levels: Option<u32>,
}

impl Description {
    /// Parses the text of an `sde.toml`.
    ///
    /// # Errors
    /// Text that is none, an unknown key, or a constant out of range.
    pub fn parse(text: &str) -> Result<Self> {
        let description: Self = toml::from_str(text).map_err(|e| Error::config("", e.message()))?;
        description.check()?;
        Ok(description)
    }

    /// Reads an `sde.toml`.
    ///
    /// # Errors
    /// As [`parse`](Self::parse), and a file that cannot be read.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| Error::File { path: path.into(), source })?;
        Self::parse(&text).map_err(|e| e.in_file(path))
    }

    /// The text of an `sde.toml`.
    ///
    /// # Errors
    /// None for finite constants.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self).map_err(|e| Error::config("", e))
    }

    /// Refuses what contradicts itself.
    ///
    /// # Errors
    /// The entry, what it says and what it may say.
    pub fn check(&self) -> Result<()> {
        let sde: &dyn Sde = &*self.process;
        let inside = (0.0..sde.end()).contains(&self.t_min);
        sde_core::error::check("t_min", self.t_min, inside, "a time from 0 to before the end")?;
        self.check_start(self.t_min)?;
        if let Prediction::Edm { sigma_data: s } = self.prediction {
            sde_core::error::check("sigma_data", s, s > 0.0, "a positive number")?;
        }
        if let Some(levels) = self.levels {
            sde_core::levels::Levels::new(levels)?;
        }
        let positive = !self.shape.is_empty() && self.shape.iter().all(|&n| n > 0);
        if !positive {
            let expected = "[C, H, W] or [D], all positive".into();
            return Err(Error::Shape { what: "a sample", found: self.shape.clone(), expected });
        }
        match (self.label, &self.process) {
            (Label::Index, Forward::Continuous(_)) => Err(Error::Config {
                key: "label".into(),
                found: "index".into(),
                expected: "999t, t, sigma or c-noise: only a ddpm-* chain has indices".into(),
            }),
            _ => Ok(()),
        }
    }
}

impl Description {
    /// Whether the network knows the time `t_min`: a chain begins with its first step, and a label is a number.
    ///
    /// # Errors
    /// [`sde_core::Error::Parameter`] where it does not.
    pub fn check_start(&self, t_min: f64) -> Result<()> {
        if let Forward::Chain(chain) = &self.process {
            let ok = t_min >= chain.1.start();
            sde_core::error::check("t_min", t_min, ok, "at least 1/N, the chain's first step")?;
        }
        let label = self.label.at(&self.process, t_min);
        sde_core::error::check("the label at t_min", label, true, "a finite number")?;
        Ok(())
    }
}

/// A forward process: one in continuous time, or a chain of DDPM with its continuous extension.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "toml::Value", into = "toml::Value")]
pub enum Forward {
    /// In continuous time.
    Continuous(Process),
    /// N discrete steps; label k ↔ t = (k + 1)/N.
    Chain(Box<(BetaSchedule, ContinuousChain)>),
}

impl Forward {
    /// The continuous extension of a chain.
    ///
    /// # Errors
    /// A schedule that is no chain, or has none.
    pub fn chain(schedule: BetaSchedule) -> Result<Self> {
        let extension = ContinuousChain::new(&schedule.chain()?)?;
        Ok(Self::Chain(Box::new((schedule, extension))))
    }
}

impl Deref for Forward {
    type Target = dyn Sde;
    fn deref(&self) -> &Self::Target {
        match self {
            Self::Continuous(process) => &**process,
            Self::Chain(chain) => &chain.1,
        }
    }
}

/// Names of chains in files begin with this.
const CHAIN: &str = "ddpm-";

impl TryFrom<toml::Value> for Forward {
    type Error = Error;

    fn try_from(mut value: toml::Value) -> Result<Self> {
        let name = value.get("name").and_then(toml::Value::as_str).unwrap_or_default();
        match name.strip_prefix(CHAIN).map(str::to_owned) {
            Some(chain) => {
                value["name"] = chain.into();
                let schedule: BetaSchedule = value
                    .try_into()
                    .map_err(|e: toml::de::Error| Error::config("process: ", e.message()))?;
                Self::chain(schedule)
            }
            None => value
                .try_into()
                .map(Self::Continuous)
                .map_err(|e: toml::de::Error| Error::config("process: ", e.message())),
        }
    }
}

impl From<Forward> for toml::Value {
    fn from(forward: Forward) -> Self {
        let value = match &forward {
            Forward::Continuous(process) => Self::try_from(process),
            Forward::Chain(chain) => Self::try_from(&chain.0).map(|mut value| {
                let name = value.get("name").and_then(Self::as_str).unwrap_or_default();
                value["name"] = format!("{CHAIN}{name}").into();
                value
            }),
        };
        value.unwrap_or_else(|e| Self::String(e.to_string())) // never: tables of numbers and names
    }
}

/// What a network is told of the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Label {
    /// The index k of a chain's step, `N t − 1`.
    #[serde(rename = "index")]
    Index,
    /// `999 t`.
    #[serde(rename = "999t")]
    Scaled,
    /// `t`.
    #[serde(rename = "t")]
    Time,
    /// `σ/α`, the noise level of `x/α`.
    #[serde(rename = "sigma")]
    Sigma,
    /// `ln(σ/α)/4` (Karras et al. 2022).
    #[serde(rename = "c-noise")]
    CNoise,
}

impl Label {
    /// The label of time t.
    pub fn at(self, process: &Forward, t: f64) -> f64 {
        let ratio = || {
            let k = process.coefficients(t);
            k.sigma / k.alpha
        };
        match (self, process) {
            (Self::Index, Forward::Chain(chain)) => chain.1.label(t),
            (Self::Index | Self::Time, _) => t,
            (Self::Scaled, _) => 999.0 * t,
            (Self::Sigma, _) => ratio(),
            (Self::CNoise, _) => 0.25 * ratio().ln(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
        process = { name = "vp-linear", beta_min = 0.1, beta_max = 20.0 }
        prediction = { edm = { sigma_data = 0.8 } }
        label = "c-noise"
        shape = [1, 8, 8]
        t_min = 1e-5
        levels = 17
    "#;

    #[test]
    fn a_description_survives_its_file() {
        let read = Description::parse(TEXT).unwrap();
        assert_eq!(read.prediction, Prediction::Edm { sigma_data: 0.8 });
        let again = Description::parse(&read.to_toml().unwrap()).unwrap();
        assert_eq!(again.to_toml().unwrap(), read.to_toml().unwrap());
        let k = read.process.coefficients(0.3);
        let label = read.label.at(&read.process, 0.3);
        assert!((label - 0.25 * (k.sigma / k.alpha).ln()).abs() < 1e-15);
    }

    #[test]
    fn a_chain_has_labels() {
        let text = TEXT
            .replace(
                r#"name = "vp-linear", beta_min = 0.1, beta_max = 20.0"#,
                r#"name = "ddpm-linear", T = 1000, beta_start = 1e-4, beta_end = 0.02"#,
            )
            .replace("c-noise", "index")
            .replace("t_min = 1e-5", "t_min = 0.001");
        let read = Description::parse(&text).unwrap();
        assert!((read.label.at(&read.process, 0.001)).abs() < 1e-12);
        assert!((read.label.at(&read.process, 1.0) - 999.0).abs() < 1e-12);
        assert!(read.to_toml().unwrap().contains("ddpm-linear"));
    }

    #[test]
    fn a_wrong_entry_is_one_sentence() {
        for (from, to, want) in [
            ("vp-linear", "vp-quadratic", "unknown variant `vp-quadratic`"),
            ("c-noise", "index", "label: found index, expected 999t, t, sigma or c-noise"),
            ("levels = 17", "levels = 1", "levels = 1 is out of range"),
            ("levels = 17", "level = 17", "unknown field `level`"),
            ("t_min = 1e-5", "t_min = 2", "t_min = 2 is out of range"),
            ("[1, 8, 8]", "[1, 0, 8]", "a sample has the shape [1, 0, 8]"),
            ("beta_min = 0.1", "beta_min = -1", "beta_min"),
            ("sigma_data = 0.8", "sigma_data = 0", "sigma_data = 0 is out of range"),
        ] {
            let text = Description::parse(&TEXT.replace(from, to)).unwrap_err().to_string();
            assert!(text.contains(want) && !text.contains('\n'), "{text}");
        }
    }
}
