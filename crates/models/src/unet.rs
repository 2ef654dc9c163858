//! The U-Net of diffusers' `UNet2DModel` (Ho et al. 2020 and after), laid out as that format has it.
//!
//! ```text
//! e = embed(label) + class;   h = conv_in x;   down, middle, up with the states of the way down;
//! y = conv_out(SiLU(GN h))
//! ```
//!
//! * [`config`]: `config.json`; `layers`, `blocks`, `time`: the parts, named as in the file.

mod blocks;
pub mod config;
mod layers;
mod time;

use tch::{Kind, Tensor};

pub use config::UNetConfig;

use crate::error::{Error, Result};
use crate::parameters::{Builder, Init, Layout, layout};
use blocks::{Down, Mid, Up};
use layers::{Conv, Norm, Pass, sizes};
use time::TimeEmbedding;

/// The network. Its tensors are shared with the [`Parameters`](crate::Parameters) that it was connected to.
#[derive(Debug)]
pub struct UNet {
    config: UNetConfig,
    time: TimeEmbedding,
    classes: Option<Tensor>,
    conv_in: Conv,
    down: Vec<Down>,
    mid: Option<Mid>,
    up: Vec<Up>,
    norm_out: Norm,
    conv_out: Conv,
}

/// What the network is evaluated on.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// `[B, C, H, W]`, f32, on the network's device.
    pub x: &'a Tensor,
    /// The network's own time label of each row.
    pub label: &'a [f64],
    /// The class of each row, for networks with a class table.
    pub class: Option<&'a [i64]>,
    /// Whether dropout drops.
    pub train: bool,
}

impl UNet {
    /// Builds the network of a configuration from the tensors of a builder.
    ///
    /// # Errors
    /// A tensor that the builder does not have.
    pub fn new(config: &UNetConfig, b: &mut Builder<'_>) -> Result<Self> {
        let (c0, width) = (config.first_channels(), config.time_width());
        let table = |b: &mut Builder<'_>, rows| {
            b.tensor("class_embedding.weight".into(), &[rows, width], Init::Uniform(1.0))
        };
        let n = config.levels();
        let mid = config.mid_block_type.as_ref().map(|_| Mid::new(b, config)).transpose()?;
        Ok(Self {
            time: TimeEmbedding::new(b, config)?,
            classes: config.num_class_embeds.map(|rows| table(b, rows)).transpose()?,
            conv_in: Conv::new(b, "conv_in", (config.in_channels, c0), 3)?,
            down: (0..n).map(|i| Down::new(b, config, i)).collect::<Result<_>>()?,
            mid,
            up: (0..n).map(|i| Up::new(b, config, i)).collect::<Result<_>>()?,
            norm_out: Norm::new(b, "conv_norm_out", c0, config.groups(), config.norm_eps)?,
            conv_out: Conv::new(b, "conv_out", (c0, config.out_channels), 3)?,
            config: config.clone(),
        })
    }

    /// The tensors that the network of a configuration has.
    ///
    /// # Errors
    /// None for a configuration that was read.
    pub fn layout(config: &UNetConfig) -> Result<Layout> {
        layout(|b| Self::new(config, b))
    }

    /// Its configuration.
    pub fn config(&self) -> &UNetConfig {
        &self.config
    }

    /// The output `[B, C_out, H, W]`.
    ///
    /// # Errors
    /// An input of another shape than the network takes, a class outside the table, or a failure of libtorch.
    pub fn forward(&self, input: Input<'_>) -> Result<Tensor> {
        let x = input.x;
        self.check(&input)?;
        let x = if self.config.center_input_sample {
            &x.f_mul(&Tensor::from(2.0))?.f_sub(&Tensor::from(1.0))?
        } else {
            x
        };
        let embedding = self.embedding(&input)?;
        let pass = Pass { embedding: &embedding, train: input.train };
        let mut h = self.conv_in.forward(x)?;
        let mut stack = vec![h.shallow_clone()];
        for block in &self.down {
            h = block.forward(h, pass, &mut stack)?;
        }
        if let Some(mid) = &self.mid {
            h = mid.forward(&h, pass)?;
        }
        for block in &self.up {
            h = block.forward(h, pass, &mut stack)?;
        }
        self.conv_out.forward(&self.norm_out.forward(&h)?.f_silu()?)
    }

    fn embedding(&self, input: &Input<'_>) -> Result<Tensor> {
        let device = input.x.device();
        let e = self.time.forward(input.label, device)?;
        match (&self.classes, input.class) {
            (Some(table), Some(classes)) => {
                let rows = Tensor::f_from_slice(classes)?.f_to_device(device)?;
                Ok(e.f_add(&table.f_index_select(0, &rows)?)?)
            }
            _ => Ok(e),
        }
    }

    /// Refuses what would fail, or be broadcast, further in.
    fn check(&self, input: &Input<'_>) -> Result<()> {
        let shape = |what, found, expected| Err(Error::Shape { what, found, expected });
        let (found, c) = (input.x.size(), self.config.in_channels);
        let factor = 1_i64 << (self.config.levels() - 1);
        let fits = |[_, channels, h, w]: [i64; 4]| {
            channels == c && h > 0 && w > 0 && h % factor == 0 && w % factor == 0
        };
        if found.len() != 4 || !fits(sizes(input.x)?) {
            let expected = format!("[B, {c}, H, W] with H and W multiples of {factor}");
            return shape("the network's input", found, expected);
        }
        if input.x.f_kind()? != Kind::Float {
            let (key, found) = ("the network's input".into(), format!("{:?}", input.x.f_kind()?));
            return Err(Error::Config { key, found, expected: "Float".into() });
        }
        let n = found[0];
        if input.label.len() as i64 != n {
            return shape("the time labels", vec![input.label.len() as i64], format!("[{n}]"));
        }
        self.check_classes(n, input.class)
    }

    fn check_classes(&self, n: i64, classes: Option<&[i64]>) -> Result<()> {
        let refuse = |found: String, expected: String| {
            Err(Error::Config { key: "the class labels".into(), found, expected })
        };
        match (self.config.num_class_embeds, classes) {
            (None, None) => Ok(()),
            (None, Some(_)) => refuse("some".into(), "none: the network has no class table".into()),
            (Some(rows), None) => {
                refuse("none".into(), format!("one for each sample, from 0 to {}", rows - 1))
            }
            (Some(_), Some(c)) if c.len() as i64 != n => {
                refuse(format!("{} of them", c.len()), format!("{n}, one for each sample"))
            }
            (Some(rows), Some(c)) => match c.iter().find(|c| !(0..rows).contains(*c)) {
                Some(c) => refuse(c.to_string(), format!("numbers from 0 to {}", rows - 1)),
                None => Ok(()),
            },
        }
    }
}
