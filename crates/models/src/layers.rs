//! The layers that the networks share: convolution, linear map, group norm, attention over pixels, resampling.
//!
//! ```text
//! attention:  W_o softmax(q kᵀ/√d) v,   q, k, v = W tokens
//! ```

mod attention;
pub(crate) mod fir;
mod flow;
pub(crate) mod resnet;
mod twice;

use serde::{Deserialize, Serialize};
use tch::Tensor;
use torch_ext::packed::PackedConvolution;

pub(crate) use attention::{Heads, Packed};
pub(crate) use flow::Flow;
pub(crate) use twice::{attend, twice_differentiable};

use crate::error::{Error, Result};
use crate::network::Input;
use crate::parameters::{Builder, Init, Place};

/// `1/√fan_in`.
pub(crate) fn bound(fan_in: i64) -> Init {
    Init::Uniform(1.0 / (fan_in as f64).sqrt())
}

/// A convolution with as many pixels around as it needs to keep the size (stride 1).
#[derive(Debug)]
pub(crate) struct Conv {
    weight: Tensor,
    bias: Tensor,
    stride: i64,
    padding: i64,
    /// Whether the weight is the matrix `[C_in, C_out]` of a linear map between channels.
    matrix: bool,
    /// For evaluations without gradients.
    packed: Option<PackedConvolution>,
}

impl Conv {
    pub(crate) fn new(
        b: &mut Builder<'_>,
        name: &str,
        channels: (i64, i64),
        kernel: i64,
    ) -> Result<Self> {
        Self::strided(b, name, channels, (kernel, 1, kernel / 2))
    }

    /// With a kernel, a stride and a padding of its own.
    pub(crate) fn strided(
        b: &mut Builder<'_>,
        name: &str,
        (cin, cout): (i64, i64),
        (kernel, stride, padding): (i64, i64, i64),
    ) -> Result<Self> {
        let init = bound(cin * kernel * kernel);
        let weight = b.tensor(format!("{name}.weight"), &[cout, cin, kernel, kernel], init)?;
        let bias = b.tensor(format!("{name}.bias"), &[cout], init)?;
        let place = b.place();
        let packs = place.packed && weight.defined() && PackedConvolution::supports(place.kind);
        let packed = packs.then(|| PackedConvolution::new(&weight, &bias, padding, stride));
        Ok(Self { weight, bias, stride, padding, matrix: false, packed: packed.transpose()? })
    }

    /// A linear map of the channels, stored as a matrix `W` and a vector `b`.
    pub(crate) fn matrix(b: &mut Builder<'_>, name: &str, (cin, cout): (i64, i64)) -> Result<Self> {
        let weight = b.tensor(format!("{name}.W"), &[cin, cout], bound(cin))?;
        let bias = b.tensor(format!("{name}.b"), &[cout], Init::Constant(0.0))?;
        Ok(Self { weight, bias, stride: 1, padding: 0, matrix: true, packed: None })
    }

    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        if let Some(packed) = self.packed_for(x) {
            return Ok(packed.forward(x, None)?);
        }
        let (s, p) = (self.stride, self.padding);
        let weight = if self.matrix {
            &self.weight.f_transpose(0, 1)?.f_unsqueeze(-1)?.f_unsqueeze(-1)?
        } else {
            &self.weight
        };
        Ok(x.f_conv2d(weight, Some(&self.bias), [s, s], [p, p], [1, 1], 1)?)
    }

    /// The output plus `other`, which has its shape.
    pub(crate) fn forward_onto(&self, x: &Tensor, other: &Tensor) -> Result<Tensor> {
        match self.packed_for(x).filter(|_| !other.requires_grad()) {
            Some(packed) => Ok(packed.forward(x, Some(other))?),
            None => Ok(other.f_add(&self.forward(x)?)?),
        }
    }

    /// The packed weight, where no gradient is asked for.
    fn packed_for(&self, x: &Tensor) -> Option<&PackedConvolution> {
        let graph = x.requires_grad() || self.weight.requires_grad();
        self.packed.as_ref().filter(|_| !graph)
    }
}

/// `W x + b` over the last axis.
#[derive(Debug)]
pub(crate) struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
    /// Whether the weight is stored as its transpose.
    matrix: bool,
}

impl Linear {
    pub(crate) fn new(b: &mut Builder<'_>, name: &str, cin: i64, cout: i64) -> Result<Self> {
        Self::begin(b, name, (cin, cout), bound(cin))
    }

    /// With another law of its first weights.
    pub(crate) fn begin(
        b: &mut Builder<'_>,
        name: &str,
        (cin, cout): (i64, i64),
        init: Init,
    ) -> Result<Self> {
        Ok(Self {
            weight: b.tensor(format!("{name}.weight"), &[cout, cin], init)?,
            bias: Some(b.tensor(format!("{name}.bias"), &[cout], init)?),
            matrix: false,
        })
    }

    /// Without b.
    pub(crate) fn unbiased(b: &mut Builder<'_>, name: &str, cin: i64, cout: i64) -> Result<Self> {
        let weight = b.tensor(format!("{name}.weight"), &[cout, cin], bound(cin))?;
        Ok(Self { weight, bias: None, matrix: false })
    }

    /// Stored as the matrix `[C_in, C_out]`.
    pub(crate) fn matrix(b: &mut Builder<'_>, name: &str, cin: i64, cout: i64) -> Result<Self> {
        Ok(Self {
            weight: b.tensor(format!("{name}.W"), &[cin, cout], bound(cin))?,
            bias: Some(b.tensor(format!("{name}.b"), &[cout], Init::Constant(0.0))?),
            matrix: true,
        })
    }

    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let weight = if self.matrix { &self.weight.f_transpose(0, 1)? } else { &self.weight };
        Ok(x.f_linear(weight, self.bias.as_ref())?)
    }
}

/// Group norm with affine parameters.
#[derive(Debug)]
pub(crate) struct Norm {
    weight: Tensor,
    bias: Tensor,
    groups: i64,
    eps: f64,
}

impl Norm {
    pub(crate) fn new(
        b: &mut Builder<'_>,
        name: &str,
        channels: i64,
        groups: i64,
        eps: f64,
    ) -> Result<Self> {
        if groups <= 0 || channels % groups != 0 {
            return Err(Error::Config {
                key: format!("{name} of the network"),
                found: format!("{channels} channels in {groups} groups"),
                expected: "groups of equal size".into(),
            });
        }
        Ok(Self {
            weight: b.tensor(format!("{name}.weight"), &[channels], Init::Constant(1.0))?,
            bias: b.tensor(format!("{name}.bias"), &[channels], Init::Constant(0.0))?,
            groups,
            eps,
        })
    }

    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (weight, bias) = (Some(&self.weight), Some(&self.bias));
        Ok(x.f_group_norm(self.groups, weight, bias, self.eps, false)?)
    }
}

/// Groups of NCSN++ and its relatives: a quarter of the channels, at most 32.
pub(crate) fn quarter_groups(channels: i64) -> i64 {
    (channels / 4).min(32)
}

/// Activation functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "their names say it")]
pub enum Activation {
    #[serde(alias = "swish")]
    Silu,
    Mish,
    Gelu,
    Relu,
}

impl Activation {
    pub(crate) fn forward(self, x: &Tensor) -> Result<Tensor> {
        Ok(match self {
            Self::Silu => x.f_silu()?,
            Self::Mish => x.f_mish()?,
            Self::Gelu => x.f_gelu("none")?,
            Self::Relu => x.f_relu()?,
        })
    }
}

/// `x / s` where s is not 1.
pub(crate) fn divided(x: Tensor, s: f64) -> Result<Tensor> {
    if (s - 1.0).abs() < f64::EPSILON { Ok(x) } else { Ok(x.f_div(&Tensor::from(s))?) }
}

/// Dropout, in training.
pub(crate) fn dropped(x: Tensor, p: f64, train: bool) -> Result<Tensor> {
    if train && p > 0.0 { Ok(x.f_dropout(p, true)?) } else { Ok(x) }
}

/// `2x − 1`.
pub(crate) fn centred(x: &Tensor) -> Result<Tensor> {
    Ok(x.f_mul(&Tensor::from(2.0))?.f_sub(&Tensor::from(1.0))?)
}

/// The same image with the channels of a pixel together in memory.
pub(crate) fn channels_last(x: &Tensor) -> Result<Tensor> {
    Ok(x.f_permute([0, 2, 3, 1])?.f_contiguous()?.f_permute([0, 3, 1, 2])?)
}

/// An input in the arithmetic and the layout of a network.
pub(crate) fn entering(x: &Tensor, place: Place) -> Result<Tensor> {
    let x = x.f_to_kind(place.kind)?;
    if place.channels_last { channels_last(&x) } else { Ok(x) }
}

/// An output in the kind that the network gives.
pub(crate) fn leaving(y: &Tensor, place: Place) -> Result<Tensor> {
    Ok(y.f_to_kind(place.precise())?)
}

/// Each pixel four times.
pub(crate) fn nearest(x: &Tensor) -> Result<Tensor> {
    let [_, _, h, w] = sizes(x)?;
    Ok(x.f_upsample_nearest2d([2 * h, 2 * w], None, None)?)
}

/// The mean of each four pixels.
pub(crate) fn averaged(x: &Tensor) -> Result<Tensor> {
    Ok(x.f_avg_pool2d([2, 2], [2, 2], [0, 0], false, true, None)?)
}

/// `[B, C]` beside `[B, C, H, W]`.
pub(crate) fn beside_pixels(x: &Tensor) -> Result<Tensor> {
    Ok(x.f_unsqueeze(-1)?.f_unsqueeze(-1)?)
}

/// `[sin a, cos a]` over the last axis, or cosines first.
pub(crate) fn waves(angles: &Tensor, cosine_first: bool) -> Result<Tensor> {
    let (sin, cos) = (angles.f_sin()?, angles.f_cos()?);
    let parts = if cosine_first { [cos, sin] } else { [sin, cos] };
    Ok(Tensor::f_cat(&parts, -1)?)
}

/// Angles `c ω`, `[B, K]` for the labels of x and K frequencies, on its device.
pub(crate) fn angles(input: &Input<'_>, labels: &[f64], frequencies: &[f32]) -> Result<Tensor> {
    let frequencies = Tensor::f_from_slice(frequencies)?.f_to_kind(input.x.f_kind()?)?;
    let frequencies = frequencies.f_to_device(input.x.device())?.f_unsqueeze(0)?;
    Ok(input.column(labels)?.f_unsqueeze(1)?.f_mul(&frequencies)?)
}

/// Batch, channels, height, width.
pub(crate) fn sizes(x: &Tensor) -> Result<[i64; 4]> {
    Ok(x.size4()?.into())
}
