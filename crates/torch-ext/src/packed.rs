//! Convolutions whose weights are kept in the layout of oneDNN, which libtorch else makes anew at every call (CPU only).

use std::sync::Mutex;

use tch::{Device, Kind, Tensor};

use crate::error::{Error, Result};
use crate::ffi;

/// A convolution for evaluation: it has no gradient.
#[derive(Debug)]
pub struct PackedConvolution {
    weight: Tensor,
    bias: Tensor,
    padding: i64,
    stride: i64,
    /// The weight packed for inputs of a height, width and batch: the layout that is best depends on them.
    packed: Mutex<Option<([i64; 4], Tensor)>>,
}

impl PackedConvolution {
    /// For a weight `[C_out, C_in, k, k]` and a bias `[C_out]` on the CPU, which it shares.
    ///
    /// # Errors
    /// Tensors of other shapes or on another device.
    pub fn new(weight: &Tensor, bias: &Tensor, padding: i64, stride: i64) -> Result<Self> {
        if !weight.defined() || !bias.defined() {
            return Err(Error::Torch("found an undefined weight or bias, expected tensors".into()));
        }
        let (w, b) = (weight.size(), bias.size());
        let fits = w.len() == 4 && b == [w[0]] && weight.device() == Device::Cpu;
        if !fits || bias.device() != Device::Cpu {
            return Err(Error::Torch(format!(
                "found a weight {w:?} and a bias {b:?}, expected [O, I, k, k] and [O] on the CPU"
            )));
        }
        let (weight, bias) = (weight.f_detach()?, bias.f_detach()?);
        Ok(Self { weight, bias, padding, stride, packed: Mutex::new(None) })
    }

    /// `W x + b`, plus `other` of the output's shape where there is one.
    ///
    /// # Errors
    /// An input that does not fit the weight.
    pub fn forward(&self, x: &Tensor, other: Option<&Tensor>) -> Result<Tensor> {
        if !x.defined() {
            return Err(Error::Torch("found an undefined input, expected [B, C, H, W]".into()));
        }
        let size: [i64; 4] = x.size4()?.into();
        let (found, expected) = (x.f_kind()?, self.weight.f_kind()?);
        if found != expected || x.device() != Device::Cpu || size[1] != self.weight.size()[1] {
            return Err(Error::Torch(format!(
                "found an input {size:?} of {found:?}, expected {} channels of {expected:?} on the CPU",
                self.weight.size()[1]
            )));
        }
        let mut packed = self.packed.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let weight = match &*packed {
            Some((known, weight)) if *known == size => weight.shallow_clone(),
            _ => {
                let weight = ffi::pack_convolution(&self.weight, self.padding, self.stride, size)?;
                *packed = Some((size, weight.shallow_clone()));
                weight
            }
        };
        ffi::packed_convolution(x, (&weight, &self.bias), other, self.padding, self.stride)
    }

    /// Whether oneDNN computes in this arithmetic here.
    pub fn supports(kind: Kind) -> bool {
        matches!(kind, Kind::Float | Kind::BFloat16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(t: &Tensor) -> Vec<f64> {
        let t = t.f_to_kind(Kind::Double).unwrap().f_contiguous().unwrap();
        let mut out = vec![0.0; t.numel()];
        t.f_copy_data(&mut out, t.numel()).unwrap();
        out
    }

    fn random(size: &[i64], kind: Kind) -> Tensor {
        Tensor::f_randn(size, (Kind::Float, Device::Cpu)).unwrap().f_to_kind(kind).unwrap()
    }

    #[test]
    fn a_packed_convolution_is_the_plain_one() {
        for kind in [Kind::Float, Kind::BFloat16] {
            for (k, stride) in [(3, 1), (3, 2), (1, 1)] {
                let (w, b) = (random(&[6, 4, k, k], kind), random(&[6], kind));
                let conv = PackedConvolution::new(&w, &b, k / 2, stride).unwrap();
                for n in [8, 10, 8] {
                    let x = random(&[2, 4, n, n], kind);
                    let p = [k / 2; 2];
                    let plain = x.f_conv2d(&w, Some(&b), [stride; 2], p, [1, 1], 1).unwrap();
                    let other = random(&plain.size(), kind);
                    let sum = plain.f_add(&other).unwrap();
                    for (found, want) in [
                        (conv.forward(&x, None).unwrap(), plain),
                        (conv.forward(&x, Some(&other)).unwrap(), sum),
                    ] {
                        let pairs = numbers(&found).into_iter().zip(numbers(&want));
                        let off = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
                        let size = numbers(&want).iter().fold(0.0, |m: f64, y| m.max(y.abs()));
                        let eps = if kind == Kind::Float { 1e-6 } else { 0.01 };
                        assert!(off < eps * size, "{kind:?} {k} {stride} {off}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let (w, b) = (random(&[6, 4, 3, 3], Kind::Float), random(&[6], Kind::Float));
        assert!(PackedConvolution::new(&w, &w, 1, 1).is_err());
        let conv = PackedConvolution::new(&w, &b, 1, 1).unwrap();
        for x in [random(&[1, 3, 8, 8], Kind::Float), random(&[1, 4, 8, 8], Kind::BFloat16)] {
            let text = conv.forward(&x, None).unwrap_err().to_string();
            assert!(text.contains("expected 4 channels of Float on the CPU"), "{text}");
        }
        assert!(conv.forward(&random(&[4, 8, 8], Kind::Float), None).is_err());
    }
}
