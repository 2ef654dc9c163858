//! The three configurations, with the entries and defaults of `score_sde` and EDM.

use serde::{Deserialize, Serialize};

use super::plan::{Division, Family, Image, Plan, Time};
use crate::error::{Error, Result};

/// `ncsnpp` of `score_sde`: DDPM++ and NCSN++, with the entries of `config.model` and `config.data` there; the defaults are
/// those of NCSN++ for CIFAR-10 in continuous time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "the names of score_sde")]
#[expect(clippy::struct_excessive_bools, reason = "the switches of score_sde")]
pub struct NcsnPpConfig {
    pub image_size: i64,
    pub num_channels: i64,
    pub centered: bool,
    pub nf: i64,
    pub ch_mult: Vec<i64>,
    pub num_res_blocks: usize,
    pub attn_resolutions: Vec<i64>,
    pub dropout: f64,
    pub resamp_with_conv: bool,
    pub fir: bool,
    pub fir_kernel: Vec<f64>,
    pub skip_rescale: bool,
    pub resblock_type: BlockKind,
    pub progressive: Progressive,
    pub progressive_input: ProgressiveInput,
    pub progressive_combine: Combine,
    pub embedding_type: EmbeddingType,
    pub fourier_scale: f64,
    pub scale_by_sigma: bool,
    /// Of the label, before the network sees it; the output is divided by the label itself. One half makes a network of
    /// data in [0, 1] one of data in [−1, 1], where σ is twice as large.
    pub label_scale: f64,
    pub sigma_min: f64,
    pub sigma_max: f64,
    pub num_scales: u32,
}

/// The `ResNet` blocks of `score_sde`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BlockKind {
    /// Those of DDPM.
    Ddpm,
    /// Those of BigGAN, which change the size too.
    BigGan,
}

/// The image of the way up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "their names say it")]
pub enum Progressive {
    None,
    OutputSkip,
    Residual,
}

/// The image of the way down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "their names say it")]
pub enum ProgressiveInput {
    None,
    InputSkip,
    Residual,
}

/// How the image of the way down joins the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "their names say it")]
pub enum Combine {
    Sum,
    Cat,
}

/// How the time label becomes a vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EmbeddingType {
    /// By random frequencies.
    Fourier,
    /// By fixed frequencies.
    Positional,
}

impl Default for NcsnPpConfig {
    fn default() -> Self {
        Self {
            image_size: 32,
            num_channels: 3,
            centered: false,
            nf: 128,
            ch_mult: vec![1, 2, 2, 2],
            num_res_blocks: 4,
            attn_resolutions: vec![16],
            dropout: 0.1,
            resamp_with_conv: true,
            fir: true,
            fir_kernel: vec![1.0, 3.0, 3.0, 1.0],
            skip_rescale: true,
            resblock_type: BlockKind::BigGan,
            progressive: Progressive::None,
            progressive_input: ProgressiveInput::Residual,
            progressive_combine: Combine::Sum,
            embedding_type: EmbeddingType::Fourier,
            fourier_scale: 16.0,
            scale_by_sigma: true,
            label_scale: 1.0,
            sigma_min: 0.01,
            sigma_max: 50.0,
            num_scales: 1000,
        }
    }
}

impl NcsnPpConfig {
    pub(crate) fn plan(&self) -> Result<Plan> {
        let by_resnet = self.resblock_type == BlockKind::BigGan;
        // There the original stops: its filtered convolution that doubles reverses a tensor by a negative stride.
        let broken =
            !by_resnet && self.resamp_with_conv || self.progressive == Progressive::Residual;
        if self.fir && broken {
            let expected = "false: the original network does not run with a filter here";
            return Err(refusal("fir", "true", expected));
        }
        if self.fir_kernel.iter().ne(self.fir_kernel.iter().rev()) {
            let found = format!("{:?}", self.fir_kernel);
            return Err(refusal("fir_kernel", &found, "a filter that is its own mirror image"));
        }
        let fourier = self.embedding_type == EmbeddingType::Fourier;
        let time = if fourier {
            Time::Fourier { scale: self.fourier_scale, log: true }
        } else {
            Time::Positional { cosine_first: false, endpoint: true }
        };
        let division = match (self.scale_by_sigma, fourier) {
            (false, _) => Division::None,
            (true, true) => Division::Label,
            (true, false) => Division::Table(self.sigmas()?),
        };
        let plan = Plan {
            family: Family::ScoreSde,
            size: self.image_size,
            channels: (self.num_channels, self.num_channels),
            centred: self.centered,
            width: self.nf,
            multiples: self.ch_mult.clone(),
            blocks: self.num_res_blocks,
            attention: self.attn_resolutions.clone(),
            dropout: self.dropout,
            filter: if self.fir { self.fir_kernel.clone() } else { vec![1.0, 1.0] },
            filtered: self.fir,
            by_resnet,
            with_conv: self.resamp_with_conv,
            input: match self.progressive_input {
                ProgressiveInput::None => Image::None,
                ProgressiveInput::InputSkip => Image::Skip,
                ProgressiveInput::Residual => Image::Residual,
            },
            output: match self.progressive {
                Progressive::None => Image::None,
                Progressive::OutputSkip => Image::Skip,
                Progressive::Residual => Image::Residual,
            },
            append: self.progressive_combine == Combine::Cat,
            rescale: self.skip_rescale,
            eps: 1e-6,
            scale_shift: false,
            head: None,
            time,
            embedding: (if fourier { 2 * self.nf } else { self.nf }, 4 * self.nf),
            labels: 0,
            augment: 0,
            division,
            label_scale: self.label_scale,
        };
        check(plan, ["image_size", "ch_mult", "nf", "num_channels", "dropout", "num_res_blocks"])
    }

    /// The noise levels of a discretely trained network, from the largest to the smallest.
    fn sigmas(&self) -> Result<Vec<f64>> {
        let (first, last) = (self.sigma_max.ln(), self.sigma_min.ln());
        if !(first.is_finite() && last.is_finite() && first > last && self.num_scales > 1) {
            let found =
                format!("{} to {} in {} levels", self.sigma_max, self.sigma_min, self.num_scales);
            return Err(refusal("sigma_max", &found, "falling positive noise levels"));
        }
        let step = (last - first) / f64::from(self.num_scales - 1);
        Ok((0..self.num_scales).map(|i| (first + f64::from(i) * step).exp()).collect())
    }
}

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

fn refusal(key: &str, found: &str, expected: &str) -> Error {
    Error::Config { key: key.into(), found: found.into(), expected: expected.into() }
}

/// The entries of EDM for size, multiples, width, channels, dropout and blocks.
const EDM: [&str; 6] =
    ["img_resolution", "channel_mult", "model_channels", "in_channels", "dropout", "num_blocks"];

/// More is no network but a damaged file.
const WIDEST: i64 = 1 << 20;
const MOST: usize = 1000;

/// Refuses what contradicts itself, by its entry.
fn check(
    plan: Plan,
    [size, multiples, width, channels, dropout, blocks]: [&str; 6],
) -> Result<Plan> {
    let levels = plan.multiples.len();
    let finest = 1_i64 << levels.clamp(1, 32).saturating_sub(1);
    let rules = [
        (
            (1..32).contains(&levels),
            multiples,
            format!("{levels} levels"),
            "1 to 31 levels".to_owned(),
        ),
        (
            plan.multiples.iter().all(|&m| (1..=MOST as i64).contains(&m)),
            multiples,
            format!("{:?}", plan.multiples),
            "positive numbers".into(),
        ),
        (
            plan.size > 0 && plan.size % finest == 0,
            size,
            plan.size.to_string(),
            format!("a positive multiple of {finest}"),
        ),
        (
            plan.label_scale > 0.0,
            "label_scale",
            plan.label_scale.to_string(),
            "a positive number".into(),
        ),
        (
            (4..=WIDEST).contains(&plan.width) && plan.width % 2 == 0,
            width,
            plan.width.to_string(),
            format!("an even number from 4 to {WIDEST}"),
        ),
        (
            (1..=WIDEST).contains(&plan.embedding.0) && (1..=WIDEST).contains(&plan.embedding.1),
            "the widths of the embedding",
            format!("{:?}", plan.embedding),
            format!("numbers from 1 to {WIDEST}"),
        ),
        (
            [plan.channels.0, plan.channels.1].iter().all(|c| (1..=WIDEST).contains(c)),
            channels,
            format!("{:?}", plan.channels),
            format!("numbers from 1 to {WIDEST}"),
        ),
        (
            (0..=WIDEST).contains(&plan.labels) && (0..=WIDEST).contains(&plan.augment),
            "label_dim or augment_dim",
            format!("{:?}", (plan.labels, plan.augment)),
            format!("numbers from 0 to {WIDEST}"),
        ),
        (
            (1..=MOST).contains(&plan.blocks),
            blocks,
            plan.blocks.to_string(),
            format!("a number from 1 to {MOST}"),
        ),
        (
            (0.0..1.0).contains(&plan.dropout),
            dropout,
            plan.dropout.to_string(),
            "a number from 0 to below 1".into(),
        ),
        (
            plan.filter.len() >= 2
                && plan.filter.len().is_multiple_of(2)
                && plan.filter.iter().sum::<f64>().abs() > 0.0,
            "the filter",
            format!("{:?}", plan.filter),
            "an even number of entries whose sum is not 0".into(),
        ),
    ];
    match rules.into_iter().find(|(holds, ..)| !holds) {
        Some((_, key, found, expected)) => Err(refusal(key, &found, &expected)),
        None => Ok(plan),
    }
}
