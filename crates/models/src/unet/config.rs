//! `config.json` of a diffusers `UNet2DModel`: keys, defaults where a key is absent, and what each means.
//!
//! Two checkpoints with the same tensors can need different arithmetic (padding, `norm_eps`, the order of sine and
//! cosine), so everything is taken from the file and nothing is guessed from the tensors. An absent
//! `attention_head_dim` means 8, a `null` one head as wide as the layer. Keys of other versions are ignored and kept in `others`;
//! the names that entries had in 2022 are read as today's.

mod check;
mod old;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::architecture::Architecture;
use crate::error::{Error, Result};
pub use crate::layers::Activation;

/// The configuration of a U-Net. Fields have the names and defaults of diffusers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct UNetConfig {
    /// Height and width that the model was trained on, for callers; the network takes others too.
    pub sample_size: Option<Size>,
    /// Channels of the input.
    pub in_channels: i64,
    /// Channels of the output.
    pub out_channels: i64,
    /// Whether the input is `2x − 1` of what is given.
    pub center_input_sample: bool,
    /// How a time becomes a vector.
    pub time_embedding_type: TimeEmbeddingType,
    /// Width of the time embedding; four times the first block's when absent.
    pub time_embedding_dim: Option<i64>,
    /// Positional embedding: taken from the number of frequencies.
    pub freq_shift: i64,
    /// Positional embedding: cosines first.
    pub flip_sin_to_cos: bool,
    /// Blocks on the way down, the finest first.
    pub down_block_types: Vec<BlockType>,
    /// The block at the bottom; none for `null`.
    pub mid_block_type: Option<String>,
    /// Blocks on the way up, the coarsest first.
    pub up_block_types: Vec<BlockType>,
    /// Channels of each level, the finest first.
    pub block_out_channels: Vec<i64>,
    /// `ResNet` blocks of a level on the way down; one more on the way up.
    pub layers_per_block: usize,
    /// The middle block's sums are divided by this.
    pub mid_block_scale_factor: f64,
    /// 1: strided convolutions pad all sides; 0: right and bottom only.
    pub downsample_padding: i64,
    /// How `AttnDownBlock2D` halves; a convolution for `null`.
    pub downsample_type: Option<Resampling>,
    /// How `AttnUpBlock2D` doubles; a convolution for `null`.
    pub upsample_type: Option<Resampling>,
    /// Dropout inside the `ResNet` blocks, in training.
    pub dropout: f64,
    /// Activation of the `ResNet` blocks.
    pub act_fn: Activation,
    /// Channels of an attention head; `null` is one head.
    #[serde(default = "eight")]
    pub attention_head_dim: Option<i64>,
    /// Groups of group norms; with `null` a quarter of the channels, at most 32.
    pub norm_num_groups: Option<i64>,
    /// Groups of the middle block's attention norm, where they differ.
    pub attn_norm_num_groups: Option<i64>,
    /// ε of every group norm.
    pub norm_eps: f64,
    /// How the time enters a `ResNet` block.
    pub resnet_time_scale_shift: TimeEntry,
    /// Whether the middle block attends.
    pub add_attention: bool,
    /// How a class becomes a vector; by a table for `null`.
    pub class_embed_type: Option<ClassEmbedType>,
    /// Rows of the class table; no classes when absent.
    pub num_class_embeds: Option<i64>,
    /// Rows of a learned time table.
    pub num_train_timesteps: Option<i64>,
    /// Keys that are not used here.
    #[serde(flatten)]
    pub others: BTreeMap<String, Value>,
}

#[expect(clippy::unnecessary_wraps, reason = "serde asks for the type of the field")]
fn eight() -> Option<i64> {
    Some(8)
}

/// A side length, or height and width.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Size {
    /// A square.
    Square(i64),
    /// Height, width.
    Rectangle([i64; 2]),
}

impl Size {
    /// Height and width.
    pub fn sides(self) -> [i64; 2] {
        match self {
            Self::Square(n) => [n, n],
            Self::Rectangle(sides) => sides,
        }
    }
}

/// How a time becomes a vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TimeEmbeddingType {
    /// Sines and cosines of fixed frequencies (Vaswani et al. 2017).
    Positional,
    /// Of random frequencies of ln t.
    Fourier,
    /// A table.
    Learned,
}

/// The block types of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the format's names")]
pub enum BlockType {
    DownBlock2D,
    AttnDownBlock2D,
    ResnetDownsampleBlock2D,
    SkipDownBlock2D,
    AttnSkipDownBlock2D,
    UpBlock2D,
    AttnUpBlock2D,
    ResnetUpsampleBlock2D,
    SkipUpBlock2D,
    AttnSkipUpBlock2D,
}

/// How resolution changes between levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resampling {
    /// A convolution.
    Conv,
    /// A `ResNet` block.
    Resnet,
}

/// How the time enters a `ResNet` block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeEntry {
    /// Added before the second norm.
    Default,
    /// Scale and shift of the second norm.
    ScaleShift,
}

/// How a class becomes a vector, other than by a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClassEmbedType {
    /// It is a number, embedded as a time is.
    Timestep,
    /// It is a vector as wide as the embedding of time.
    Identity,
}

impl Default for UNetConfig {
    fn default() -> Self {
        use BlockType::{AttnDownBlock2D, AttnUpBlock2D, DownBlock2D, UpBlock2D};
        Self {
            sample_size: None,
            in_channels: 3,
            out_channels: 3,
            center_input_sample: false,
            time_embedding_type: TimeEmbeddingType::Positional,
            time_embedding_dim: None,
            freq_shift: 0,
            flip_sin_to_cos: true,
            down_block_types: vec![DownBlock2D, AttnDownBlock2D, AttnDownBlock2D, AttnDownBlock2D],
            mid_block_type: Some("UNetMidBlock2D".into()),
            up_block_types: vec![AttnUpBlock2D, AttnUpBlock2D, AttnUpBlock2D, UpBlock2D],
            block_out_channels: vec![224, 448, 672, 896],
            layers_per_block: 2,
            mid_block_scale_factor: 1.0,
            downsample_padding: 1,
            downsample_type: Some(Resampling::Conv),
            upsample_type: Some(Resampling::Conv),
            dropout: 0.0,
            act_fn: Activation::Silu,
            attention_head_dim: eight(),
            norm_num_groups: Some(32),
            attn_norm_num_groups: None,
            norm_eps: 1e-5,
            resnet_time_scale_shift: TimeEntry::Default,
            add_attention: true,
            class_embed_type: None,
            num_class_embeds: None,
            num_train_timesteps: None,
            others: BTreeMap::new(),
        }
    }
}

impl UNetConfig {
    /// Reads the entries of a `config.json`, `_class_name` apart.
    ///
    /// # Errors
    /// An entry that is none of this network's, or one that cannot be built.
    pub(crate) fn from_entries(mut entries: Map<String, Value>) -> Result<Self> {
        old::rename(&mut entries);
        let config: Self =
            serde_json::from_value(Value::Object(entries)).map_err(|e| Error::config("", e))?;
        config.check()?;
        Ok(config)
    }

    /// Parses the text of a `config.json`.
    ///
    /// # Errors
    /// Text that is no JSON object of this kind, or a network that cannot be built.
    pub fn parse(text: &str) -> Result<Self> {
        match Architecture::parse(text)? {
            Architecture::UNet2DModel(config) => Ok(config),
            other => Err(Error::Config {
                key: "_class_name".into(),
                found: format!("{:?}", other.name()),
                expected: "\"UNet2DModel\"".into(),
            }),
        }
    }

    /// Refuses what contradicts itself.
    ///
    /// # Errors
    /// The first such entry.
    pub fn check(&self) -> Result<()> {
        check::check(self)
    }

    /// Number of levels.
    pub fn levels(&self) -> usize {
        self.block_out_channels.len()
    }

    /// Channels of the finest level.
    pub fn first_channels(&self) -> i64 {
        self.block_out_channels.first().copied().unwrap_or(0)
    }

    /// Width of the time embedding.
    pub fn time_width(&self) -> i64 {
        self.time_embedding_dim.unwrap_or(4 * self.first_channels())
    }

    /// Groups of a group norm over so many channels.
    pub fn groups(&self, channels: i64) -> i64 {
        self.norm_num_groups.unwrap_or_else(|| crate::layers::quarter_groups(channels))
    }
}
