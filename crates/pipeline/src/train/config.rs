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
//! [network]                          # the keys of a diffusers UNet2DModel, or those of an Mlp
//! block_out_channels = [32, 64]
//! …
//!
//! [training]
//! steps = 10000
//! …
//! ```
//!
//! Keys without a default are scientific choices or sizes; those with one leave something out when they are absent.

mod check;
mod file;

use std::path::PathBuf;

use models::{Architecture, Description, Forward, Label, UNetConfig};
use score_match::{TimeLaw, Weighting};
use sde_core::Prediction;
use serde::{Deserialize, Serialize};

use super::error::{Result, TrainError};
use super::examples::Examples;
use super::rate::Schedule;

/// A training run.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// The folder of the run: its states, its model, its record.
    pub out: PathBuf,
    /// Key of every random number.
    pub seed: u64,
    /// Where the data are.
    pub data: DataConfig,
    /// What the network is to say, about which process.
    pub model: ModelConfig,
    /// The loss and its minimisation.
    pub training: Training,
    /// What is saved and shown, and when.
    #[serde(default, skip_serializing_if = "Keep::is_default")]
    pub keep: Keep,
    /// The network; channels and size are those of the data.
    pub network: Architecture,
    /// Whether to go on from a saved state that was made with another configuration.
    #[serde(skip)]
    pub resume: bool,
}

/// Where the data are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// The images to fit.
    pub train: String,
    /// The images to choose between checkpoints.
    pub validation: String,
    /// Levels of integer data, where the file cannot say that they are fewer than 256.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub levels: Option<u32>,
    /// Classes of the images to fit, a file of one byte for each; digits and CIFAR-10 have theirs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub train_labels: Option<PathBuf>,
    /// Classes of the images to choose by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation_labels: Option<PathBuf>,
    /// Mirrors half of the images that a step sees, left to right.
    #[serde(default, skip_serializing_if = "is_false")]
    pub flip: bool,
    /// EDM's augmentation that the network is told of, each part of it with this probability.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub augment: f64,
    /// Reads images when a step needs them, so that memory does not grow with their number.
    #[serde(default, skip_serializing_if = "is_false")]
    pub stream: bool,
    /// How a folder of pictures is read: below it too, cut and resized to one size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pictures: Option<Pictures>,
}

/// How a folder of pictures of many sizes becomes images of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pictures {
    /// Side of the square that is cut from the middle and resized.
    pub size: u32,
    /// 1: grey, 3: colour; the others are converted.
    pub channels: u8,
    /// What becomes of a picture that cannot be read.
    pub broken: Broken,
}

impl From<Pictures> for crate::data::pictures::Square {
    fn from(Pictures { size, channels, broken }: Pictures) -> Self {
        Self { size, channels, skip: broken == Broken::Skip }
    }
}

/// What becomes of a picture that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Broken {
    /// The run does not begin.
    Refuse,
    /// It is named and left out.
    Skip,
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
    /// Parts of a batch that go through the network one after another, to save memory; they divide it.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub accumulate: usize,
    /// Forgets the states inside of the blocks of a U-Net and makes them again on the way back, to save memory.
    #[serde(default, skip_serializing_if = "is_false")]
    pub gradient_checkpointing: bool,
    /// The largest step size.
    pub learning_rate: f64,
    /// Steps in which it is reached, along a line from 0.
    pub warmup: u64,
    /// How it falls afterwards.
    #[serde(default)]
    pub schedule: Schedule,
    /// Arithmetic of products and convolutions; weights, averages and moments are f32.
    #[serde(default)]
    pub dtype: Dtype,
    /// The optimiser.
    #[serde(default)]
    pub optimiser: Optimiser,
    /// `(β₁, β₂)` of the optimiser.
    pub betas: (f64, f64),
    /// w of the optimiser.
    pub weight_decay: f64,
    /// The largest norm of the gradient.
    pub clip: f64,
    /// The average of weights.
    pub ema: Averages,
    /// The weight of the squared residual.
    pub weighting: Weighting,
    /// The law of the times.
    pub times: TimeLaw,
    /// Whether the density of the times is divided out of the loss, (M3), or part of it, as EDM means it.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub divide_by_law: bool,
    /// Learns the logarithm of the loss at each noise level with the network, and divides by it, (M7).
    #[serde(default, skip_serializing_if = "is_false")]
    pub learned_weight: bool,
    /// The part of the batch that is shown without its class, as the last one of the table.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub label_dropout: f64,
    /// Steps between two looks at the validation data.
    pub validate_every: u64,
    /// Steps between two saved states.
    pub checkpoint_every: u64,
    /// Steps between two reports.
    pub report_every: u64,
}

/// Arithmetic of products and convolutions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dtype {
    /// 24 bits of mantissa.
    #[default]
    F32,
    /// 8 bits, where the processor has units for them a few times as fast.
    Bf16,
}

/// The optimiser.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Optimiser {
    /// Weight decay beside the gradient (Loshchilov and Hutter 2019).
    #[default]
    Adamw,
    /// Weight decay in the gradient, as a square of the weights in the loss (Kingma and Ba 2015).
    Adam,
}

/// The averages of weights that a run keeps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum Averages {
    /// δ of an exponential average with a warm-up.
    Decay(f64),
    /// Power-function averages, from which one of another width is made when the run is over.
    Power {
        /// Widths of the two averages that are kept, as parts of the run.
        power: [f64; 2],
        /// Widths among which the bound on the validation data chooses in the end.
        post_hoc: Vec<f64>,
    },
}

/// What is saved and shown, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Keep {
    /// Saved states, the latest ones.
    pub states: usize,
    /// Steps between two states that stay for ever.
    pub milestone_every: Option<u64>,
    /// Steps between two grids of samples.
    pub sample_every: Option<u64>,
    /// Samples of a grid.
    pub samples: usize,
    /// Threads that make batches while the network learns.
    pub threads: usize,
}

impl Default for Keep {
    fn default() -> Self {
        Self { states: 2, milestone_every: None, sample_every: None, samples: 64, threads: 1 }
    }
}

impl Keep {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

fn one() -> usize {
    1
}

fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_one(n: &usize) -> bool {
    *n == 1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_true(b: &bool) -> bool {
    *b
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_false(b: &bool) -> bool {
    !*b
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(x: &f64) -> bool {
    *x == 0.0
}

impl TrainConfig {
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
    /// A configuration that is not built; data of another shape than it takes.
    pub fn architecture(&self, shape: &[i64]) -> Result<Architecture> {
        let config: Architecture = match (self.network.clone(), shape) {
            (Architecture::UNet2DModel(network), &[channels, height, width]) => {
                let size = if height == width {
                    models::unet::config::Size::Square(height)
                } else {
                    models::unet::config::Size::Rectangle([height, width])
                };
                let (in_channels, out_channels, sample_size) = (channels, channels, Some(size));
                UNetConfig { in_channels, out_channels, sample_size, ..network }.into()
            }
            (network, _) if network.sample_shape().as_deref() == Some(shape) => network,
            (network, _) => {
                let found = format!("an {} for samples of the shape {shape:?}", network.name());
                let expected = network.sample_shape().map_or_else(
                    || "images [C, H, W]".into(),
                    |shape| format!("samples of the shape {shape:?}, as its configuration says"),
                );
                return Err(TrainError::Entry { key: "network".into(), found, expected });
            }
        };
        Ok(Architecture::parse(&config.to_json()?)?)
    }

    /// Classes that the network can be told, the one for none among them.
    fn class_rows(&self) -> Option<i64> {
        match &self.network {
            Architecture::UNet2DModel(network) => network.num_class_embeds,
            Architecture::NCSNpp(_) => None,
            Architecture::SongUNet(network) => Some(network.label_dim + 1).filter(|&n| n > 1),
            Architecture::DhariwalUNet(network) => Some(network.label_dim + 1).filter(|&n| n > 1),
            Architecture::DiT(network) => Some(network.num_classes + 1).filter(|&n| n > 1),
            Architecture::Mlp(network) => network.classes,
        }
    }

    /// Numbers that tell the network what was done to an image.
    pub(super) fn augment_dim(&self) -> i64 {
        match &self.network {
            Architecture::SongUNet(network) => network.augment_dim,
            Architecture::DhariwalUNet(network) => network.augment_dim,
            _ => 0,
        }
    }

    /// Classes of the data that the network can be told; the one for none is not among them.
    pub fn classes(&self) -> Option<i64> {
        let rows = self.class_rows()?;
        Some(if self.training.label_dropout > 0.0 { rows - 1 } else { rows })
    }

    /// The step size of step k.
    pub fn rate(&self, k: u64) -> f64 {
        let t = &self.training;
        t.learning_rate * t.schedule.at(k, t.warmup, t.steps)
    }
}
