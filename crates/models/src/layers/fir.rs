//! Halving and doubling of images with a short filter (Zhang 2019), as in NCSN++ and `StyleGAN2`.
//!
//! ```text
//! K = k kᵀ/(Σk)²,  k = [1, 3, 3, 1];    down: (K ∗ x) at every second pixel;    up: (4K ∗ x) between zeros
//! ```
//!
//! Each channel by itself, zero outside of the image. Doubling is the transpose of halving, four times as strong.

use tch::Tensor;

use crate::error::Result;
use crate::parameters::Place;

/// The filter for images of one number of channels.
#[derive(Debug)]
pub(crate) struct Fir {
    down: Tensor,
    up: Tensor,
    channels: i64,
    padding: i64,
}

impl Clone for Fir {
    fn clone(&self) -> Self {
        let &Self { ref down, ref up, channels, padding } = self;
        Self { down: down.shallow_clone(), up: up.shallow_clone(), channels, padding }
    }
}

impl Fir {
    /// The filter k for `channels` channels in the arithmetic of the network.
    pub(crate) fn new(k: &[f64], channels: i64, place: Place) -> Result<Self> {
        let n = k.len() as i64;
        let line = Tensor::f_from_slice(k)?;
        let square = line.f_outer(&line)?;
        let sum: f64 = k.iter().sum();
        let filter = |scale: f64| -> Result<Tensor> {
            let filter = square.f_mul(&Tensor::from(scale / (sum * sum)))?;
            let filter = filter.f_reshape([1, 1, n, n])?.f_expand([channels, 1, n, n], false)?;
            Ok(filter.f_to_kind(place.kind)?.f_to_device(place.device)?.f_contiguous()?)
        };
        Ok(Self { down: filter(1.0)?, up: filter(4.0)?, channels, padding: (n - 1) / 2 })
    }

    /// `[1, 3, 3, 1]`.
    pub(crate) fn usual(channels: i64, place: Place) -> Result<Self> {
        Self::new(&[1.0, 3.0, 3.0, 1.0], channels, place)
    }

    /// K ∗ x at every pixel and at those of a border around the image, one narrower below and to the right.
    pub(crate) fn blur(&self, x: &Tensor, border: i64) -> Result<Tensor> {
        let (p, bias) = ([self.padding + border; 2], None::<Tensor>);
        Ok(x.f_conv2d(&self.down, bias, [1, 1], p, [1, 1], self.channels)?)
    }

    /// Half as high and wide.
    pub(crate) fn down(&self, x: &Tensor) -> Result<Tensor> {
        let (p, bias) = ([self.padding; 2], None::<Tensor>);
        Ok(x.f_conv2d(&self.down, bias, [2, 2], p, [1, 1], self.channels)?)
    }

    /// Twice as high and wide.
    pub(crate) fn up(&self, x: &Tensor) -> Result<Tensor> {
        let (p, bias) = ([self.padding; 2], None::<Tensor>);
        Ok(x.f_conv_transpose2d(&self.up, bias, [2, 2], p, [0, 0], self.channels, [1, 1])?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind};

    fn usual(channels: i64) -> Fir {
        Fir::usual(channels, Place { kind: Kind::Double, ..Place::FILE }).unwrap()
    }

    fn image(values: &[f64]) -> Tensor {
        let n = values.len() as i64;
        let line = Tensor::f_from_slice(values).unwrap();
        line.f_outer(&line).unwrap().f_reshape([1, 1, n, n]).unwrap()
    }

    fn numbers(x: &Tensor) -> Vec<f64> {
        let mut values = vec![0.0; x.numel()];
        x.f_contiguous().unwrap().f_copy_data(&mut values, x.numel()).unwrap();
        values
    }

    /// By hand, along each axis: down of [1, 0, 0, 0] is [3/8, 0], up of [1] is [3/4, 3/4].
    #[test]
    fn a_point_is_spread_as_by_hand() {
        let down = numbers(&usual(1).down(&image(&[1.0, 0.0, 0.0, 0.0])).unwrap());
        assert_eq!(down, [9.0 / 64.0, 0.0, 0.0, 0.0]);
        assert_eq!(numbers(&usual(1).up(&image(&[1.0])).unwrap()), [9.0 / 16.0; 4]);
    }

    #[test]
    fn a_constant_stays_inside_and_falls_at_the_border() {
        for resampled in [usual(1).down(&image(&[1.0; 8])), usual(1).up(&image(&[1.0; 4]))] {
            let y = resampled.unwrap();
            let n = usize::try_from(y.size()[3]).unwrap();
            let y = numbers(&y);
            assert!((y[n + 1] - 1.0).abs() < 1e-15, "{y:?}");
            assert!(y[0] < 0.9, "{y:?}");
        }
    }

    /// Zeros after every pixel, padding, and a convolution with 4K.
    #[test]
    fn up_is_a_convolution_between_zeros() {
        let fir = usual(2);
        let x = Tensor::f_from_slice(&(0..18).map(|i| f64::from(i * i % 7)).collect::<Vec<_>>());
        let x = x.unwrap().f_reshape([1, 2, 3, 3]).unwrap();
        let between = Tensor::f_zeros([1, 2, 6, 6], (Kind::Double, Device::Cpu)).unwrap();
        let even = between.f_slice(2, 0, 6, 2).unwrap().f_slice(3, 0, 6, 2).unwrap();
        even.shallow_clone().f_copy_(&x).unwrap();
        let padded = between.f_constant_pad_nd([2, 1, 2, 1]).unwrap();
        let bias = None::<Tensor>;
        let want = padded.f_conv2d(&fir.up, bias, [1, 1], [0, 0], [1, 1], 2).unwrap();
        let found = numbers(&fir.up(&x).unwrap());
        let apart = found.iter().zip(numbers(&want)).map(|(a, b)| (a - b).abs());
        assert!(apart.fold(0.0, f64::max) < 1e-12);
    }
}
