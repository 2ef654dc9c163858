//! The configuration of `score_sde`'s networks.

use serde::{Deserialize, Serialize};

use super::super::plan::{Division, Family, Image, Plan, Time};
use super::{EmbeddingType, check, refusal};
use crate::error::Result;

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
