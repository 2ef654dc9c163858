//! The embedding of time: sines and cosines of fixed frequencies through a small perceptron.
//!
//! ```text
//! ω_k = exp(−ln(10000) k/(K − shift)),   k = 0…K−1,   e = W₂ SiLU(W₁ [sin tω, cos tω])
//! ```
//!
//! K is half the channels of the finest level. Angles are f32, as in the format's reference: at t = 999 their rounding
//! is part of what a checkpoint was trained with.

use tch::{Device, Tensor};

use super::config::UNetConfig;
use super::layers::Linear;
use crate::error::Result;
use crate::parameters::Builder;

/// The embedding of time.
#[derive(Debug)]
pub(super) struct TimeEmbedding {
    frequencies: Vec<f32>,
    channels: usize,
    cosine_first: bool,
    linear_1: Linear,
    linear_2: Linear,
}

impl TimeEmbedding {
    pub(super) fn new(b: &mut Builder<'_>, config: &UNetConfig) -> Result<Self> {
        let (c, width) = (config.first_channels(), config.time_width());
        Ok(Self {
            frequencies: frequencies(c / 2, config.freq_shift),
            channels: usize::try_from(c).unwrap_or(0),
            cosine_first: config.flip_sin_to_cos,
            linear_1: Linear::new(b, "time_embedding.linear_1", c, width)?,
            linear_2: Linear::new(b, "time_embedding.linear_2", width, width)?,
        })
    }

    /// `[B, T]` for B labels.
    pub(super) fn forward(&self, labels: &[f64], device: Device) -> Result<Tensor> {
        let mut vectors = Vec::with_capacity(labels.len() * self.channels);
        labels.iter().for_each(|&t| self.push_vector(t as f32, &mut vectors));
        let shape = [labels.len() as i64, self.channels as i64];
        let e = Tensor::f_from_slice(&vectors)?.f_reshape(shape)?.f_to_device(device)?;
        self.linear_2.forward(&self.linear_1.forward(&e)?.f_silu()?)
    }

    fn push_vector(&self, t: f32, out: &mut Vec<f32>) {
        let angles = self.frequencies.iter().map(|w| t * w);
        let (sin, cos) = (angles.clone().map(f32::sin), angles.map(f32::cos));
        if self.cosine_first {
            out.extend(cos.chain(sin));
        } else {
            out.extend(sin.chain(cos));
        }
        if self.channels % 2 == 1 {
            out.push(0.0);
        }
    }
}

fn frequencies(half: i64, shift: i64) -> Vec<f32> {
    let scale = -10000_f64.ln() as f32;
    (0..half).map(|k| (scale * k as f32 / (half - shift) as f32).exp()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frequencies_fall_from_one_to_the_last() {
        let w = frequencies(4, 1);
        assert_eq!(w[0].to_bits(), 1.0_f32.to_bits());
        assert!((w[3] - 1e-4).abs() < 1e-9);
        assert!((frequencies(4, 0)[2] - 0.01).abs() < 1e-7);
    }
}
