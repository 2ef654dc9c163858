//! The attention of the U-Net, and its `ResNet` blocks' names and settings.
//!
//! ```text
//! attention:   y = (x + attention(GN x)) / s
//! ```

use tch::Tensor;

use super::config::{TimeEntry, UNetConfig};
use crate::error::Result;
use crate::layers::resnet::{Kind, Names, Shortcut};
use crate::layers::{Heads, Norm, divided};
use crate::parameters::Builder;

const NAMES: Names = ["norm1", "conv1", "time_emb_proj", "norm2", "conv2", "conv_shortcut"];

/// The `ResNet` block of a plain block.
pub(super) fn plain(config: &UNetConfig, channels: (i64, i64)) -> Kind {
    Kind {
        names: NAMES,
        channels,
        groups: (config.groups(channels.0), config.groups(channels.1)),
        eps: config.norm_eps,
        embedding: config.time_width(),
        scale_shift: config.resnet_time_scale_shift == TimeEntry::ScaleShift,
        activation: config.act_fn,
        dropout: config.dropout,
        scale: 1.0,
        shortcut: Shortcut::WhereNeeded,
    }
}

/// Self-attention over the pixels.
#[derive(Clone, Debug)]
pub(super) struct Attention {
    norm: Option<Norm>,
    heads: Heads,
    scale: f64,
}

impl Attention {
    pub(super) fn new(
        b: &mut Builder<'_>,
        name: &str,
        config: &UNetConfig,
        channels: i64,
        (groups, scale): (Option<i64>, f64),
    ) -> Result<Self> {
        let width = config.attention_head_dim.unwrap_or(channels);
        let heads = channels / width;
        if heads == 0 {
            return Err(crate::Error::Config {
                key: "attention_head_dim".into(),
                found: width.to_string(),
                expected: format!("at most {channels}, the channels of {name}"),
            });
        }
        let inner = (channels, heads * width, heads);
        let place = format!("{name}.group_norm");
        let norm = groups
            .map(|groups| Norm::new(b, &place, channels, groups, config.norm_eps))
            .transpose()?;
        let heads = Heads::new(b, name, ["to_q", "to_k", "to_v", "to_out.0"], inner)?;
        Ok(Self { norm, heads, scale })
    }

    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let normed = self.norm.as_ref().map_or(Ok(x.shallow_clone()), |norm| norm.forward(x))?;
        divided(x.f_add(&self.heads.pixels(&normed)?)?, self.scale)
    }
}
