//! Scaled dot-product attention of several heads over the pixels of an image, or over tokens.

use tch::Tensor;

use super::{Linear, sizes};
use crate::error::Result;
use crate::parameters::Builder;

/// `W_o softmax(q kᵀ/√d) v` with `heads` heads of equal width d.
#[derive(Debug)]
pub(crate) struct Heads {
    q: Linear,
    k: Linear,
    v: Linear,
    out: Linear,
    heads: i64,
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
            heads,
        })
    }

    /// `[B, N, C]` to the same.
    pub(crate) fn tokens(&self, tokens: &Tensor) -> Result<Tensor> {
        let (b, n, _) = tokens.size3()?;
        let split = |layer: &Linear| {
            let y = layer.forward(tokens)?.f_reshape([b, n, self.heads, -1])?;
            Ok::<_, crate::Error>(y.f_transpose(1, 2)?)
        };
        let y = attend(&split(&self.q)?, &split(&self.k)?, &split(&self.v)?)?;
        self.out.forward(&y.f_transpose(1, 2)?.f_reshape([b, n, -1])?)
    }

    /// `[B, C, H, W]` to the same, the pixels being the tokens.
    pub(crate) fn pixels(&self, x: &Tensor) -> Result<Tensor> {
        let [b, c, h, w] = sizes(x)?;
        let y = self.tokens(&x.f_reshape([b, c, h * w])?.f_transpose(1, 2)?)?;
        Ok(y.f_transpose(1, 2)?.f_reshape([b, c, h, w])?)
    }
}

/// `softmax(q kᵀ/√d) v` over `[B, heads, N, d]`.
pub(crate) fn attend(q: &Tensor, k: &Tensor, v: &Tensor) -> Result<Tensor> {
    let mask = None::<&Tensor>;
    Ok(Tensor::f_scaled_dot_product_attention(q, k, v, mask, 0.0, false, None, false)?)
}
