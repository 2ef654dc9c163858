//! Where the crates compose: data sets, runs over data sets, pictures, command lines.
//!
//! * [`data`]: integer images from files and folders, and the digits that are compiled in;
//! * [`dequantise`](mod@dequantise): integer images as points of a density model;
//! * [`host`]: noise → solver → drift → score with exact scores, and likelihoods, on all cores;
//! * `network` (feature `torch`): the same with networks, in batches on a device;
//! * [`bandwidth`]: a kernel density estimate fitted to held-out data; [`baseline`]: what else a model is measured against;
//! * [`output`]: pictures and arrays on disk, whole or not at all; [`parts`]: runs in chunks that are kept as they are done;
//! * [`plot`]: curves in panels, on any machine;
//! * [`sliced`], [`frechet`]: how far two samples are from one law; `script` (feature `torch`): features of images from a file;
//! * [`cli`]: what the programs' command lines share.

pub mod bandwidth;
pub mod baseline;
pub mod cli;
pub mod data;
pub mod dequantise;
pub mod frechet;
pub mod host;
#[cfg(feature = "torch")]
pub mod network;
pub mod output;
pub mod parts;
pub mod plot;
#[cfg(feature = "torch")]
pub mod script;
pub mod sliced;
#[cfg(feature = "torch")]
pub mod train;

#[cfg(feature = "torch")]
pub use models; // whose types stand in `network`'s signatures
pub use {ode_solvers, score_match, sde_core};
