//! Networks as scores.
//!
//! In reading order:
//!
//! * [`batch`]: a libtorch tensor as a batch of samples;
//! * [`network`]: what a network is; [`architecture`]: those that are built here; [`parameters`]: their tensors by name;
//! * [`unet`]: the U-Nets of diffusers; [`song`]: those of `score_sde` and EDM; [`dit`]: a transformer; [`mlp`]: a
//!   perceptron for vectors; [`script`]: TorchScript;
//! * [`description`]: what a network was trained to say, and about which process;
//! * [`model`]: both together, in files that describe themselves; [`report`]: how a file can be wrong;
//! * [`score`]: the network as a [`Score`](sde_core::Score), with value and divergence from one pass;
//! * [`ema`]: the moving average of weights that is sampled from.

#![expect(clippy::cast_possible_wrap, reason = "sizes of tensors are far below 2^63")]

pub mod architecture;
pub mod batch;
pub mod description;
pub mod dit;
pub mod ema;
pub mod error;
mod layers;
pub mod mlp;
pub mod model;
mod names;
pub mod network;
pub mod parameters;
pub mod report;
pub mod score;
pub mod script;
pub mod song;
pub mod unet;
pub mod vjp;

pub use {sde_core, tch, torch_ext}; // whose types stand in this crate's signatures

pub use architecture::Architecture;
pub use batch::Batch;
pub use description::{Description, Forward, Label};
pub use ema::{Decay, Ema};
pub use error::{Error, Result};
pub use mlp::{Mlp, MlpConfig};
pub use model::Model;
pub use network::{Classes, FromFn, Input, Network, Training};
pub use parameters::Parameters;
pub use score::NetworkScore;
pub use unet::{UNet, UNetConfig};
pub use vjp::vjp;
