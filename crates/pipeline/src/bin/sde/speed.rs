//! The arithmetic and the layout that a network is evaluated in.
//!
//! | layout | what is done | where it is chosen |
//! |---|---|---|
//! | nchw | as a file has it | vectors, TorchScript, and eval |
//! | nhwc | the channels of a pixel together in memory | where gradients are asked for: likelihood, verify; else on CUDA |
//! | packed | besides, convolutions keep their weights as oneDNN wants them | else on the CPU |
//!
//! All three differ by rounding. bf16 differs by more, and is used where it was asked for.

use pipeline::models::Model;
use pipeline::models::parameters::Place;
use pipeline::models::tch::{Device, Kind};

use crate::flags::Common;

/// Commands whose evaluations are differentiated, for the most part.
const GRADIENTS: [&str; 2] = ["likelihood", "verify"];

/// Where and how a model is evaluated by a command.
pub(crate) fn place(model: &Model, common: &Common, device: Device, command: &str) -> Place {
    let kind = if common.dtype == "bf16" { Kind::BFloat16 } else { Kind::Float };
    let images = model.sample_shape().is_none_or(|shape| shape.len() == 3);
    let usual = match device {
        _ if !images || model.architecture.is_none() || command == "eval" => "nchw",
        Device::Cpu if !GRADIENTS.contains(&command) => "packed",
        _ => "nhwc",
    };
    let layout = if common.layout == "auto" { usual } else { &common.layout };
    let packed = layout == "packed" && device == Device::Cpu;
    Place { kind, device, channels_last: layout != "nchw", packed }
}

/// In words.
pub(crate) fn describe(place: Place) -> String {
    let arithmetic = match place.kind {
        Kind::BFloat16 => "bf16, with norms' statistics and the embedding of time in f32",
        _ => "f32, strict: no TF32",
    };
    let layout = match (place.packed, place.channels_last) {
        (true, _) => "channels last, weights packed for oneDNN",
        (false, true) => "channels last",
        (false, false) => "channels first",
    };
    format!("{arithmetic}; {layout}")
}
