//! The blocks of the U-Net: on the way down each state is remembered, on the way up it is taken back.

use tch::Tensor;

use super::config::{BlockType, TimeEntry, UNetConfig};
use super::layers::{Attention, Downsample, Pass, Resnet, Upsample};
use crate::error::Result;
use crate::parameters::Builder;

/// `DownBlock2D` and `AttnDownBlock2D`: L × {resnet, attention?}, then half the size unless it is the last.
#[derive(Debug)]
pub(super) struct Down {
    layers: Vec<(Resnet, Option<Attention>)>,
    downsample: Option<Downsample>,
}

impl Down {
    pub(super) fn new(b: &mut Builder<'_>, config: &UNetConfig, i: usize) -> Result<Self> {
        let (name, c) = (format!("down_blocks.{i}"), &config.block_out_channels);
        let (cin, cout) = (c[i.saturating_sub(1)], c[i]);
        let attends = config.down_block_types[i] == BlockType::AttnDownBlock2D;
        let layer = |j| {
            let channels = (if j == 0 { cin } else { cout }, cout);
            layer(b, config, &name, j, channels, attends)
        };
        let layers = (0..config.layers_per_block).map(layer).collect::<Result<_>>()?;
        let place = format!("{name}.downsamplers.0");
        let downsample = (i + 1 < config.levels())
            .then(|| Downsample::new(b, &place, cout, config.downsample_padding))
            .transpose()?;
        Ok(Self { layers, downsample })
    }

    /// Appends every state to `stack`.
    pub(super) fn forward(
        &self,
        mut h: Tensor,
        pass: Pass<'_>,
        stack: &mut Vec<Tensor>,
    ) -> Result<Tensor> {
        for (resnet, attention) in &self.layers {
            h = apply(resnet, attention.as_ref(), &h, pass)?;
            stack.push(h.shallow_clone());
        }
        if let Some(downsample) = &self.downsample {
            h = downsample.forward(&h)?;
            stack.push(h.shallow_clone());
        }
        Ok(h)
    }
}

/// `UNetMidBlock2D`: resnet, attention?, resnet.
#[derive(Debug)]
pub(super) struct Mid {
    first: Resnet,
    attention: Option<Attention>,
    second: Resnet,
}

impl Mid {
    pub(super) fn new(b: &mut Builder<'_>, config: &UNetConfig) -> Result<Self> {
        let c = config.block_out_channels.last().copied().unwrap_or(0);
        let scale = config.mid_block_scale_factor;
        // The format's rule: with scale and shift, no norm unless it is asked for.
        let usual = (config.resnet_time_scale_shift == TimeEntry::Default).then(|| config.groups());
        let groups = config.attn_norm_num_groups.or(usual);
        let attention = config
            .add_attention
            .then(|| Attention::new(b, "mid_block.attentions.0", config, c, (groups, scale)))
            .transpose()?;
        Ok(Self {
            first: Resnet::new(b, "mid_block.resnets.0", config, (c, c), scale)?,
            attention,
            second: Resnet::new(b, "mid_block.resnets.1", config, (c, c), scale)?,
        })
    }

    pub(super) fn forward(&self, h: &Tensor, pass: Pass<'_>) -> Result<Tensor> {
        let h = apply(&self.first, self.attention.as_ref(), h, pass)?;
        self.second.forward(&h, pass)
    }
}

/// `UpBlock2D` and `AttnUpBlock2D`: (L + 1) × {take back, resnet, attention?}, then double unless it is the last.
#[derive(Debug)]
pub(super) struct Up {
    layers: Vec<(Resnet, Option<Attention>)>,
    upsample: Option<Upsample>,
}

impl Up {
    pub(super) fn new(b: &mut Builder<'_>, config: &UNetConfig, i: usize) -> Result<Self> {
        let (name, n) = (format!("up_blocks.{i}"), config.levels());
        let reversed = |i: usize| config.block_out_channels[n - 1 - i.min(n - 1)];
        let (cout, before, skip) = (reversed(i), reversed(i.saturating_sub(1)), reversed(i + 1));
        let attends = config.up_block_types[i] == BlockType::AttnUpBlock2D;
        let last = config.layers_per_block;
        let layer = |j| {
            let cin = if j == 0 { before } else { cout } + if j == last { skip } else { cout };
            layer(b, config, &name, j, (cin, cout), attends)
        };
        let layers = (0..=last).map(layer).collect::<Result<_>>()?;
        let upsample = (i + 1 < n)
            .then(|| Upsample::new(b, &format!("{name}.upsamplers.0"), cout))
            .transpose()?;
        Ok(Self { layers, upsample })
    }

    /// Takes one state from `stack` for each layer, the last first.
    pub(super) fn forward(
        &self,
        mut h: Tensor,
        pass: Pass<'_>,
        stack: &mut Vec<Tensor>,
    ) -> Result<Tensor> {
        for (resnet, attention) in &self.layers {
            let joined = match stack.pop() {
                Some(state) => Tensor::f_cat(&[h, state], 1)?,
                None => h,
            };
            h = apply(resnet, attention.as_ref(), &joined, pass)?;
        }
        self.upsample.as_ref().map_or(Ok(h.shallow_clone()), |u| u.forward(&h))
    }
}

/// Layer j of a block.
fn layer(
    b: &mut Builder<'_>,
    config: &UNetConfig,
    block: &str,
    j: usize,
    channels: (i64, i64),
    attends: bool,
) -> Result<(Resnet, Option<Attention>)> {
    let resnet = Resnet::new(b, &format!("{block}.resnets.{j}"), config, channels, 1.0)?;
    let (place, norm) = (format!("{block}.attentions.{j}"), (Some(config.groups()), 1.0));
    let attention =
        attends.then(|| Attention::new(b, &place, config, channels.1, norm)).transpose()?;
    Ok((resnet, attention))
}

fn apply(
    resnet: &Resnet,
    attention: Option<&Attention>,
    x: &Tensor,
    pass: Pass<'_>,
) -> Result<Tensor> {
    let h = resnet.forward(x, pass)?;
    attention.map_or(Ok(h.shallow_clone()), |a| a.forward(&h))
}
