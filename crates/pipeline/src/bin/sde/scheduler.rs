//! `scheduler_config.json` of diffusers: the betas and the prediction of a chain of the DDPM family, or the noise levels of
//! `ScoreSdeVeScheduler`, whose networks are scores told σ.

use std::error::Error;
use std::path::{Path, PathBuf};

use sde_core::Prediction;
use serde::Deserialize;

const NAME: &str = "scheduler_config.json";
/// The scheduler of variance exploding.
const EXPLODING: &str = "ScoreSdeVeScheduler";

/// What the file of a scheduler says.
#[derive(Clone, Debug)]
pub(crate) struct Scheduler {
    /// Where it was found.
    pub(crate) path: PathBuf,
    /// Its process as `--process` names it.
    pub(crate) process: String,
    /// Its betas, where they are listed.
    pub(crate) betas: Option<Vec<f64>>,
    /// What the network predicts.
    pub(crate) prediction: Prediction,
    config: Config,
}

/// The entries that matter here, with the defaults of diffusers.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
struct Config {
    num_train_timesteps: u32,
    beta_start: f64,
    beta_end: f64,
    beta_schedule: String,
    trained_betas: Option<Vec<f64>>,
    prediction_type: String,
    rescale_betas_zero_snr: bool,
    sigma_min: Option<f64>,
    sigma_max: Option<f64>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            num_train_timesteps: 1000,
            beta_start: 1e-4,
            beta_end: 0.02,
            beta_schedule: "linear".into(),
            trained_betas: None,
            prediction_type: "epsilon".into(),
            rescale_betas_zero_snr: false,
            sigma_min: None,
            sigma_max: None,
        }
    }
}

impl Scheduler {
    /// The file beside a model: in its directory, in its parent, or in `scheduler/` of either; `None` where there is none
    /// or it is of another family.
    ///
    /// # Errors
    /// A file that cannot be read, and entries that are not known.
    pub(crate) fn beside(model: &Path) -> Result<Option<Self>, Box<dyn Error>> {
        let folder = if model.is_dir() { Some(model) } else { model.parent() };
        let Some(folder) = folder else { return Ok(None) };
        let parent = folder.join("..");
        let places =
            [folder.into(), folder.join("scheduler"), parent.clone(), parent.join("scheduler")];
        let files = places.map(|place| place.join(NAME));
        match files.into_iter().find(|file| file.is_file()) {
            Some(path) => Self::read(&path),
            None => Ok(None),
        }
    }

    fn read(path: &Path) -> Result<Option<Self>, Box<dyn Error>> {
        let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
        let bad = |e: serde_json::Error| format!("{}: {e}", path.display());
        let value: serde_json::Value = serde_json::from_str(&text).map_err(bad)?;
        let of_family = |key| value.get(key).is_some();
        if value.get("_class_name").and_then(|name| name.as_str()) == Some(EXPLODING) {
            let config: Config = serde_json::from_value(value).map_err(bad)?;
            let (path, process) = (path.into(), "ve".into());
            return Ok(Some(Self {
                path,
                process,
                betas: None,
                prediction: Prediction::Score,
                config,
            }));
        }
        if !["beta_schedule", "beta_start", "trained_betas"].into_iter().any(of_family) {
            return Ok(None);
        }
        let config: Config = serde_json::from_value(value).map_err(bad)?;
        Self::new(path, config).map(Some)
    }

    fn new(path: &Path, config: Config) -> Result<Self, Box<dyn Error>> {
        let refuse = |key: &str, found: &str, expected: &str| {
            format!("{}: {key}: found {found}, expected {expected}", path.display())
        };
        let process = match config.beta_schedule.as_str() {
            "linear" => "ddpm-linear",
            "scaled_linear" => "ddpm-scaled-linear",
            "squaredcos_cap_v2" => "ddpm-cosine",
            "sigmoid" => "ddpm-sigmoid",
            _ if config.trained_betas.is_some() => "ddpm-linear", // not looked at
            other => {
                let expected = "linear, scaled_linear, squaredcos_cap_v2 or sigmoid";
                return Err(refuse("beta_schedule", other, expected).into());
            }
        };
        let prediction = match config.prediction_type.as_str() {
            "epsilon" => Prediction::Epsilon,
            "sample" => Prediction::X0,
            "v_prediction" => Prediction::V,
            other => {
                let expected = "epsilon, sample or v_prediction";
                return Err(refuse("prediction_type", other, expected).into());
            }
        };
        if config.rescale_betas_zero_snr {
            let expected = "false: a chain that ends without signal has no ODE here";
            return Err(refuse("rescale_betas_zero_snr", "true", expected).into());
        }
        let betas = config.trained_betas.clone();
        Ok(Self { path: path.into(), process: process.into(), betas, prediction, config })
    }

    /// The constant that a flag of this name would give.
    pub(crate) fn constant(&self, flag: &str) -> Option<f64> {
        match flag {
            "sigma-min" => self.config.sigma_min,
            "sigma-max" => self.config.sigma_max,
            _ if self.process == "ve" => None,
            "train-steps" => Some(self.config.num_train_timesteps.into()),
            "beta-min" => Some(self.config.beta_start),
            "beta-max" => Some(self.config.beta_end),
            _ => None,
        }
    }
}
