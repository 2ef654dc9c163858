//! The blocks of the U-Net: on the way down each state is remembered, on the way up it is taken back.
//!
//! The types differ in three ways, and a block is built from these: whether it attends (after every `ResNet` block, or once
//! after all of them), how it changes the size at its end (a convolution, a `ResNet` block, or the blocks of NCSN++ that
//! carry a second, smaller image beside the state), and the groups and the scale of its sums.

use tch::Tensor;

use super::attention::{Attention, plain};
use super::config::{BlockType, Resampling, TimeEntry, UNetConfig};
use super::ends::{Halving, Joint};
use crate::error::Result;
use crate::layers::resnet::{Kind, Pass, Resnet};
use crate::layers::{Flow, quarter_groups};
use crate::parameters::Builder;

/// The output scale of blocks of NCSN++.
pub(super) const SKIP_SCALE: f64 = std::f64::consts::SQRT_2;
/// Groups of their attention.
const SKIP_ATTENTION: i64 = 32;

/// `ResNet` blocks, each followed by its attention where there is one.
type Layers = Vec<Layer>;
type Layer = (Resnet, Option<Attention>);

/// A block on the way down.
#[derive(Debug)]
pub(super) struct Down {
    layers: Layers,
    end: Halving,
}

impl Down {
    pub(super) fn new(b: &mut Builder<'_>, config: &UNetConfig, i: usize) -> Result<Self> {
        let (name, c) = (format!("down_blocks.{i}"), &config.block_out_channels);
        let (cin, cout) = (c[i.saturating_sub(1)], c[i]);
        let block = config.down_block_types[i];
        let layer = |j| {
            let channels = (if j == 0 { cin } else { cout }, cout);
            let kind = kind(config, block, channels);
            let resnet = Resnet::new(b, &format!("{name}.resnets.{j}"), kind)?;
            let place = format!("{name}.attentions.{j}");
            let attention = block.attends().then(|| attention(b, &place, config, block, cout));
            Ok((resnet, attention.transpose()?))
        };
        let layers = (0..config.layers_per_block).map(layer).collect::<Result<_>>()?;
        let last = i + 1 == config.levels();
        Ok(Self { layers, end: Halving::new(b, &name, config, block, (cout, last))? })
    }

    /// Remembers every state.
    pub(super) fn forward(&self, flow: &mut Flow, pass: Pass<'_>) -> Result<()> {
        for layer in &self.layers {
            let h = pass.through(layer, &flow.h, apply)?;
            flow.push(h);
        }
        self.end.forward(flow, pass)
    }
}

/// `UNetMidBlock2D`: resnet, attention?, resnet.
#[derive(Debug)]
pub(super) struct Mid {
    first: Layer,
    second: Layer,
}

impl Mid {
    pub(super) fn new(b: &mut Builder<'_>, config: &UNetConfig) -> Result<Self> {
        let c = config.block_out_channels.last().copied().unwrap_or(0);
        let scale = config.mid_block_scale_factor;
        let kind = Kind { scale, ..plain(config, (c, c)) };
        // The format's rule: with scale and shift, no norm unless it is asked for.
        let usual = (config.resnet_time_scale_shift == TimeEntry::Default).then_some(kind.groups.0);
        let groups = config.attn_norm_num_groups.or(usual);
        let attention = config
            .add_attention
            .then(|| Attention::new(b, "mid_block.attentions.0", config, c, (groups, scale)))
            .transpose()?;
        Ok(Self {
            first: (Resnet::new(b, "mid_block.resnets.0", kind)?, attention),
            second: (Resnet::new(b, "mid_block.resnets.1", kind)?, None),
        })
    }

    pub(super) fn forward(&self, h: &Tensor, pass: Pass<'_>) -> Result<Tensor> {
        let h = pass.through(&self.first, h, apply)?;
        pass.through(&self.second, &h, apply)
    }
}

/// A block on the way up.
#[derive(Debug)]
pub(super) struct Up {
    layers: Layers,
    /// After all layers.
    attention: Option<Attention>,
    end: Joint,
}

impl Up {
    pub(super) fn new(b: &mut Builder<'_>, config: &UNetConfig, i: usize) -> Result<Self> {
        let (name, n) = (format!("up_blocks.{i}"), config.levels());
        let reversed = |i: usize| config.block_out_channels[n - 1 - i.min(n - 1)];
        let (cout, before, skip) = (reversed(i), reversed(i.saturating_sub(1)), reversed(i + 1));
        let block = config.up_block_types[i];
        let each = block.attends() && !block.skips();
        let last = config.layers_per_block;
        let layer = |j| {
            let parts = (if j == 0 { before } else { cout }, if j == last { skip } else { cout });
            let mut kind = kind(config, block, (parts.0 + parts.1, cout));
            if block == BlockType::AttnSkipUpBlock2D {
                kind.groups.0 = (parts.0 + parts.1 / 4).min(32); // so in the format: no parentheses
            }
            let resnet = Resnet::new(b, &format!("{name}.resnets.{j}"), kind)?;
            let place = format!("{name}.attentions.{j}");
            let attention = each.then(|| attention(b, &place, config, block, cout)).transpose()?;
            Ok((resnet, attention))
        };
        let layers = (0..=last).map(layer).collect::<Result<_>>()?;
        let place = format!("{name}.attentions.0");
        let attention = (block.attends() && !each)
            .then(|| attention(b, &place, config, block, cout))
            .transpose()?;
        Ok(Self {
            layers,
            attention,
            end: Joint::new(b, &name, config, block, (cout, i + 1 == n))?,
        })
    }

    /// Takes back one state for each layer, the last first.
    pub(super) fn forward(&self, flow: &mut Flow, pass: Pass<'_>) -> Result<()> {
        for layer in &self.layers {
            let joined = flow.joined()?;
            flow.h = pass.through(layer, &joined, apply)?;
        }
        if let Some(attention) = &self.attention {
            flow.h = attention.forward(&flow.h)?;
        }
        self.end.forward(flow, pass)
    }
}

/// A `ResNet` block inside a block of this type.
fn kind(config: &UNetConfig, block: BlockType, channels: (i64, i64)) -> Kind {
    let kind = plain(config, channels);
    if block.skips() {
        Kind {
            groups: (quarter_groups(channels.0), quarter_groups(channels.1)),
            scale: SKIP_SCALE,
            ..kind
        }
    } else {
        kind
    }
}

/// The attention inside a block of this type.
fn attention(
    b: &mut Builder<'_>,
    place: &str,
    config: &UNetConfig,
    block: BlockType,
    channels: i64,
) -> Result<Attention> {
    let (groups, scale) =
        if block.skips() { (SKIP_ATTENTION, SKIP_SCALE) } else { (config.groups(channels), 1.0) };
    Attention::new(b, place, config, channels, (Some(groups), scale))
}

fn apply((resnet, attention): &Layer, x: &Tensor, pass: Pass<'_>) -> Result<Tensor> {
    let h = resnet.forward(x, pass)?;
    attention.as_ref().map_or(Ok(h.shallow_clone()), |a| a.forward(&h))
}

impl BlockType {
    /// Whether there is attention in it.
    pub(super) fn attends(self) -> bool {
        matches!(
            self,
            Self::AttnDownBlock2D
                | Self::AttnUpBlock2D
                | Self::AttnSkipDownBlock2D
                | Self::AttnSkipUpBlock2D
        )
    }

    /// Whether it belongs to the way down.
    pub(super) fn goes_down(self) -> bool {
        matches!(
            self,
            Self::DownBlock2D
                | Self::AttnDownBlock2D
                | Self::ResnetDownsampleBlock2D
                | Self::SkipDownBlock2D
                | Self::AttnSkipDownBlock2D
        )
    }

    /// Whether it carries the second image of NCSN++.
    pub(super) fn skips(self) -> bool {
        matches!(
            self,
            Self::SkipDownBlock2D
                | Self::SkipUpBlock2D
                | Self::AttnSkipDownBlock2D
                | Self::AttnSkipUpBlock2D
        )
    }

    /// Whether it changes the size by a `ResNet` block, under the entry `resampling` of the configuration.
    pub(super) fn by_resnet(self, resampling: Option<Resampling>) -> bool {
        match self {
            Self::ResnetDownsampleBlock2D | Self::ResnetUpsampleBlock2D => true,
            Self::AttnDownBlock2D | Self::AttnUpBlock2D => resampling == Some(Resampling::Resnet),
            _ => false,
        }
    }
}
