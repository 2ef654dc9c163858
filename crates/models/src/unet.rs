//! The U-Net of diffusers' `UNet2DModel` (Ho et al. 2020 and after), laid out as that format has it.
//!
//! ```text
//! e = embed(label) + class;   h = conv_in x;   down, middle, up with the states of the way down;
//! y = conv_out(SiLU(GN h)) (+ image) (/ σ)
//! ```
//!
//! The image is that of NCSN++'s blocks; the division by the label σ goes with a Fourier embedding, whose networks are scores.
//!
//! * [`config`]: `config.json`; `blocks`, `ends`, `attention`, `time`: the parts, named as in the file.

mod attention;
mod blocks;
pub mod config;
mod ends;
mod time;

use tch::{Kind, Tensor};

pub use config::UNetConfig;

use crate::error::{Error, Result};
use crate::layers::resnet::Pass;
use crate::layers::{Activation, Conv, Flow, Norm, centred, entered, entering, leaving, sizes};
use crate::network::{Input, Network};
use crate::parameters::{Builder, Place};
use blocks::{Down, Mid, Up};
use config::TimeEmbeddingType;
use time::Embedding;

/// The network. Its tensors are shared with the [`Parameters`](crate::Parameters) that it was connected to.
#[derive(Debug)]
pub struct UNet {
    config: UNetConfig,
    place: Place,
    embedding: Embedding,
    conv_in: Conv,
    down: Vec<Down>,
    mid: Option<Mid>,
    up: Vec<Up>,
    norm_out: Norm,
    conv_out: Conv,
}

impl UNet {
    /// Builds the network of a configuration from the tensors of a builder.
    ///
    /// # Errors
    /// Entries that contradict each other, a tensor that the builder does not have, or groups that do not divide a layer's channels.
    pub fn new(config: &UNetConfig, b: &mut Builder<'_>) -> Result<Self> {
        config.check()?;
        let (c0, n) = (config.first_channels(), config.levels());
        let mid = config.mid_block_type.as_ref().map(|_| Mid::new(b, config)).transpose()?;
        Ok(Self {
            place: b.place(),
            embedding: b.precisely(|b| Embedding::new(b, config))?,
            conv_in: Conv::new(b, "conv_in", (config.in_channels, c0), 3)?,
            down: (0..n).map(|i| Down::new(b, config, i)).collect::<Result<_>>()?,
            mid,
            up: (0..n).map(|i| Up::new(b, config, i)).collect::<Result<_>>()?,
            norm_out: Norm::new(b, "conv_norm_out", c0, config.groups(c0), config.norm_eps)?,
            conv_out: Conv::new(b, "conv_out", (c0, config.out_channels), 3)?,
            config: config.clone(),
        })
    }

    /// Refuses what would fail, or be broadcast, further in.
    fn check(&self, input: &Input<'_>) -> Result<()> {
        input.check(self.kind())?;
        input.augmentation(0)?;
        let (found, c) = (input.x.size(), self.config.in_channels);
        let factor = 1_i64 << (self.config.levels() - 1);
        let fits = |[_, channels, h, w]: [i64; 4]| {
            channels == c && h > 0 && w > 0 && h % factor == 0 && w % factor == 0
        };
        if found.len() != 4 || !fits(sizes(input.x)?) {
            let expected = format!("[B, {c}, H, W] with H and W multiples of {factor}");
            return Err(Error::Shape { what: "the network's input", found, expected });
        }
        Ok(())
    }
}

impl Network for UNet {
    fn forward(&self, input: Input<'_>) -> Result<Tensor> {
        self.check(&input)?;
        let x = if self.config.center_input_sample { &centred(input.x)? } else { input.x };
        let x = &entering(x, self.place)?;
        let embedding = self.embedding.forward(&input)?;
        let pass = Pass { embedding: &embedding, train: input.train };
        let h = entered(self.conv_in.forward(x)?, self.place)?;
        let mut flow = Flow::new(h, x);
        self.down.iter().try_for_each(|block| block.forward(&mut flow, pass))?;
        if let Some(mid) = &self.mid {
            flow.h = mid.forward(&flow.h, pass)?;
        }
        flow.image = None; // the way up has one of its own
        self.up.iter().try_for_each(|block| block.forward(&mut flow, pass))?;
        let y = self.conv_out.forward(&self.norm_out.activated(&flow.h, Activation::Silu)?)?;
        let y = flow.image.map_or(Ok(y.shallow_clone()), |image| y.f_add(&image))?;
        let y = leaving(&y, self.place)?;
        if self.config.time_embedding_type == TimeEmbeddingType::Fourier {
            let sigma = input.label_tensor()?.f_reshape([-1, 1, 1, 1])?;
            return Ok(y.f_div(&sigma)?);
        }
        Ok(y)
    }

    fn classes(&self) -> Option<i64> {
        self.embedding.classes()
    }

    fn kind(&self) -> Kind {
        self.place.precise()
    }
}
