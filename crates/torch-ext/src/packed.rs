//! Convolutions whose weights are kept in the layout of oneDNN, which libtorch else makes anew at every call (CPU only).

use std::cell::RefCell;
use std::sync::OnceLock;

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
    /// The weight packed for inputs of a batch, channels, height and width: the layout that is best depends on them.
    packed: RefCell<Option<([i64; 4], Tensor)>>,
}

impl PackedConvolution {
    /// For a weight `[C_out, C_in, k, k]` and a bias `[C_out]` of one kind on the CPU, which it shares.
    ///
    /// # Errors
    /// Tensors of other shapes, of two kinds or on another device; a stride or padding that is none.
    pub fn new(weight: &Tensor, bias: &Tensor, padding: i64, stride: i64) -> Result<Self> {
        let refuse = |found: String| {
            let expected = "[O, I, k, k] and [O] of one kind on the CPU, a positive stride and no negative padding";
            Err(Error::Torch(format!("found {found}, expected {expected}")))
        };
        if !is_here(weight) || !is_here(bias) {
            return refuse("an undefined weight or bias, or one on another device".into());
        }
        let (w, b) = (weight.size(), bias.size());
        let fits = w.len() == 4 && w[2] == w[3] && b == [w[0]] && stride > 0 && padding >= 0;
        if !fits || weight.f_kind()? != bias.f_kind()? {
            return refuse(format!(
                "a weight {w:?} and a bias {b:?}, stride {stride}, padding {padding}"
            ));
        }
        let (weight, bias) = (weight.f_detach()?, bias.f_detach()?);
        Ok(Self { weight, bias, padding, stride, packed: RefCell::new(None) })
    }

    /// `W x + b`, plus `other` of the output's shape where there is one.
    ///
    /// # Errors
    /// An input that does not fit the weight, another term of another shape.
    pub fn forward(&self, x: &Tensor, other: Option<&Tensor>) -> Result<Tensor> {
        let kind = self.weight.f_kind()?;
        let wrong = |what: &str, t: &Tensor, expected: String| {
            let found = if t.defined() { t.size() } else { Vec::new() };
            Error::Torch(format!(
                "found {what} {found:?}, expected {expected} of {kind:?} on the CPU"
            ))
        };
        let fits =
            |t: &Tensor| is_here(t) && t.f_kind().is_ok_and(|found| found == kind) && t.dim() == 4;
        let (w, k) = (self.weight.size(), self.weight.size()[2]);
        if !fits(x)
            || x.size()[1] != w[1]
            || x.size()[2..].iter().any(|&n| n + 2 * self.padding < k)
        {
            return Err(wrong("an input", x, format!("{} channels", w[1])));
        }
        let size: [i64; 4] = x.size4()?.into();
        let out = |n: i64| (n + 2 * self.padding - k) / self.stride + 1;
        let output = [size[0], w[0], out(size[2]), out(size[3])];
        if let Some(other) = other.filter(|other| !fits(other) || other.size() != output) {
            return Err(wrong("another term", other, format!("{output:?}")));
        }
        let mut packed = self.packed.borrow_mut();
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

    /// Whether oneDNN computes in this arithmetic on this machine; found by trying once.
    pub fn supports(kind: Kind) -> bool {
        static FLOAT: OnceLock<bool> = OnceLock::new();
        static BFLOAT16: OnceLock<bool> = OnceLock::new();
        let known = match kind {
            Kind::Float => &FLOAT,
            Kind::BFloat16 => &BFLOAT16,
            _ => return false,
        };
        *known.get_or_init(|| try_once(kind).is_ok())
    }
}

fn is_here(t: &Tensor) -> bool {
    t.defined() && t.device() == Device::Cpu
}

fn try_once(kind: Kind) -> Result<Tensor> {
    let zeros = |size: &[i64]| Tensor::f_zeros(size, (kind, Device::Cpu));
    let conv = PackedConvolution::new(&zeros(&[8, 8, 3, 3])?, &zeros(&[8])?, 1, 1)?;
    conv.forward(&zeros(&[1, 8, 4, 4])?, None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numbers;

    fn random(size: &[i64], kind: Kind) -> Tensor {
        Tensor::f_randn(size, (Kind::Float, Device::Cpu)).unwrap().f_to_kind(kind).unwrap()
    }

    #[test]
    fn f32_is_supported_and_integers_are_not() {
        assert!(
            PackedConvolution::supports(Kind::Float) && !PackedConvolution::supports(Kind::Int64)
        );
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
        assert!(PackedConvolution::new(&w, &b, 1, 0).is_err());
        assert!(PackedConvolution::new(&w, &b, -1, 1).is_err());
        assert!(PackedConvolution::new(&w, &random(&[6], Kind::BFloat16), 1, 1).is_err());
        let conv = PackedConvolution::new(&w, &b, 1, 1).unwrap();
        for x in [random(&[1, 3, 8, 8], Kind::Float), random(&[1, 4, 8, 8], Kind::BFloat16)] {
            let text = conv.forward(&x, None).unwrap_err().to_string();
            assert!(text.contains("expected 4 channels of Float on the CPU"), "{text}");
        }
        assert!(conv.forward(&random(&[4, 8, 8], Kind::Float), None).is_err());
        let x = random(&[1, 4, 8, 8], Kind::Float);
        for other in [[1, 6, 4, 4], [1, 3, 8, 8], [2, 6, 8, 8]] {
            let text =
                conv.forward(&x, Some(&random(&other, Kind::Float))).unwrap_err().to_string();
            assert!(text.contains("another term"), "{text}");
        }
        assert!(conv.forward(&x, Some(&Tensor::new())).is_err());
    }
}
