//! Networks as scores.
//!
//! In reading order:
//!
//! * [`batch`]: a libtorch tensor as a batch of samples;
//! * [`unet`]: the network, in the format of diffusers; [`parameters`]: its tensors by name;
//! * [`description`]: what a network was trained to say, and about which process;
//! * [`model`]: both together, in files that describe themselves; [`report`]: how a file can be wrong;
//! * [`score`]: the network as a [`Score`](sde_core::Score), with value and divergence from one pass;
//! * [`ema`]: the moving average of weights that is sampled from.

#![expect(clippy::cast_possible_wrap, reason = "sizes of tensors are far below 2^63")]

pub mod batch;
pub mod description;
pub mod ema;
pub mod error;
pub mod model;
mod names;
pub mod parameters;
pub mod report;
pub mod score;
pub mod unet;
pub mod vjp;

pub use {sde_core, tch, torch_ext}; // whose types stand in this crate's signatures

pub use batch::Batch;
pub use description::{Description, Forward, Label};
pub use ema::{Decay, Ema};
pub use error::{Error, Result};
pub use model::Model;
pub use parameters::Parameters;
pub use score::NetworkScore;
pub use unet::{UNet, UNetConfig};
pub use vjp::vjp;
