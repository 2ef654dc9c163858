//! A perceptron for vectors, with random Fourier features of the time label (Tancik et al. 2020).
//!
//! ```text
//! e = W₂ SiLU(W₁ [sin ωc, cos ωc]) (+ class),      ω ~ N(0, s²)
//! h = W x + b,     h ← h + V₂ SiLU(V₁ SiLU(LN h) + U e)   in every block,     y = W' SiLU(LN h) + b'
//! ```
//!
//! W' begins at 0, so that before training the network says 0 and the loss is that of the prior.

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use crate::error::{Error, Result};
use crate::layers::{Dropout, Linear, leaving, waves};
use crate::network::{Input, Network, Training};
use crate::parameters::{Builder, Init, Place};

/// The configuration of a perceptron.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MlpConfig {
    /// Numbers of a sample.
    pub dimension: i64,
    /// Numbers of the hidden state.
    #[serde(default = "usual_width")]
    pub width: i64,
    /// Blocks.
    #[serde(default = "usual_blocks")]
    pub blocks: usize,
    /// Frequencies ω of the time label.
    #[serde(default = "usual_frequencies")]
    pub frequencies: i64,
    /// s, in units of one over the label.
    #[serde(default = "usual_scale")]
    pub scale: f64,
    /// Dropout inside the blocks, in training.
    #[serde(default)]
    pub dropout: f64,
    /// Rows of the class table; no classes when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classes: Option<i64>,
}

/// More is no network but a damaged file.
const WIDEST: f64 = 1_048_576.0;

fn usual_width() -> i64 {
    128
}
fn usual_blocks() -> usize {
    3
}
fn usual_frequencies() -> i64 {
    32
}
fn usual_scale() -> f64 {
    1.0
}

impl MlpConfig {
    /// The usual one for samples of so many numbers.
    pub fn new(dimension: i64) -> Self {
        let (width, blocks) = (usual_width(), usual_blocks());
        let (frequencies, scale) = (usual_frequencies(), usual_scale());
        Self { dimension, width, blocks, frequencies, scale, dropout: 0.0, classes: None }
    }

    fn check(&self) -> Result<()> {
        let positive = [
            ("dimension", self.dimension as f64),
            ("width", self.width as f64),
            ("frequencies", self.frequencies as f64),
            ("scale", self.scale),
            ("classes", self.classes.unwrap_or(1) as f64),
        ];
        if self.blocks > 1000 {
            return Err(Error::Config {
                key: "blocks".into(),
                found: self.blocks.to_string(),
                expected: "at most 1000".into(),
            });
        }
        let wrong = positive.into_iter().find(|(_, n)| !(*n > 0.0 && *n <= WIDEST));
        let dropout = (0.0..1.0).contains(&self.dropout);
        let wrong = wrong.map(|w| (w, "a positive number, at most 1048576"));
        match wrong
            .or((!dropout).then_some((("dropout", self.dropout), "a number from 0 to below 1")))
        {
            Some(((key, found), expected)) => Err(Error::Config {
                key: key.into(),
                found: found.to_string(),
                expected: expected.into(),
            }),
            None => Ok(()),
        }
    }
}

/// Layer norm with affine parameters.
#[derive(Debug)]
struct LayerNorm(Tensor, Tensor, i64);

impl LayerNorm {
    fn new(b: &mut Builder<'_>, name: &str, width: i64) -> Result<Self> {
        let weight = b.tensor(format!("{name}.weight"), &[width], Init::Constant(1.0))?;
        Ok(Self(weight, b.tensor(format!("{name}.bias"), &[width], Init::Constant(0.0))?, width))
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        Ok(x.f_layer_norm([self.2], Some(&self.0), Some(&self.1), 1e-5, true)?)
    }
}

#[derive(Debug)]
struct Block {
    dropout: Dropout,
    norm: LayerNorm,
    first: Linear,
    time: Linear,
    second: Linear,
}

impl Block {
    fn new(b: &mut Builder<'_>, name: &str, width: i64, dropout: f64) -> Result<Self> {
        Ok(Self {
            dropout: Dropout::new(name, dropout),
            norm: LayerNorm::new(b, &format!("{name}.norm"), width)?,
            first: Linear::new(b, &format!("{name}.linear_1"), width, width)?,
            time: Linear::new(b, &format!("{name}.time"), width, width)?,
            second: Linear::new(b, &format!("{name}.linear_2"), width, width)?,
        })
    }

    fn forward(&self, h: &Tensor, e: &Tensor, train: Option<Training<'_>>) -> Result<Tensor> {
        let inner = self.first.forward(&self.norm.forward(h)?.f_silu()?)?;
        let inner = inner.f_add(&self.time.forward(e)?)?.f_silu()?;
        Ok(h.f_add(&self.second.forward(&self.dropout.forward(inner, train)?)?)?)
    }
}

/// The network.
#[derive(Debug)]
pub struct Mlp {
    config: MlpConfig,
    place: Place,
    frequencies: Tensor,
    time: (Linear, Linear),
    classes: Option<Tensor>,
    input: Linear,
    blocks: Vec<Block>,
    norm: LayerNorm,
    output: Linear,
}

impl Mlp {
    /// Builds the network of a configuration from the tensors of a builder.
    ///
    /// # Errors
    /// A configuration out of range, or a tensor that the builder does not have.
    pub fn new(config: &MlpConfig, b: &mut Builder<'_>) -> Result<Self> {
        config.check()?;
        let (w, n) = (config.width, config.frequencies);
        let table =
            |rows| b.precisely(|b| b.tensor("class.weight".into(), &[rows, w], Init::Normal(1.0)));
        let classes = config.classes.map(table).transpose()?;
        let blocks =
            (0..config.blocks).map(|i| Block::new(b, &format!("blocks.{i}"), w, config.dropout));
        let blocks = blocks.collect::<Result<_>>()?;
        Ok(Self {
            place: b.place(),
            frequencies: b.precisely(|b| {
                b.frozen("time.frequencies".into(), &[n], Init::Normal(config.scale))
            })?,
            time: b.precisely(|b| {
                let first = Linear::new(b, "time.linear_1", 2 * n, w)?;
                Ok((first, Linear::new(b, "time.linear_2", w, w)?))
            })?,
            classes,
            input: Linear::new(b, "input", config.dimension, w)?,
            blocks,
            norm: LayerNorm::new(b, "norm", w)?,
            output: Linear::begin(b, "output", (w, config.dimension), Init::Constant(0.0))?,
            config: config.clone(),
        })
    }

    fn embedding(&self, input: &Input<'_>) -> Result<Tensor> {
        let angles =
            input.label_tensor()?.f_unsqueeze(1)?.f_mul(&self.frequencies.f_unsqueeze(0)?)?;
        let e = self.time.0.forward(&waves(&angles, false)?)?.f_silu()?;
        let e = self.time.1.forward(&e)?;
        match &self.classes {
            Some(table) => {
                let rows = input.table_rows(table.size()[0])?;
                Ok(e.f_add(&table.f_index_select(0, &rows)?)?)
            }
            None => input.no_classes().map(|()| e),
        }
    }
}

impl Network for Mlp {
    fn forward(&self, input: Input<'_>) -> Result<Tensor> {
        input.check(self.kind())?;
        input.augmentation(0)?;
        let (found, d) = (input.x.size(), self.config.dimension);
        if found.len() != 2 || found[1] != d {
            let expected = format!("[B, {d}]");
            return Err(Error::Shape { what: "the network's input", found, expected });
        }
        let e = self.embedding(&input)?.f_to_kind(self.place.kind)?;
        let mut h = self.input.forward(&input.x.f_to_kind(self.place.kind)?)?;
        for block in &self.blocks {
            h = block.forward(&h, &e, input.train)?;
        }
        leaving(&self.output.forward(&self.norm.forward(&h)?.f_silu()?)?, self.place)
    }

    fn classes(&self) -> Option<i64> {
        self.config.classes
    }

    fn kind(&self) -> Kind {
        self.place.precise()
    }
}
