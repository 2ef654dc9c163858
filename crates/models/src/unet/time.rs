//! The embedding of time, and of a class beside it.
//!
//! ```text
//! positional: [sin tω, cos tω],   ω_k = exp(−ln(10000) k/(K − shift)),  k = 0…K−1
//! fourier:    [sin a, cos a],     a = 2π W ln t
//! learned:    row t of a table
//! e = W₂ SiLU(W₁ ·)  (+ class)
//! ```
//!
//! K is half the channels of the finest level and W a frozen vector of as many random numbers as these are. Angles are f32
//! but in a network in f64, in the reference's order of products: at t = 999 or σ = 300 their rounding is part of what a
//! checkpoint was trained with.

use std::f32::consts::PI;

use tch::{Device, Kind, Tensor};

use super::config::{ClassEmbedType, TimeEmbeddingType, UNetConfig};
use crate::error::{Error, Result};
use crate::layers::{Linear, angles, waves};
use crate::network::{Classes, Input, whole};
use crate::parameters::{Builder, Init};

/// Standard deviation of W.
const FOURIER_SCALE: f64 = 16.0;

/// How a number becomes a vector.
#[derive(Debug)]
enum Projection {
    Positional { frequencies: Vec<f32>, odd: bool, cosine_first: bool },
    Fourier(Tensor),
    Learned(Tensor),
}

impl Projection {
    fn new(b: &mut Builder<'_>, config: &UNetConfig) -> Result<Self> {
        let c = config.first_channels();
        let name = "time_proj.weight".to_owned();
        Ok(match config.time_embedding_type {
            TimeEmbeddingType::Positional => Self::Positional {
                frequencies: frequencies(c / 2, config.freq_shift),
                odd: c % 2 == 1,
                cosine_first: config.flip_sin_to_cos,
            },
            TimeEmbeddingType::Fourier => {
                Self::Fourier(b.frozen(name, &[c], Init::Normal(FOURIER_SCALE))?)
            }
            TimeEmbeddingType::Learned => {
                let rows = config.num_train_timesteps.unwrap_or(0);
                Self::Learned(b.tensor(name, &[rows, c], Init::Normal(1.0))?)
            }
        })
    }

    /// Entries of its vectors.
    fn width(config: &UNetConfig) -> i64 {
        let fourier = config.time_embedding_type == TimeEmbeddingType::Fourier;
        config.first_channels() * if fourier { 2 } else { 1 }
    }

    fn forward(&self, numbers: &[f64], input: &Input<'_>) -> Result<Tensor> {
        match self {
            Self::Positional { frequencies, odd, cosine_first } => {
                let waves = waves(&angles(input, numbers, frequencies)?, *cosine_first)?;
                Ok(if *odd { waves.f_constant_pad_nd([0, 1])? } else { waves })
            }
            Self::Fourier(w) => {
                let ln = input.column(numbers)?.f_log()?.f_unsqueeze(1)?;
                let angles = ln.f_mul(&w.f_unsqueeze(0)?)?;
                let angles = angles.f_mul(&Tensor::from(2.0_f32))?.f_mul(&Tensor::from(PI))?;
                waves(&angles, false)
            }
            Self::Learned(table) => table_rows(table, numbers),
        }
    }
}

/// Rows of the table of times; a time between rows is an error.
fn table_rows(table: &Tensor, numbers: &[f64]) -> Result<Tensor> {
    let rows = usize::try_from(table.size()[0]).unwrap_or(0);
    let index = |&t: &f64| Ok(whole(t, rows, "the table of times")? as i64);
    let index = numbers.iter().map(index).collect::<Result<Vec<_>>>()?;
    Ok(table.f_index_select(0, &Tensor::f_from_slice(&index)?.f_to_device(table.device())?)?)
}

fn frequencies(half: i64, shift: i64) -> Vec<f32> {
    let scale = -10000_f64.ln() as f32;
    (0..half).map(|k| (scale * k as f32 / (half - shift) as f32).exp()).collect()
}

/// Two linear maps with `SiLU` between them.
#[derive(Debug)]
struct Perceptron(Linear, Linear);

impl Perceptron {
    fn new(b: &mut Builder<'_>, name: &str, config: &UNetConfig) -> Result<Self> {
        let (d, width) = (Projection::width(config), config.time_width());
        let first = Linear::new(b, &format!("{name}.linear_1"), d, width)?;
        Ok(Self(first, Linear::new(b, &format!("{name}.linear_2"), width, width)?))
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.1.forward(&self.0.forward(x)?.f_silu()?)
    }
}

/// How a class becomes a vector.
#[derive(Debug)]
enum Class {
    None,
    Table(Tensor),
    /// As a time does.
    Number(Perceptron),
    /// It is one.
    Vector,
}

/// The embedding of time and class.
#[derive(Debug)]
pub(super) struct Embedding {
    projection: Projection,
    time: Perceptron,
    class: Class,
    width: i64,
}

impl Embedding {
    pub(super) fn new(b: &mut Builder<'_>, config: &UNetConfig) -> Result<Self> {
        let width = config.time_width();
        let (projection, time) =
            (Projection::new(b, config)?, Perceptron::new(b, "time_embedding", config)?);
        let class = match (config.class_embed_type, config.num_class_embeds) {
            (Some(ClassEmbedType::Timestep), _) => {
                Class::Number(Perceptron::new(b, "class_embedding", config)?)
            }
            (Some(ClassEmbedType::Identity), _) => Class::Vector,
            (None, Some(n)) => {
                let name = "class_embedding.weight".into();
                Class::Table(b.tensor(name, &[n, width], Init::Normal(1.0))?)
            }
            (None, None) => Class::None,
        };
        Ok(Self { projection, time, class, width })
    }

    /// `[B, T]`.
    pub(super) fn forward(&self, input: &Input<'_>) -> Result<Tensor> {
        let e = self.time.forward(&self.projection.forward(input.label, input)?)?;
        let class = match &self.class {
            Class::None => {
                input.no_classes()?;
                return Ok(e);
            }
            Class::Table(table) => table.f_index_select(0, &input.table_rows(table.size()[0])?)?,
            Class::Number(perceptron) => {
                let numbers = vectors(input, &[input.label.len() as i64])?;
                let mut host = vec![0.0; input.label.len()];
                let double = numbers.f_to_kind(Kind::Double)?.f_to_device(Device::Cpu)?;
                double.f_copy_data(&mut host, input.label.len())?;
                perceptron.forward(&self.projection.forward(&host, input)?)?
            }
            Class::Vector => {
                vectors(input, &[input.label.len() as i64, self.width])?.shallow_clone()
            }
        };
        Ok(e.f_add(&class)?)
    }

    /// Rows of the class table.
    pub(super) fn classes(&self) -> Option<i64> {
        match &self.class {
            Class::Table(table) => table.size().first().copied(),
            _ => None,
        }
    }
}

/// Classes that are numbers or vectors, of this shape.
fn vectors<'a>(input: &Input<'a>, shape: &[i64]) -> Result<&'a Tensor> {
    let kind = input.x.f_kind()?;
    let expected = || format!("{shape:?}, {kind:?}");
    match input.class {
        Some(Classes::Vectors(v)) if v.size() == shape && v.f_kind()? == kind => Ok(v),
        Some(Classes::Vectors(v)) => {
            Err(Error::Shape { what: "the class labels", found: v.size(), expected: expected() })
        }
        other => Err(Error::Config {
            key: "the class labels".into(),
            found: if other.is_none() { "none" } else { "whole numbers" }.into(),
            expected: format!("numbers of the shape {}", expected()),
        }),
    }
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
