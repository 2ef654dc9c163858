//! What tch lacks, and all the unsafe code and C++ of the project: libtorch without surprises.
//!
//! * [`error`]: short typed errors where libtorch sends kilobytes; running out of memory is told apart;
//! * [`runtime`]: which libtorch this is, whether its CUDA half was found, threads, reproducible arithmetic;
//! * [`weights`]: safetensors files, mapped into memory and read without a second copy, written whole or not at all;
//! * [`adamw`]: the fused optimiser, whose state is tensors that can be saved;
//! * [`attention`](mod@attention): softmax attention of narrow heads, where libtorch is slow;
//! * [`norm`]: group norm with embedding, scale, shift and `SiLU` in one pass;
//! * [`dropout`](mod@dropout): dropout that is a function of keys;
//! * [`checkpoint`](mod@checkpoint): parts of a graph that are made again on the way back;
//! * [`packed`]: convolutions that keep their weights in the layout of oneDNN;
//! * [`rows`]: sums over the rows of a batch, in one pass.
//!
//! # One binary for CPU and GPU
//!
//! A program is linked against the CPU half of libtorch. Before `main`, the shim looks for `libtorch_cuda.so` in the
//! folder of `libtorch_cpu.so` and loads it, since libtorch decides at its first call which devices there are. The
//! environment variable `TORCH_EXT_CUDA=0` switches that off.

pub mod adamw;
pub mod attention;
pub mod checkpoint;
pub mod dropout;
pub mod error;
mod ffi;
pub mod norm;
pub mod packed;
pub mod rows;
pub mod runtime;
pub mod weights;

/// The numbers of a tensor in row-major order, for tests.
#[cfg(test)]
#[allow(clippy::unwrap_used)]
fn numbers(t: &tch::Tensor) -> Vec<f64> {
    let t = t.f_to_kind(tch::Kind::Double).unwrap().f_contiguous().unwrap();
    let mut out = vec![0.0; t.numel()];
    t.f_copy_data(&mut out, t.numel()).unwrap();
    out
}

pub use error::{Error, Result, catch};
pub use tch; // whose types stand in this crate's signatures
pub use weights::{Weights, write_weights};
