//! The TOML file of a training run; unknown keys are refused by name.
//!
//! ```toml
//! out = "runs/digits"
//! seed = 0
//!
//! [data]
//! train = "digits:train"             # or a file or folder as `sde likelihood --data` takes
//! validation = "digits:validation"
//!
//! [model]
//! process = { name = "vp-linear", beta_min = 0.1, beta_max = 20.0 }
//! prediction = { edm = { sigma_data = 0.8 } }
//! label = "c-noise"
//! t_min = 1e-5
//!
//! [network]                          # the keys of a diffusers UNet2DModel
//! block_out_channels = [32, 64]
//! …
//!
//! [training]
//! steps = 10000
//! …
//! ```

use std::path::{Path, PathBuf};

use models::{Architecture, Description, Forward, Label, UNetConfig};
use score_match::{TimeLaw, Weighting};
use sde_core::Prediction;
use serde::{Deserialize, Serialize};

use super::error::{Result, TrainError};
use super::examples::Examples;

/// A training run.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// The folder of the run: its state, its model, its record.
    pub out: PathBuf,
    /// Key of every random number.
    pub seed: u64,
    /// Where the data are.
    pub data: DataConfig,
    /// What the network is to say, about which process.
    pub model: ModelConfig,
    /// The loss and its minimisation.
    pub training: Training,
    /// The network; channels and size are those of the data.
    pub network: Architecture,
    /// Whether to go on from a saved state that was made with another configuration.
    #[serde(skip)]
    pub resume: bool,
}

/// Where the data are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// The images to fit.
    pub train: String,
    /// The images to choose between checkpoints.
    pub validation: String,
    /// Levels of integer data, where the file cannot say that they are fewer than 256.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub levels: Option<u32>,
}

/// What the network is to say, about which process.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// The forward process.
    pub process: Forward,
    /// What the network's output means.
    pub prediction: Prediction,
    /// What the network is told of the time.
    pub label: Label,
    /// The first time that it is trained for.
    pub t_min: f64,
}

/// The loss and its minimisation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Training {
    /// Steps of the optimiser.
    pub steps: u64,
    /// Images of one step.
    pub batch: usize,
    /// The largest step size; it rises over `warmup` steps and falls to 0 as a half cosine.
    pub learning_rate: f64,
    /// Steps of the rise.
    pub warmup: u64,
    /// `(β₁, β₂)` of `AdamW`.
    pub betas: (f64, f64),
    /// w of `AdamW`.
    pub weight_decay: f64,
    /// The largest norm of the gradient.
    pub clip: f64,
    /// δ of the average of weights.
    pub ema: f64,
    /// The weight of the squared residual.
    pub weighting: Weighting,
    /// The law of the times.
    pub times: TimeLaw,
    /// Steps between two looks at the validation data.
    pub validate_every: u64,
    /// Steps between two saved states.
    pub checkpoint_every: u64,
    /// Steps between two reports.
    pub report_every: u64,
}

impl TrainConfig {
    /// Reads a TOML file and then `set`, entries `key.of.it=value` that win.
    ///
    /// # Errors
    /// A file that cannot be read, an unknown key, an entry out of range.
    pub fn read(path: &Path, set: &[String]) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| TrainError::File { path: path.into(), source })?;
        let wrong =
            |e: toml::de::Error| TrainError::Config { path: path.into(), what: one_line(&e) };
        let mut table: toml::Table = text.parse().map_err(wrong)?;
        set.iter().try_for_each(|entry| replace(&mut table, entry))?;
        let config: Self = table.try_into().map_err(wrong)?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<()> {
        let t = &self.training;
        if let Architecture::UNet2DModel(unet) = &self.network
            && let Some((key, value)) = unet.others.iter().next()
        {
            let (key, found) = (format!("network.{key}"), value.to_string());
            return Err(TrainError::Entry {
                key,
                found,
                expected: "a key of a UNet2DModel".into(),
            });
        }
        let rules = [
            ("training.steps", t.steps as f64, t.steps > 0),
            ("training.batch", t.batch as f64, t.batch > 0),
            ("training.learning_rate", t.learning_rate, t.learning_rate > 0.0),
            ("training.clip", t.clip, t.clip > 0.0),
            ("training.validate_every", t.validate_every as f64, t.validate_every > 0),
            ("training.checkpoint_every", t.checkpoint_every as f64, t.checkpoint_every > 0),
            ("training.report_every", t.report_every as f64, t.report_every > 0),
        ];
        let part = |x: f64| (0.0..1.0).contains(&x);
        let parts = [
            ("training.betas", t.betas.0, part(t.betas.0)),
            ("training.betas", t.betas.1, part(t.betas.1)),
            ("training.ema", t.ema, part(t.ema)),
            ("training.weight_decay", t.weight_decay, part(t.weight_decay)),
        ];
        if let Some((key, found, _)) = parts.iter().find(|(_, _, ok)| !ok) {
            let (key, found) = ((*key).into(), found.to_string());
            return Err(TrainError::Entry {
                key,
                found,
                expected: "a number from 0 to below 1".into(),
            });
        }
        match rules.iter().find(|(_, value, ok)| !(value.is_finite() && *ok)) {
            Some((key, found, _)) => {
                let (key, found) = ((*key).into(), found.to_string());
                Err(TrainError::Entry { key, found, expected: "a positive number".into() })
            }
            None => Ok(()),
        }
    }

    /// The text of the file, without `out`: what a run is, wherever it lies.
    ///
    /// # Errors
    /// None for finite numbers.
    pub fn identity(&self) -> Result<String> {
        let wrong = |e: toml::ser::Error| TrainError::Config {
            path: self.out.clone(),
            what: e.to_string(),
        };
        toml::to_string(&Self { out: PathBuf::new(), ..self.clone() }).map_err(wrong)
    }

    /// Where the model of the best validation bound is.
    pub fn model_folder(&self) -> PathBuf {
        self.out.join("model")
    }

    /// What the network is to be used as.
    ///
    /// # Errors
    /// Entries that contradict each other.
    pub fn description(&self, examples: &Examples) -> Result<Description> {
        let ModelConfig { process, prediction, label, t_min } = self.model.clone();
        let (shape, levels) = (examples.shape().to_vec(), examples.levels());
        let description =
            Description { process, prediction, label, shape, t_min, classes: None, levels };
        description.check()?;
        Ok(description)
    }

    /// The network, with the channels and the size of the data.
    ///
    /// # Errors
    /// A configuration that is not built.
    pub fn architecture(&self, [channels, height, width]: [i64; 3]) -> Result<Architecture> {
        let sample_size = Some(if height == width {
            models::unet::config::Size::Square(height)
        } else {
            models::unet::config::Size::Rectangle([height, width])
        });
        let config = match self.network.clone() {
            Architecture::UNet2DModel(network) => Architecture::from(UNetConfig {
                in_channels: channels,
                out_channels: channels,
                sample_size,
                ..network
            }),
            other => other,
        };
        Ok(Architecture::parse(&config.to_json()?)?)
    }

    /// The step size of step k.
    pub fn rate(&self, k: u64) -> f64 {
        let t = &self.training;
        let rise = (k as f64 / t.warmup.max(1) as f64).min(1.0);
        let gone =
            k.saturating_sub(t.warmup) as f64 / t.steps.saturating_sub(t.warmup).max(1) as f64;
        t.learning_rate * rise * 0.5 * (1.0 + (std::f64::consts::PI * gone.min(1.0)).cos())
    }
}

/// `a.b.c=value`: a TOML value, or a word.
fn replace(table: &mut toml::Table, entry: &str) -> Result<()> {
    let wrong = |found: &str| TrainError::Entry {
        key: "--set".into(),
        found: found.into(),
        expected: "key.of.the.file=value".into(),
    };
    let (key, value) = entry.split_once('=').ok_or_else(|| wrong(entry))?;
    let parsed: Option<toml::Table> = format!("v = {value}").parse().ok();
    let value = parsed.and_then(|mut t| t.remove("v")).unwrap_or_else(|| value.into());
    let (path, last) = key.rsplit_once('.').unwrap_or(("", key));
    let mut place = table;
    for part in path.split('.').filter(|part| !part.is_empty()) {
        let inner = place.entry(part).or_insert_with(|| toml::Table::new().into());
        place = inner.as_table_mut().ok_or_else(|| wrong(entry))?;
    }
    place.insert(last.into(), value);
    Ok(())
}

/// A parser's message on one line, with its place.
fn one_line(error: &toml::de::Error) -> String {
    let text = error.to_string();
    let place = text.lines().next().filter(|line| line.contains("line")).unwrap_or_default();
    let place = place.trim_start_matches("TOML parse error ");
    let message = error.message().split_whitespace().collect::<Vec<_>>().join(" ");
    if place.is_empty() { message } else { format!("{message} ({place})") }
}
