//! Scaled dot-product attention of several heads over the pixels of an image, or over tokens.

use tch::Tensor;

use super::twice::attend;
use super::{Conv, Linear, sizes};
use crate::error::Result;
use crate::parameters::Builder;

/// `W_o softmax(q kᵀ/√d) v` with `heads` heads of equal width d.
#[derive(Clone, Debug)]
pub(crate) struct Heads {
    q: Linear,
    k: Linear,
    v: Linear,
    out: Linear,
    count: i64,
}

impl Heads {
    /// `names` are those of q, k, v and out under `place`; the heads together are `inner` wide.
    pub(crate) fn new(
        b: &mut Builder<'_>,
        place: &str,
        names: [&str; 4],
        (channels, inner, heads): (i64, i64, i64),
    ) -> Result<Self> {
        let [q, k, v, out] = names.map(|name| format!("{place}.{name}"));
        Ok(Self {
            q: Linear::new(b, &q, channels, inner)?,
            k: Linear::new(b, &k, channels, inner)?,
            v: Linear::new(b, &v, channels, inner)?,
            out: Linear::new(b, &out, inner, channels)?,
            count: heads,
        })
    }

    /// Of matrices `[C_in, C_out]` with these names, one head as wide as the state.
    pub(crate) fn matrices(
        b: &mut Builder<'_>,
        place: &str,
        names: [&str; 4],
        channels: i64,
    ) -> Result<Self> {
        let [q, k, v, out] = names.map(|name| format!("{place}.{name}"));
        Ok(Self {
            q: Linear::matrix(b, &q, channels, channels)?,
            k: Linear::matrix(b, &k, channels, channels)?,
            v: Linear::matrix(b, &v, channels, channels)?,
            out: Linear::matrix(b, &out, channels, channels)?,
            count: 1,
        })
    }

    /// `[B, N, C]` to the same.
    pub(crate) fn tokens(&self, tokens: &Tensor) -> Result<Tensor> {
        let (b, n, _) = tokens.size3()?;
        let split = |layer: &Linear| {
            let y = layer.forward(tokens)?.f_reshape([b, n, self.count, -1])?;
            Ok::<_, crate::Error>(y.f_transpose(1, 2)?)
        };
        let y = attend(&split(&self.q)?, &split(&self.k)?, &split(&self.v)?)?;
        self.out.forward(&y.f_transpose(1, 2)?.f_reshape([b, n, -1])?)
    }

    /// `[B, C, H, W]` to the same, the pixels being the tokens.
    pub(crate) fn pixels(&self, x: &Tensor) -> Result<Tensor> {
        let [b, c, h, w] = sizes(x)?;
        if x.is_contiguous() {
            let y = self.tokens(&x.f_reshape([b, c, h * w])?.f_transpose(1, 2)?)?;
            return Ok(y.f_transpose(1, 2)?.f_reshape([b, c, h, w])?);
        }
        // channels last: a pixel is a token in memory already
        let y = self.tokens(&x.f_permute([0, 2, 3, 1])?.f_reshape([b, h * w, c])?)?;
        Ok(y.f_reshape([b, h, w, c])?.f_permute([0, 3, 1, 2])?)
    }
}

/// The same with q, k and v from one 1×1 convolution, whose channels are (head, d, qkv) with the last running fastest.
#[derive(Clone, Debug)]
pub(crate) struct Packed {
    qkv: Conv,
    out: Conv,
    count: i64,
}

impl Packed {
    pub(crate) fn new(
        b: &mut Builder<'_>,
        place: &str,
        names: [&str; 2],
        (channels, heads): (i64, i64),
    ) -> Result<Self> {
        let [qkv, out] = names.map(|name| format!("{place}.{name}"));
        Ok(Self {
            qkv: Conv::new(b, &qkv, (channels, 3 * channels), 1)?,
            out: Conv::new(b, &out, (channels, channels), 1)?,
            count: heads,
        })
    }

    pub(crate) fn pixels(&self, x: &Tensor) -> Result<Tensor> {
        let [b, c, h, w] = sizes(x)?;
        let parts = self.qkv.forward(x)?.f_reshape([b, self.count, c / self.count, 3, h * w])?;
        let part = |i| Ok::<_, crate::Error>(parts.f_select(3, i)?.f_transpose(2, 3)?);
        let y = attend(&part(0)?, &part(1)?, &part(2)?)?;
        self.out.forward(&y.f_transpose(2, 3)?.f_reshape([b, c, h, w])?)
    }
}
