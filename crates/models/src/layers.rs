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
use torch_ext::dropout::{derived, dropout};
use torch_ext::norm::{self, Around, GroupNorm};
use torch_ext::packed::PackedConvolution;

pub(crate) use attention::{Heads, Packed};
pub(crate) use flow::Flow;
pub(crate) use twice::{attend, is_twice_differentiable, twice_differentiable};

use crate::error::{Error, Result};
use crate::network::{Input, Training};
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

/// The same weights, without a packed copy of them.
impl Clone for Conv {
    fn clone(&self) -> Self {
        let &Self { ref weight, ref bias, stride, padding, matrix, .. } = self;
        let (weight, bias) = (weight.shallow_clone(), bias.shallow_clone());
        Self { weight, bias, stride, padding, matrix, packed: None }
    }
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

impl Clone for Linear {
    fn clone(&self) -> Self {
        let bias = self.bias.as_ref().map(Tensor::shallow_clone);
        Self { weight: self.weight.shallow_clone(), bias, matrix: self.matrix }
    }
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

    /// The length of x.
    pub(crate) fn inputs(&self) -> i64 {
        let size = self.weight.size();
        if self.matrix { size[0] } else { size[1] }
    }
}

/// Group norm with affine parameters, which stay in f32 where the network is in half precision.
#[derive(Debug)]
pub(crate) struct Norm {
    weight: Tensor,
    bias: Tensor,
    groups: i64,
    eps: f64,
}

impl Clone for Norm {
    fn clone(&self) -> Self {
        let &Self { ref weight, ref bias, groups, eps } = self;
        Self { weight: weight.shallow_clone(), bias: bias.shallow_clone(), groups, eps }
    }
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
        b.precisely(|b| {
            let weight = b.tensor(format!("{name}.weight"), &[channels], Init::Constant(1.0))?;
            let bias = b.tensor(format!("{name}.bias"), &[channels], Init::Constant(0.0))?;
            Ok(Self { weight, bias, groups, eps })
        })
    }

    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.beside(x, Entry::None, None)
    }

    /// With an activation behind it.
    pub(crate) fn activated(&self, x: &Tensor, activation: Activation) -> Result<Tensor> {
        self.beside(x, Entry::None, Some(activation))
    }

    /// With what an embedding adds, and perhaps an activation behind it: all of it in one pass where there is a kernel.
    pub(crate) fn beside(
        &self,
        x: &Tensor,
        entry: Entry<'_>,
        activation: Option<Activation>,
    ) -> Result<Tensor> {
        if !norm::suits(x) || is_twice_differentiable() {
            let y = self.by_parts(x, entry)?;
            return activation.map_or(Ok(y.shallow_clone()), |activation| activation.forward(&y));
        }
        let (before, after) = match entry {
            Entry::None => (None, None),
            Entry::Before(e) => (Some(e), None),
            Entry::After(e) => (None, Some(e)),
        };
        let silu = activation == Some(Activation::Silu);
        let &Self { ref weight, ref bias, groups, eps } = self;
        let norm = GroupNorm { weight, bias, groups, eps };
        let y = norm.forward(x, Around { before, after, silu })?;
        activation.filter(|_| !silu).map_or(Ok(y.shallow_clone()), |other| other.forward(&y))
    }

    /// By libtorch's operators, which can be differentiated twice and run on every device.
    fn by_parts(&self, x: &Tensor, entry: Entry<'_>) -> Result<Tensor> {
        let kind = x.f_kind()?;
        let (weight, bias) = (self.weight.f_to_kind(kind)?, self.bias.f_to_kind(kind)?);
        let norm =
            |x: &Tensor| x.f_group_norm(self.groups, Some(&weight), Some(&bias), self.eps, false);
        Ok(match entry {
            Entry::None => norm(x)?,
            Entry::Before(e) => norm(&x.f_add(&beside_pixels(&e.f_to_kind(kind)?)?)?)?,
            Entry::After(e) => {
                let halves = beside_pixels(&e.f_to_kind(kind)?)?.f_chunk(2, 1)?;
                let y = norm(x)?;
                y.f_addcmul(&y, &halves[0])?.f_add(&halves[1])?
            }
        })
    }
}

/// How an embedding enters a norm.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Entry<'a> {
    /// Not at all.
    None,
    /// `GN(x + e)`, `[B, C]`.
    Before(&'a Tensor),
    /// `GN(x) (1 + a) + s`, `[B, 2C]`.
    After(&'a Tensor),
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

/// Dropout of one layer, in training.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dropout {
    p: f64,
    /// Tells it from others, so that each drops by keys of its own.
    part: u64,
}

impl Dropout {
    /// Of the layer with this name.
    pub(crate) fn new(name: &str, p: f64) -> Self {
        Self { p, part: name.bytes().fold(0, |part, byte| derived(part, byte.into())) }
    }

    pub(crate) fn forward(self, x: Tensor, train: Option<Training<'_>>) -> Result<Tensor> {
        let Some(Training { keys, .. }) = train.filter(|_| self.p > 0.0) else { return Ok(x) };
        let keys: Vec<u64> = keys.iter().map(|&key| derived(key, self.part)).collect();
        Ok(dropout(&x, self.p, &keys)?)
    }
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

/// The first state of a network in its layout: that of an image of one channel can be read both ways, and is lost.
pub(crate) fn entered(h: Tensor, place: Place) -> Result<Tensor> {
    if place.channels_last && h.is_contiguous() { channels_last(&h) } else { Ok(h) }
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
