//! The configurations of EDM's networks.

use serde::{Deserialize, Serialize};

use super::super::plan::{Division, Family, Image, Plan, Time};
use super::{EmbeddingType, check, refusal};
use crate::error::Result;

/// `SongUNet` of EDM, with its entries and defaults: DDPM++; NCSN++ has other values of the last five.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "the names of EDM")]
pub struct SongUNetConfig {
    pub img_resolution: i64,
    pub in_channels: i64,
    pub out_channels: i64,
    pub label_dim: i64,
    pub augment_dim: i64,
    pub model_channels: i64,
    pub channel_mult: Vec<i64>,
    pub channel_mult_emb: i64,
    pub num_blocks: usize,
    pub attn_resolutions: Vec<i64>,
    pub dropout: f64,
    pub embedding_type: EmbeddingType,
    pub channel_mult_noise: i64,
    pub encoder_type: Way,
    pub decoder_type: Way,
    pub resample_filter: Vec<f64>,
    pub precond: Precond,
}

/// Whether a second image runs beside the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names of EDM")]
pub enum Way {
    Standard,
    Skip,
    Residual,
}

/// What is wrapped around the network, where `sde.toml` cannot say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precond {
    /// Nothing: the label goes to the network and its output comes from it.
    None,
    /// EDM's `VEPrecond`: the label is σ, the network is told ln(σ/2), and the score is its output over σ.
    Ve,
}

impl Default for SongUNetConfig {
    fn default() -> Self {
        Self {
            img_resolution: 32,
            in_channels: 3,
            out_channels: 3,
            label_dim: 0,
            augment_dim: 0,
            model_channels: 128,
            channel_mult: vec![1, 2, 2, 2],
            channel_mult_emb: 4,
            num_blocks: 4,
            attn_resolutions: vec![16],
            dropout: 0.1,
            embedding_type: EmbeddingType::Positional,
            channel_mult_noise: 1,
            encoder_type: Way::Standard,
            decoder_type: Way::Standard,
            resample_filter: vec![1.0, 1.0],
            precond: Precond::None,
        }
    }
}

impl SongUNetConfig {
    pub(crate) fn plan(&self) -> Result<Plan> {
        if self.decoder_type == Way::Residual {
            return Err(refusal("decoder_type", "residual", "standard or skip"));
        }
        let image = |way| match way {
            Way::Standard => Image::None,
            Way::Skip => Image::Skip,
            Way::Residual => Image::Residual,
        };
        let time = match self.embedding_type {
            EmbeddingType::Fourier => Time::Fourier { scale: 16.0, log: false },
            EmbeddingType::Positional => Time::Positional { cosine_first: false, endpoint: true },
        };
        let (width, noise) = (self.model_channels, self.model_channels * self.channel_mult_noise);
        let plan = Plan {
            family: Family::Song,
            size: self.img_resolution,
            channels: (self.in_channels, self.out_channels),
            centred: true,
            width,
            multiples: self.channel_mult.clone(),
            blocks: self.num_blocks,
            attention: self.attn_resolutions.clone(),
            dropout: self.dropout,
            filter: self.resample_filter.clone(),
            filtered: !matches!(self.resample_filter[..], [a, b] if (a - b).abs() == 0.0),
            by_resnet: true,
            with_conv: true,
            input: image(self.encoder_type),
            output: image(self.decoder_type),
            append: false,
            rescale: true,
            eps: 1e-6,
            scale_shift: false,
            head: None,
            time,
            embedding: (noise, width * self.channel_mult_emb),
            labels: self.label_dim,
            augment: self.augment_dim,
            division: division(self.precond),
            label_scale: 1.0,
        };
        check(plan, EDM)
    }
}

/// `DhariwalUNet` of EDM, the network of ADM, with its entries and defaults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "the names of EDM")]
pub struct DhariwalUNetConfig {
    pub img_resolution: i64,
    pub in_channels: i64,
    pub out_channels: i64,
    pub label_dim: i64,
    pub augment_dim: i64,
    pub model_channels: i64,
    pub channel_mult: Vec<i64>,
    pub channel_mult_emb: i64,
    pub num_blocks: usize,
    pub attn_resolutions: Vec<i64>,
    pub dropout: f64,
    pub precond: Precond,
}

impl Default for DhariwalUNetConfig {
    fn default() -> Self {
        Self {
            img_resolution: 64,
            in_channels: 3,
            out_channels: 3,
            label_dim: 0,
            augment_dim: 0,
            model_channels: 192,
            channel_mult: vec![1, 2, 3, 4],
            channel_mult_emb: 4,
            num_blocks: 3,
            attn_resolutions: vec![32, 16, 8],
            dropout: 0.1,
            precond: Precond::None,
        }
    }
}

/// Channels of a head of `DhariwalUNet`.
const HEAD: i64 = 64;

impl DhariwalUNetConfig {
    pub(crate) fn plan(&self) -> Result<Plan> {
        let width = self.model_channels;
        let plan = Plan {
            family: Family::Dhariwal,
            size: self.img_resolution,
            channels: (self.in_channels, self.out_channels),
            centred: true,
            width,
            multiples: self.channel_mult.clone(),
            blocks: self.num_blocks,
            attention: self.attn_resolutions.clone(),
            dropout: self.dropout,
            filter: vec![1.0, 1.0],
            filtered: false,
            by_resnet: true,
            with_conv: true,
            input: Image::None,
            output: Image::None,
            append: false,
            rescale: false,
            eps: 1e-5,
            scale_shift: true,
            head: Some(HEAD),
            time: Time::Positional { cosine_first: true, endpoint: false },
            embedding: (width, width * self.channel_mult_emb),
            labels: self.label_dim,
            augment: self.augment_dim,
            division: division(self.precond),
            label_scale: 1.0,
        };
        check(plan, EDM)
    }
}

fn division(precond: Precond) -> Division {
    match precond {
        Precond::None => Division::None,
        Precond::Ve => Division::Half,
    }
}

/// The entries of EDM for size, multiples, width, channels, dropout and blocks.
const EDM: [&str; 6] =
    ["img_resolution", "channel_mult", "model_channels", "in_channels", "dropout", "num_blocks"];
