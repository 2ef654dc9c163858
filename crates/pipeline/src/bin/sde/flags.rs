//! Flags that commands share.

use std::path::PathBuf;

use clap::Args;
use pipeline::cli::{number, positive, whole};
use sde_core::Tolerance;

/// Flags of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Common flags")]
pub(crate) struct Common {
    /// Where the network runs: cpu, cuda, cuda:N, or auto, which is CUDA where there is a device.
    #[arg(long, global = true, default_value = "auto", value_parser = device)]
    pub(crate) device: String,
    /// Arithmetic of the network: f32 without TF32, or bf16, which is faster and differs by about one part in a hundred.
    #[arg(long, global = true, default_value = "f32", value_parser = ["f32", "bf16"])]
    pub(crate) dtype: String,
    /// Layout of images and weights in memory, which changes results by rounding: auto is packed on the CPU, nhwc on CUDA.
    #[arg(long, global = true, default_value = "auto", value_parser = ["auto", "nchw", "nhwc", "packed"])]
    pub(crate) layout: String,
    /// Samples on the device together; results do not depend on it but for rounding.
    #[arg(long, global = true, value_name = "N", value_parser = whole(1, 1_000_000), allow_negative_numbers = true)]
    pub(crate) batch: Option<u64>,
    /// Key of all random numbers; 0 when absent.
    #[arg(long, global = true, value_name = "N", value_parser = whole(0, u64::MAX), allow_negative_numbers = true)]
    pub(crate) seed: Option<u64>,
    /// Threads of libtorch on the CPU; all cores when absent.
    #[arg(long, global = true, value_name = "N", value_parser = whole(1, 1024), allow_negative_numbers = true)]
    pub(crate) threads: Option<u64>,
    /// Print one JSON object on stdout and nothing else there.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Say nothing on stderr but errors.
    #[arg(long, global = true)]
    pub(crate) quiet: bool,
}

impl Common {
    /// Key of all random numbers.
    pub(crate) fn seed(&self) -> u64 {
        self.seed.unwrap_or(0)
    }

    /// Samples on the device together.
    pub(crate) fn batch_or(&self, default: usize) -> usize {
        self.batch.map_or(default, |n| usize::try_from(n).unwrap_or(default))
    }
}

fn device(text: &str) -> Result<String, String> {
    let number = text.strip_prefix("cuda:").is_some_and(|n| n.parse::<u16>().is_ok());
    if number || ["cpu", "cuda", "auto"].contains(&text) {
        Ok(text.into())
    } else {
        Err("expected cpu, cuda, cuda:N or auto".into())
    }
}

/// A model that is a score.
#[derive(Debug, Args)]
pub(crate) struct ModelFlags {
    /// A model's directory, or its safetensors file as `sde train` writes it.
    #[arg(long, value_name = "DIR|FILE")]
    pub(crate) model: PathBuf,
    #[command(flatten)]
    pub(crate) meaning: MeaningFlags,
    /// The class of every sample, for models with classes.
    #[arg(long, value_name = "K", value_parser = whole(0, 1 << 31), allow_negative_numbers = true)]
    pub(crate) class: Option<u64>,
    /// Where the flow ends on the side of the data; by default where the model says.
    #[arg(long, value_name = "T", value_parser = number(0.0, f64::MAX), allow_negative_numbers = true)]
    pub(crate) t_min: Option<f64>,
    /// Where it ends on the side of the noise; by default the end of the process.
    #[arg(long, value_name = "T", value_parser = number(0.0, f64::MAX), allow_negative_numbers = true)]
    pub(crate) t_max: Option<f64>,
}

/// What a model means, where it does not say so itself; a flag overrides what it says.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "For a model without sde.toml (a flag overrides what a file says)")]
pub(crate) struct MeaningFlags {
    /// The forward process.
    #[arg(long, value_parser = clap::builder::PossibleValuesParser::new(crate::process::names()))]
    pub(crate) process: Option<String>,
    /// β at t = 0 (vp-linear 0.1, sub-vp 0.1), or of a chain's first step (ddpm-linear 1e-4, ddpm-scaled-linear 8.5e-4).
    #[arg(long, value_name = "X", value_parser = positive, allow_negative_numbers = true)]
    pub(crate) beta_min: Option<f64>,
    /// β at t = 1 (20), or of a chain's last step (ddpm-linear 0.02, ddpm-scaled-linear 0.012).
    #[arg(long, value_name = "X", value_parser = positive, allow_negative_numbers = true)]
    pub(crate) beta_max: Option<f64>,
    /// σ at t = 0 of ve (0.01).
    #[arg(long, value_name = "X", value_parser = positive, allow_negative_numbers = true)]
    pub(crate) sigma_min: Option<f64>,
    /// σ at the end of ve (no default) or edm (80).
    #[arg(long, value_name = "X", value_parser = positive, allow_negative_numbers = true)]
    pub(crate) sigma_max: Option<f64>,
    /// The offset s of vp-cosine and ddpm-cosine (0.008).
    #[arg(long, value_name = "X", value_parser = number(0.0, 1.0), allow_negative_numbers = true)]
    pub(crate) cosine_s: Option<f64>,
    /// Steps N of a chain (1000).
    #[arg(long, value_name = "N", value_parser = whole(2, 10_000_000), allow_negative_numbers = true)]
    pub(crate) train_steps: Option<u64>,
    /// What the network predicts.
    #[arg(long, value_parser = ["epsilon", "x0", "score", "v", "velocity", "edm"])]
    pub(crate) prediction: Option<String>,
    /// Standard deviation of the data, for the prediction edm (0.5, Karras et al. 2022).
    #[arg(long, value_name = "X", value_parser = positive, allow_negative_numbers = true)]
    pub(crate) sigma_data: Option<f64>,
    /// What the network is told of the time; index for ddpm-*.
    #[arg(long, value_parser = ["index", "999t", "t", "sigma", "c-noise"])]
    pub(crate) label: Option<String>,
}

/// Tolerances of an adaptive solver.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct ToleranceFlags {
    /// Relative tolerance of an adaptive solver; 1e-5 when absent, as Song et al. (2021) have it.
    #[arg(long, value_name = "X", value_parser = number(1e-13, 1.0), allow_negative_numbers = true)]
    pub(crate) rtol: Option<f64>,
    /// Absolute tolerance, in the units of the state; 1e-5 when absent.
    #[arg(long, value_name = "X", value_parser = positive, allow_negative_numbers = true)]
    pub(crate) atol: Option<f64>,
}

impl ToleranceFlags {
    pub(crate) fn given(self) -> bool {
        self.rtol.is_some() || self.atol.is_some()
    }

    pub(crate) fn tolerance(self) -> Tolerance {
        self.or(1e-5)
    }

    /// The tolerances, with this number for one that is absent.
    pub(crate) fn or(self, absent: f64) -> Tolerance {
        Tolerance { rtol: self.rtol.unwrap_or(absent), atol: self.atol.unwrap_or(absent) }
    }
}
