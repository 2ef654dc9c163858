//! Features of images by a network in a TorchScript file: those of Inception make (Y6) the FID.
//!
//! ```text
//! features.ts   forward(images [B, 3, H, W] u8) → [B, F]
//! ```
//!
//! Resizing and scaling are the file's own business, as in the file that the FID of EDM is computed with. It
//! holds code, as every TorchScript file does: open those that you trust.

use std::path::Path;

use models::tch::{CModule, Device, Kind, Tensor};
use ndarray::{Array2, ArrayView4, Axis, Slice};

use crate::network::{Error, Result};

/// Images that the network sees together.
const BATCH: usize = 64;

/// Features of images `[N, C, H, W]` in model coordinates; one channel is shown three times, numbers are clipped to
/// `[−1, 1]` as in a picture.
///
/// # Errors
/// A file that is no TorchScript, or does not take such images; other channels than 1 or 3; an output that is no matrix.
pub fn features(path: &Path, images: ArrayView4<'_, f64>, device: Device) -> Result<Array2<f64>> {
    let wrong = |source| models::Error::File { path: path.into(), source };
    std::fs::File::open(path).map_err(wrong)?;
    let torch = |e: models::tch::TchError| models::Error::Config {
        key: path.display().to_string(),
        found: models::Error::from(e).to_string(),
        expected: "a TorchScript network of images [B, 3, H, W] of bytes".into(),
    };
    let mut network = CModule::load_on_device(path, device).map_err(torch)?;
    network.f_set_eval().map_err(torch)?;
    let (n, channels, h, w) = images.dim();
    if ![1, 3].contains(&channels) {
        let (what, found) = ("the images", images.shape().to_vec());
        return Err(Error::Shape { what, found, expected: "[N, 1 or 3, H, W]".into() });
    }
    let _no_grad = models::tch::no_grad_guard();
    let mut rows = Vec::new();
    for start in (0..n).step_by(BATCH) {
        let part = images.slice_axis(Axis(0), Slice::from(start..(start + BATCH).min(n)));
        let bytes: Vec<u8> = part.iter().map(|&y| byte(y)).collect();
        let size =
            [part.len_of(Axis(0)), channels, h, w].map(|n| i64::try_from(n).unwrap_or(i64::MAX));
        let all = [size[0], 3, size[2], size[3]];
        let x = Tensor::f_from_slice(&bytes).and_then(|x| x.f_reshape(size)?.f_expand(all, false));
        let x = x.and_then(|x| x.f_contiguous()?.f_to_device(device)).map_err(torch)?;
        let y = network.forward_ts(&[x]).map_err(torch)?;
        let found = y.size();
        if found.len() != 2 || found[0] != size[0] {
            let found = found.iter().map(|&n| usize::try_from(n).unwrap_or(0)).collect();
            let (what, expected) = ("the features", format!("[{}, F]", size[0]));
            return Err(Error::Shape { what, found, expected });
        }
        let y =
            y.f_to_device(Device::Cpu).and_then(|y| y.f_to_kind(Kind::Double)).map_err(torch)?;
        rows.extend(Vec::<f64>::try_from(y.f_reshape([-1]).map_err(torch)?).map_err(torch)?);
    }
    let (found, shape) = (vec![rows.len()], (n, rows.len() / n.max(1)));
    let what = "the features";
    Array2::from_shape_vec(shape, rows).map_err(|_| Error::Shape {
        what,
        found,
        expected: "one length for all".into(),
    })
}

/// The k-th of 256 equal intervals of `[−1, 1]`.
#[expect(clippy::cast_sign_loss, reason = "from 0 to 255")]
fn byte(y: f64) -> u8 {
    (128.0 * (y + 1.0)).floor().clamp(0.0, 255.0) as u8 // truncation of a whole number
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array4;

    /// A traced network that takes means over each third of the channels and over halves of the rows.
    #[test]
    fn features_are_the_output_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f.ts");
        let example = Tensor::f_zeros([2, 3, 4, 4], (Kind::Uint8, Device::Cpu)).unwrap();
        let mut means = |x: &[Tensor]| {
            let x = x[0].f_to_kind(Kind::Float).unwrap();
            let top = x.f_narrow(2, 0, 2).unwrap();
            vec![top.f_mean_dim([2, 3].as_slice(), false, None::<Kind>).unwrap()]
        };
        CModule::create_by_tracing("F", "forward", &[example], &mut means)
            .unwrap()
            .save(&path)
            .unwrap();
        let images = Array4::from_shape_fn((70, 1, 4, 4), |(i, _, row, _)| {
            (i as f64 * 2.0 + 1.0) / 256.0 - 1.0 + if row > 1 { 0.5 } else { 0.0 }
        });
        let found = features(&path, images.view(), Device::Cpu).unwrap();
        assert_eq!(found.dim(), (70, 3));
        assert!(
            found
                .outer_iter()
                .enumerate()
                .all(|(i, f)| f.iter().all(|x| (x - i as f64).abs() < 1e-6))
        );
        let text =
            features(&folder.path().join("gone.ts"), images.view(), Device::Cpu).unwrap_err();
        assert!(text.to_string().contains("gone.ts"), "{text}");
    }
}
