//! The transformer of Peebles & Xie 2023 (DiT) over patches of an image, with the names of its checkpoints.
//!
//! ```text
//! z = patches(x) + position,     e = W₂ SiLU(W₁ [cos tω, sin tω]) + class
//! [b₁, s₁, g₁, b₂, s₂, g₂] = W SiLU(e)
//! z ← z + g₁ attention((1 + s₁) LN z + b₁),     z ← z + g₂ mlp((1 + s₂) LN z + b₂)          in every block
//! y = unpatch(W' ((1 + s) LN z + b))
//! ```
//!
//! W and W' begin at 0 (adaLN-zero), so that every block is the identity before training. The position is the fixed pattern
//! of sines and cosines of a patch's row and column.

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use crate::error::{Error, Result};
use crate::layers::{Linear, angles, attend, bound, leaving, waves};
use crate::network::{Input, Network};
use crate::parameters::{Builder, Init, Place};

/// The configuration of a transformer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DitConfig {
    /// Pixels of a side.
    pub input_size: i64,
    /// Pixels of a patch's side.
    pub patch_size: i64,
    /// Channels of a sample.
    pub in_channels: i64,
    /// Numbers of a patch's state.
    pub hidden_size: i64,
    /// Blocks.
    pub depth: usize,
    /// Heads of the attention.
    pub num_heads: i64,
    /// Hidden numbers of the perceptron, in units of `hidden_size`.
    pub mlp_ratio: f64,
    /// Classes, beside one that stands for none; 0 for a network without.
    pub num_classes: i64,
    /// Whether the output has twice the channels, the second half for variances.
    pub learn_sigma: bool,
}

impl Default for DitConfig {
    fn default() -> Self {
        Self {
            input_size: 32,
            patch_size: 2,
            in_channels: 3,
            hidden_size: 384,
            depth: 12,
            num_heads: 6,
            mlp_ratio: 4.0,
            num_classes: 0,
            learn_sigma: false,
        }
    }
}

impl DitConfig {
    fn check(&self) -> Result<()> {
        let (n, p, d, h) = (self.input_size, self.patch_size, self.hidden_size, self.num_heads);
        let positive = |x: i64| x > 0;
        let rules = [
            (positive(p), "patch_size", p.to_string(), "a positive number".to_owned()),
            (
                positive(n) && n % p.max(1) == 0,
                "input_size",
                n.to_string(),
                format!("a multiple of patch_size = {p}"),
            ),
            (
                positive(self.in_channels),
                "in_channels",
                self.in_channels.to_string(),
                "a positive number".into(),
            ),
            (positive(h), "num_heads", h.to_string(), "a positive number".into()),
            (
                (1..=WIDEST).contains(&d) && d % h.max(1) == 0 && d % 4 == 0,
                "hidden_size",
                d.to_string(),
                format!("a positive multiple of 4 and of num_heads = {h}"),
            ),
            (
                self.mlp_ratio > 0.0,
                "mlp_ratio",
                self.mlp_ratio.to_string(),
                "a positive number".into(),
            ),
            (
                self.num_classes >= 0,
                "num_classes",
                self.num_classes.to_string(),
                "0 or more".into(),
            ),
        ];
        let depth =
            (self.depth <= 1000, "depth", self.depth.to_string(), "at most 1000".to_owned());
        let size = (n <= 1 << 16, "input_size", n.to_string(), "at most 65536".to_owned());
        let ratio = (
            self.mlp_ratio <= 1000.0,
            "mlp_ratio",
            self.mlp_ratio.to_string(),
            "at most 1000".to_owned(),
        );
        let rules = rules.into_iter().chain([depth, size, ratio]);
        match rules.into_iter().find(|(holds, ..)| !holds) {
            Some((_, key, found, expected)) => {
                Err(Error::Config { key: key.into(), found, expected })
            }
            None => Ok(()),
        }
    }

    /// Channels of the output.
    pub fn out_channels(&self) -> i64 {
        if self.learn_sigma { 2 * self.in_channels } else { self.in_channels }
    }

    /// Patches of a side.
    fn patches(&self) -> i64 {
        self.input_size / self.patch_size
    }
}

/// More is no network but a damaged file.
const WIDEST: i64 = 1 << 20;

/// Numbers of the vector of time.
const FREQUENCIES: i64 = 256;

#[derive(Debug)]
struct Block {
    qkv: Linear,
    out: Linear,
    mlp: (Linear, Linear),
    modulation: Linear,
    heads: i64,
}

impl Block {
    fn new(b: &mut Builder<'_>, config: &DitConfig, i: usize) -> Result<Self> {
        let d = config.hidden_size;
        let hidden = (d as f64 * config.mlp_ratio) as i64;
        let name = |part: &str| format!("blocks.{i}.{part}");
        let zero = Init::Constant(0.0);
        Ok(Self {
            qkv: Linear::new(b, &name("attn.qkv"), d, 3 * d)?,
            out: Linear::new(b, &name("attn.proj"), d, d)?,
            mlp: (
                Linear::new(b, &name("mlp.fc1"), d, hidden)?,
                Linear::new(b, &name("mlp.fc2"), hidden, d)?,
            ),
            modulation: Linear::begin(b, &name("adaLN_modulation.1"), (d, 6 * d), zero)?,
            heads: config.num_heads,
        })
    }

    fn attention(&self, z: &Tensor) -> Result<Tensor> {
        let (b, n, d) = z.size3()?;
        let parts = self.qkv.forward(z)?.f_reshape([b, n, 3, self.heads, d / self.heads])?;
        let part = |i| Ok::<_, Error>(parts.f_select(2, i)?.f_transpose(1, 2)?);
        let y = attend(&part(0)?, &part(1)?, &part(2)?)?;
        self.out.forward(&y.f_transpose(1, 2)?.f_reshape([b, n, d])?)
    }

    /// `e` is activated.
    fn forward(&self, z: &Tensor, e: &Tensor) -> Result<Tensor> {
        let m = self.modulation.forward(e)?.f_unsqueeze(1)?.f_chunk(6, -1)?;
        let y = self.attention(&modulated(z, &m[0], &m[1])?)?;
        let z = z.f_addcmul(&m[2], &y)?;
        let y = self.mlp.0.forward(&modulated(&z, &m[3], &m[4])?)?.f_gelu("tanh")?;
        Ok(z.f_addcmul(&m[5], &self.mlp.1.forward(&y)?)?)
    }
}

/// `(1 + s) LN z + b`.
fn modulated(z: &Tensor, shift: &Tensor, scale: &Tensor) -> Result<Tensor> {
    let none = None::<Tensor>;
    let d = z.size().last().copied().unwrap_or(0);
    let z = z.f_layer_norm([d], none.as_ref(), none.as_ref(), 1e-6, true)?;
    Ok(z.f_addcmul(&z, scale)?.f_add(shift)?)
}

/// The network.
#[derive(Debug)]
pub struct Dit {
    config: DitConfig,
    patches: (Tensor, Tensor),
    place: Place,
    position: Tensor,
    time: (Linear, Linear),
    classes: Option<Tensor>,
    blocks: Vec<Block>,
    modulation: Linear,
    output: Linear,
}

impl Dit {
    /// Builds the network of a configuration from the tensors of a builder.
    ///
    /// # Errors
    /// A configuration out of range, or a tensor that the builder does not have.
    pub fn new(config: &DitConfig, b: &mut Builder<'_>) -> Result<Self> {
        config.check()?;
        let (d, p, c) = (config.hidden_size, config.patch_size, config.in_channels);
        let init = bound(c * p * p);
        let zero = Init::Constant(0.0);
        let table = |n| {
            let name = "y_embedder.embedding_table.weight".to_owned();
            b.precisely(|b| b.tensor(name, &[n + 1, d], Init::Normal(0.02)))
        };
        let classes = Some(config.num_classes).filter(|&n| n > 0).map(table).transpose()?;
        let blocks = (0..config.depth).map(|i| Block::new(b, config, i)).collect::<Result<_>>()?;
        let count = config.patches() * config.patches();
        Ok(Self {
            patches: (
                b.tensor("x_embedder.proj.weight".into(), &[d, c, p, p], init)?,
                b.tensor("x_embedder.proj.bias".into(), &[d], init)?,
            ),
            position: b.frozen(
                "pos_embed".into(),
                &[1, count, d],
                Init::Position(config.patches()),
            )?,
            place: b.place(),
            time: b.precisely(|b| {
                let first = Linear::new(b, "t_embedder.mlp.0", FREQUENCIES, d)?;
                Ok((first, Linear::new(b, "t_embedder.mlp.2", d, d)?))
            })?,
            classes,
            blocks,
            modulation: Linear::begin(b, "final_layer.adaLN_modulation.1", (d, 2 * d), zero)?,
            output: Linear::begin(
                b,
                "final_layer.linear",
                (d, p * p * config.out_channels()),
                zero,
            )?,
            config: config.clone(),
        })
    }

    fn embedding(&self, input: &Input<'_>) -> Result<Tensor> {
        let half = FREQUENCIES / 2;
        let w = |k: i64| (-10000_f64.ln() as f32 * k as f32 / half as f32).exp();
        let angles = angles(input, input.label, &(0..half).map(w).collect::<Vec<_>>())?;
        let vector = waves(&angles, true)?;
        let e = self.time.1.forward(&self.time.0.forward(&vector)?.f_silu()?)?;
        match &self.classes {
            Some(table) => {
                let rows = input.table_rows(table.size()[0])?;
                Ok(e.f_add(&table.f_index_select(0, &rows)?)?)
            }
            None => input.no_classes().map(|()| e),
        }
    }

    /// `[B, N, p·p·C]` to `[B, C, H, W]`.
    fn unpatched(&self, z: &Tensor) -> Result<Tensor> {
        let (b, n, p) = (z.size()[0], self.config.patches(), self.config.patch_size);
        let c = self.config.out_channels();
        let z = z.f_reshape([b, n, n, p, p, c])?.f_permute([0, 5, 1, 3, 2, 4])?;
        Ok(z.f_reshape([b, c, n * p, n * p])?)
    }
}

impl Network for Dit {
    fn forward(&self, input: Input<'_>) -> Result<Tensor> {
        input.check(self.kind())?;
        input.augmentation(0)?;
        let (found, c, n) = (input.x.size(), self.config.in_channels, self.config.input_size);
        if found.len() != 4 || found[1..] != [c, n, n] {
            let expected = format!("[B, {c}, {n}, {n}]");
            return Err(Error::Shape { what: "the network's input", found, expected });
        }
        let (p, (weight, bias)) = (self.config.patch_size, &self.patches);
        let x = input.x.f_to_kind(self.place.kind)?;
        let z = x.f_conv2d(weight, Some(bias), [p, p], [0, 0], [1, 1], 1)?;
        let mut z = z.f_flatten(2, -1)?.f_transpose(1, 2)?.f_add(&self.position)?;
        let e = self.embedding(&input)?.f_silu()?.f_to_kind(self.place.kind)?;
        for block in &self.blocks {
            z = block.forward(&z, &e)?;
        }
        let m = self.modulation.forward(&e)?.f_unsqueeze(1)?.f_chunk(2, -1)?;
        let y = self.unpatched(&self.output.forward(&modulated(&z, &m[0], &m[1])?)?)?;
        leaving(&y, self.place)
    }

    fn classes(&self) -> Option<i64> {
        Some(self.config.num_classes + 1).filter(|&n| n > 1)
    }

    fn kind(&self) -> Kind {
        self.place.precise()
    }
}

/// The pattern of n × n patches, d numbers each: of the column and then of the row, sines and then cosines of
/// `place/10000^{k/(d/4)}`.
pub(crate) fn position(n: usize, d: usize) -> Vec<f64> {
    let quarter = d / 4;
    let line = |place: usize| {
        let angle = move |k: usize| place as f64 / 10000_f64.powf(k as f64 / quarter as f64);
        let angles = (0..quarter).map(angle);
        angles.clone().map(f64::sin).chain(angles.map(f64::cos))
    };
    let patches = (0..n).flat_map(|row| (0..n).map(move |column| (row, column)));
    patches.flat_map(|(row, column)| line(column).chain(line(row))).collect()
}
