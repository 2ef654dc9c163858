//! The layers of the U-Net: convolution, linear map, group norm, `ResNet` block, attention, resampling.
//!
//! ```text
//! resnet:     h = GN2(conv1(act(GN1 x)) + W act(e)),   y = (shortcut x + conv2(drop(act h))) / s
//! scale_shift: h = GN2(conv1(act(GN1 x))) (1 + a) + b,   [a, b] = W act(e)
//! attention:  y = (x + W_o softmax(q kᵀ/√d) v) / s,   q, k, v = W GN(x) over the pixels
//! ```
//!
//! with e the embedding of time (and class) and s the output scale.

use tch::Tensor;

use super::config::{Activation, TimeEntry, UNetConfig};
use crate::attention::attend;
use crate::error::Result;
use crate::parameters::{Builder, Init};

/// `1/√fan_in`.
fn bound(fan_in: i64) -> Init {
    Init::Uniform(1.0 / (fan_in as f64).sqrt())
}

/// A convolution with as many pixels around as it needs to keep the size (stride 1).
#[derive(Debug)]
pub(super) struct Conv {
    weight: Tensor,
    bias: Tensor,
    stride: i64,
    padding: i64,
}

impl Conv {
    pub(super) fn new(
        b: &mut Builder<'_>,
        name: &str,
        channels: (i64, i64),
        kernel: i64,
    ) -> Result<Self> {
        let (cin, cout) = channels;
        let init = bound(cin * kernel * kernel);
        Ok(Self {
            weight: b.tensor(format!("{name}.weight"), &[cout, cin, kernel, kernel], init)?,
            bias: b.tensor(format!("{name}.bias"), &[cout], init)?,
            stride: 1,
            padding: kernel / 2,
        })
    }

    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (s, p) = (self.stride, self.padding);
        Ok(x.f_conv2d(&self.weight, Some(&self.bias), [s, s], [p, p], [1, 1], 1)?)
    }
}

/// `W x + b` over the last axis.
#[derive(Debug)]
pub(super) struct Linear {
    weight: Tensor,
    bias: Tensor,
}

impl Linear {
    pub(super) fn new(b: &mut Builder<'_>, name: &str, cin: i64, cout: i64) -> Result<Self> {
        let init = bound(cin);
        Ok(Self {
            weight: b.tensor(format!("{name}.weight"), &[cout, cin], init)?,
            bias: b.tensor(format!("{name}.bias"), &[cout], init)?,
        })
    }

    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        Ok(x.f_linear(&self.weight, Some(&self.bias))?)
    }
}

/// Group norm with affine parameters.
#[derive(Debug)]
pub(super) struct Norm {
    weight: Tensor,
    bias: Tensor,
    groups: i64,
    eps: f64,
}

impl Norm {
    pub(super) fn new(
        b: &mut Builder<'_>,
        name: &str,
        channels: i64,
        groups: i64,
        eps: f64,
    ) -> Result<Self> {
        Ok(Self {
            weight: b.tensor(format!("{name}.weight"), &[channels], Init::Constant(1.0))?,
            bias: b.tensor(format!("{name}.bias"), &[channels], Init::Constant(0.0))?,
            groups,
            eps,
        })
    }

    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (weight, bias) = (Some(&self.weight), Some(&self.bias));
        Ok(x.f_group_norm(self.groups, weight, bias, self.eps, false)?)
    }
}

impl Activation {
    pub(super) fn forward(self, x: &Tensor) -> Result<Tensor> {
        Ok(match self {
            Self::Silu => x.f_silu()?,
            Self::Mish => x.f_mish()?,
            Self::Gelu => x.f_gelu("none")?,
            Self::Relu => x.f_relu()?,
        })
    }
}

/// `x / s` where s is not 1.
fn scaled(x: Tensor, s: f64) -> Result<Tensor> {
    if (s - 1.0).abs() < f64::EPSILON { Ok(x) } else { Ok(x.f_div(&Tensor::from(s))?) }
}

/// What changes during one pass: the embedding, and whether dropout drops.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pass<'a> {
    /// `[B, T]`, not activated.
    pub(super) embedding: &'a Tensor,
    pub(super) train: bool,
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
}

impl Resnet {
    pub(super) fn new(
        b: &mut Builder<'_>,
        name: &str,
        config: &UNetConfig,
        channels: (i64, i64),
        scale: f64,
    ) -> Result<Self> {
        let (cin, cout) = channels;
        let (groups, eps) = (config.groups(), config.norm_eps);
        let shortcut = (cin != cout)
            .then(|| Conv::new(b, &format!("{name}.conv_shortcut"), channels, 1))
            .transpose()?;
        let entry = config.resnet_time_scale_shift;
        let vectors = if entry == TimeEntry::ScaleShift { 2 } else { 1 };
        let time = (config.time_width(), vectors * cout);
        Ok(Self {
            norm1: Norm::new(b, &format!("{name}.norm1"), cin, groups, eps)?,
            conv1: Conv::new(b, &format!("{name}.conv1"), channels, 3)?,
            time: Linear::new(b, &format!("{name}.time_emb_proj"), time.0, time.1)?,
            norm2: Norm::new(b, &format!("{name}.norm2"), cout, groups, eps)?,
            conv2: Conv::new(b, &format!("{name}.conv2"), (cout, cout), 3)?,
            shortcut,
            entry,
            activation: config.act_fn,
            dropout: config.dropout,
            scale,
        })
    }

    pub(super) fn forward(&self, x: &Tensor, pass: Pass<'_>) -> Result<Tensor> {
        let act = |x: &Tensor| self.activation.forward(x);
        let h = self.conv1.forward(&act(&self.norm1.forward(x)?)?)?;
        let e = self.time.forward(&act(pass.embedding)?)?.f_unsqueeze(-1)?.f_unsqueeze(-1)?;
        let h = match self.entry {
            TimeEntry::Default => self.norm2.forward(&h.f_add(&e)?)?,
            TimeEntry::ScaleShift => {
                let halves = e.f_chunk(2, 1)?;
                let h = self.norm2.forward(&h)?;
                h.f_addcmul(&h, &halves[0])?.f_add(&halves[1])?
            }
        };
        let mut h = act(&h)?;
        if pass.train && self.dropout > 0.0 {
            h = h.f_dropout(self.dropout, true)?;
        }
        let h = self.conv2.forward(&h)?;
        let y = match &self.shortcut {
            Some(shortcut) => shortcut.forward(x)?.f_add(&h)?,
            None => x.f_add(&h)?,
        };
        scaled(y, self.scale)
    }
}

/// Self-attention over the pixels.
#[derive(Debug)]
pub(super) struct Attention {
    norm: Option<Norm>,
    q: Linear,
    k: Linear,
    v: Linear,
    out: Linear,
    heads: i64,
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
        let heads = (channels / width).max(1);
        let (inner, place) = (heads * width, format!("{name}.group_norm"));
        let norm = groups
            .map(|groups| Norm::new(b, &place, channels, groups, config.norm_eps))
            .transpose()?;
        Ok(Self {
            norm,
            q: Linear::new(b, &format!("{name}.to_q"), channels, inner)?,
            k: Linear::new(b, &format!("{name}.to_k"), channels, inner)?,
            v: Linear::new(b, &format!("{name}.to_v"), channels, inner)?,
            out: Linear::new(b, &format!("{name}.to_out.0"), inner, channels)?,
            heads,
            scale,
        })
    }

    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let [b, c, h, w] = sizes(x)?;
        let normed = self.norm.as_ref().map_or(Ok(x.shallow_clone()), |norm| norm.forward(x))?;
        let tokens = normed.f_reshape([b, c, h * w])?.f_transpose(1, 2)?;
        let split = |layer: &Linear| {
            let y = layer.forward(&tokens)?.f_reshape([b, h * w, self.heads, -1])?;
            Ok::<_, crate::Error>(y.f_transpose(1, 2)?)
        };
        let (q, k, v) = (split(&self.q)?, split(&self.k)?, split(&self.v)?);
        let y = attend(&q, &k, &v)?;
        let y = self.out.forward(&y.f_transpose(1, 2)?.f_reshape([b, h * w, -1])?)?;
        let y = y.f_transpose(1, 2)?.f_reshape([b, c, h, w])?;
        scaled(x.f_add(&y)?, self.scale)
    }
}

/// Halves height and width by a strided convolution.
#[derive(Debug)]
pub(super) struct Downsample {
    conv: Conv,
    /// Whether the right and bottom edges alone are padded.
    asymmetric: bool,
}

impl Downsample {
    pub(super) fn new(
        b: &mut Builder<'_>,
        name: &str,
        channels: i64,
        padding: i64,
    ) -> Result<Self> {
        let conv = Conv::new(b, &format!("{name}.conv"), (channels, channels), 3)?;
        Ok(Self { conv: Conv { stride: 2, padding, ..conv }, asymmetric: padding == 0 })
    }

    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        if self.asymmetric {
            self.conv.forward(&x.f_constant_pad_nd([0, 1, 0, 1])?)
        } else {
            self.conv.forward(x)
        }
    }
}

/// Doubles height and width: nearest neighbour, then a convolution.
#[derive(Debug)]
pub(super) struct Upsample(Conv);

impl Upsample {
    pub(super) fn new(b: &mut Builder<'_>, name: &str, channels: i64) -> Result<Self> {
        Conv::new(b, &format!("{name}.conv"), (channels, channels), 3).map(Self)
    }

    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let [_, _, h, w] = sizes(x)?;
        self.0.forward(&x.f_upsample_nearest2d([2 * h, 2 * w], None, None)?)
    }
}

/// Batch, channels, height, width.
pub(super) fn sizes(x: &Tensor) -> Result<[i64; 4]> {
    Ok(x.size4()?.into())
}
