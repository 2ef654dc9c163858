//! The `ResNet` block and the attention of the U-Net.
//!
//! ```text
//! resnet:      h = GN2(conv1(R act(GN1 x)) + W act(e)),   y = (shortcut R x + conv2(drop act h)) / s
//! scale_shift: h = GN2(conv1(R act(GN1 x))) (1 + a) + b,  [a, b] = W act(e)
//! attention:   y = (x + attention(GN x)) / s
//! ```
//!
//! with e the embedding of time (and class), s the output scale, and R the halving or doubling of blocks that resample.

use tch::Tensor;

use super::config::{TimeEntry, UNetConfig};
use crate::error::Result;
use crate::layers::fir::Fir;
use crate::layers::{
    Activation, Conv, Heads, Linear, Norm, averaged, beside_pixels, divided, dropped, nearest,
};
use crate::parameters::Builder;

/// What changes during one pass: the embedding, and whether dropout drops.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pass<'a> {
    /// `[B, T]`, not activated.
    pub(super) embedding: &'a Tensor,
    pub(super) train: bool,
}

/// R.
#[derive(Debug)]
pub(super) enum Resample {
    Keep,
    Average,
    Nearest,
    FirDown(Fir),
    FirUp(Fir),
}

impl Resample {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Keep => Ok(x.shallow_clone()),
            Self::Average => averaged(x),
            Self::Nearest => nearest(x),
            Self::FirDown(fir) => fir.down(x),
            Self::FirUp(fir) => fir.up(x),
        }
    }
}

/// What sets one `ResNet` block apart from another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind {
    pub(super) channels: (i64, i64),
    /// Of the two norms.
    pub(super) groups: (i64, i64),
    /// s.
    pub(super) scale: f64,
    /// A convolution beside the block even where the channels stay.
    pub(super) forced_shortcut: bool,
}

impl Kind {
    pub(super) fn plain(config: &UNetConfig, channels: (i64, i64)) -> Self {
        let groups = (config.groups(channels.0), config.groups(channels.1));
        Self { channels, groups, scale: 1.0, forced_shortcut: false }
    }
}

/// A `ResNet` block.
#[derive(Debug)]
pub(super) struct Resnet {
    norm1: Norm,
    conv1: Conv,
    time: Linear,
    norm2: Norm,
    conv2: Conv,
    shortcut: Option<Conv>,
    entry: TimeEntry,
    activation: Activation,
    dropout: f64,
    scale: f64,
    resample: Resample,
}

impl Resnet {
    pub(super) fn new(
        b: &mut Builder<'_>,
        name: &str,
        config: &UNetConfig,
        kind: Kind,
    ) -> Result<Self> {
        let ((cin, cout), eps) = (kind.channels, config.norm_eps);
        let shortcut = (cin != cout || kind.forced_shortcut)
            .then(|| Conv::new(b, &format!("{name}.conv_shortcut"), (cin, cout), 1))
            .transpose()?;
        let entry = config.resnet_time_scale_shift;
        let vectors = if entry == TimeEntry::ScaleShift { 2 } else { 1 };
        let time = (config.time_width(), vectors * cout);
        Ok(Self {
            norm1: Norm::new(b, &format!("{name}.norm1"), cin, kind.groups.0, eps)?,
            conv1: Conv::new(b, &format!("{name}.conv1"), (cin, cout), 3)?,
            time: Linear::new(b, &format!("{name}.time_emb_proj"), time.0, time.1)?,
            norm2: Norm::new(b, &format!("{name}.norm2"), cout, kind.groups.1, eps)?,
            conv2: Conv::new(b, &format!("{name}.conv2"), (cout, cout), 3)?,
            shortcut,
            entry,
            activation: config.act_fn,
            dropout: config.dropout,
            scale: kind.scale,
            resample: Resample::Keep,
        })
    }

    /// One that halves or doubles the size with a mean or copies.
    pub(super) fn resampling(self, resample: Resample) -> Self {
        Self { resample, ..self }
    }

    pub(super) fn forward(&self, x: &Tensor, pass: Pass<'_>) -> Result<Tensor> {
        let act = |x: &Tensor| self.activation.forward(x);
        let h = self.resample.forward(&act(&self.norm1.forward(x)?)?)?;
        let x = &self.resample.forward(x)?;
        let h = self.conv1.forward(&h)?;
        let e = beside_pixels(&self.time.forward(&act(pass.embedding)?)?)?;
        let h = match self.entry {
            TimeEntry::Default => self.norm2.forward(&h.f_add(&e)?)?,
            TimeEntry::ScaleShift => {
                let halves = e.f_chunk(2, 1)?;
                let h = self.norm2.forward(&h)?;
                h.f_addcmul(&h, &halves[0])?.f_add(&halves[1])?
            }
        };
        let h = self.conv2.forward(&dropped(act(&h)?, self.dropout, pass.train)?)?;
        let y = match &self.shortcut {
            Some(shortcut) => shortcut.forward(x)?.f_add(&h)?,
            None => x.f_add(&h)?,
        };
        divided(y, self.scale)
    }
}

/// Self-attention over the pixels.
#[derive(Debug)]
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
