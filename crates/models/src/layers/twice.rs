//! Attention of queries to keys, in a form that can be differentiated as often as is needed.
//!
//! Fused kernels, those of [`torch_ext::attention`] and [`torch_ext::norm`] and libtorch's attention, are fast and have a first
//! derivative, but no second: "derivative for `_scaled_dot_product_flash_attention_for_cpu_backward` is not implemented". As
//! gradients are, second derivatives are a mode of the thread, which [`twice_differentiable`] holds; meanwhile attention is
//! made of products and a softmax, and a norm of libtorch's operators.

use std::cell::Cell;

use tch::Tensor;
use torch_ext::attention;

use crate::error::Result;

thread_local! {
    static TWICE: Cell<bool> = const { Cell::new(false) };
}

/// The mode in which second derivatives exist, until it is dropped.
#[derive(Debug)]
pub(crate) struct Twice(bool);

/// Enters the mode.
pub(crate) fn twice_differentiable() -> Twice {
    Twice(TWICE.replace(true))
}

impl Drop for Twice {
    fn drop(&mut self) {
        TWICE.set(self.0);
    }
}

/// Whether second derivatives exist here.
pub(crate) fn is_twice_differentiable() -> bool {
    TWICE.get()
}

/// `softmax(q kᵀ/√d) v`, all `[B, heads, tokens, d]`.
pub(crate) fn attend(q: &Tensor, k: &Tensor, v: &Tensor) -> Result<Tensor> {
    if !is_twice_differentiable() {
        if attention::suits(q, k) {
            return Ok(attention::attention(q, k, v)?);
        }
        let mask = None::<&Tensor>;
        return Ok(Tensor::f_scaled_dot_product_attention(q, k, v, mask, 0.0, false, None, false)?);
    }
    let width = q.size().last().copied().unwrap_or(1) as f64;
    let logits = q.f_matmul(&k.f_transpose(-2, -1)?)?.f_div(&Tensor::from(width.sqrt()))?;
    Ok(logits.f_softmax(-1, None)?.f_matmul(v)?)
}
