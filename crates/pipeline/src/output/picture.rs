//! Pictures of model coordinates: grids of images as PNG.
//!
//! Only here are numbers clipped to `[−1, 1]`; byte k stands for the k-th of the 256 equal intervals of that range, so
//! pictures of 8 bits come out as they went in.

use std::io::{self, BufWriter, Write};
use std::path::Path;

use image::{DynamicImage, GrayImage, ImageFormat, RgbImage};
use ndarray::ArrayView4;

use super::{OutputError, write_whole};

/// The colour between images and in cells without one.
const PAPER: u8 = 255;
/// The most bytes a picture may have before it is encoded.
pub(super) const MAX_BYTES: u64 = 1 << 30;

/// How images are laid out: row by row, from the top left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// Images per row.
    pub columns: usize,
    /// Each pixel becomes a square with this side, in pixels.
    pub scale: usize,
    /// White pixels between neighbouring images.
    pub gap: usize,
}

/// A square of images, the small ones enlarged.
pub(super) fn square(images: &ArrayView4<f64>) -> Grid {
    let (n, _, h, w) = images.dim();
    let columns = (1..=n).find(|c| c * c >= n).unwrap_or(1);
    Grid { columns, scale: (64 / h.max(w).max(1)).max(1), gap: 2 }
}

/// Writes images `[N, C, H, W]` in model coordinates (C: 1 grey, 3 RGB) as one PNG.
///
/// # Errors
/// Nothing to show, no such colours, NaN, a picture too large, or a file that cannot be written.
pub fn write_png_grid(
    path: impl AsRef<Path>,
    images: ArrayView4<f64>,
    grid: Grid,
) -> Result<(), OutputError> {
    write_png_blocks(path, &[images], grid, 0)
}

/// Writes several grids side by side as one PNG, `between` white pixels apart: data beside samples, for one.
///
/// # Errors
/// As [`write_png_grid`]; also blocks whose images have different shapes.
pub fn write_png_blocks(
    path: impl AsRef<Path>,
    blocks: &[ArrayView4<f64>],
    grid: Grid,
    between: usize,
) -> Result<(), OutputError> {
    let picture = Canvas::draw(blocks, grid, between)?.into_picture()?;
    write_whole(path, |file| {
        let mut file = BufWriter::new(file);
        picture.write_to(&mut file, ImageFormat::Png).map_err(io::Error::other)?;
        file.flush()
    })
}

/// The picture as rows of pixels of interleaved channels.
struct Canvas {
    channels: usize,
    width: usize,
    height: usize,
    bytes: Vec<u8>,
}

impl Canvas {
    fn draw(blocks: &[ArrayView4<f64>], grid: Grid, between: usize) -> Result<Self, OutputError> {
        let channels = check(blocks, grid)?;
        let sizes: Option<Vec<_>> = blocks.iter().map(|block| block_size(block, grid)).collect();
        let sizes = sizes.ok_or(OutputError::TooLarge)?;
        let mut canvas = Self::blank(channels, &sizes, between).ok_or(OutputError::TooLarge)?;
        for (b, block) in blocks.iter().enumerate() {
            let left = sizes[..b].iter().map(|(width, _)| width + between).sum();
            canvas.draw_block(b, block, grid, left)?;
        }
        Ok(canvas)
    }

    /// A white canvas for blocks of these sizes, or `None` if it would be too large.
    fn blank(channels: usize, sizes: &[(usize, usize)], between: usize) -> Option<Self> {
        let gaps = between.checked_mul(sizes.len() - 1)?;
        let width = sizes.iter().try_fold(gaps, |total, size| total.checked_add(size.0))?;
        let height = sizes.iter().map(|size| size.1).max()?;
        let count = width.checked_mul(height)?.checked_mul(channels)?;
        let fits = count as u64 <= MAX_BYTES;
        fits.then(|| Self { channels, width, height, bytes: vec![PAPER; count] })
    }

    fn draw_block(
        &mut self,
        b: usize,
        block: &ArrayView4<f64>,
        grid: Grid,
        left: usize,
    ) -> Result<(), OutputError> {
        let (_, _, h, w) = block.dim();
        for (index, image) in block.outer_iter().enumerate() {
            let x0 = left + index % grid.columns * (w * grid.scale + grid.gap);
            let y0 = index / grid.columns * (h * grid.scale + grid.gap);
            for ((c, row, column), &y) in image.indexed_iter() {
                if y.is_nan() {
                    return Err(OutputError::NotANumber { block: b, index });
                }
                let origin = (x0 + column * grid.scale, y0 + row * grid.scale);
                self.fill_square(origin, grid.scale, c, byte(y));
            }
        }
        Ok(())
    }

    /// Sets one channel of a square of pixels.
    fn fill_square(&mut self, (x0, y0): (usize, usize), side: usize, channel: usize, value: u8) {
        for y in y0..y0 + side {
            for x in x0..x0 + side {
                self.bytes[(y * self.width + x) * self.channels + channel] = value;
            }
        }
    }

    fn into_picture(self) -> Result<DynamicImage, OutputError> {
        let (width, height) = (self.width as u32, self.height as u32); // below MAX_BYTES
        let picture = match self.channels {
            1 => GrayImage::from_raw(width, height, self.bytes).map(DynamicImage::from),
            _ => RgbImage::from_raw(width, height, self.bytes).map(DynamicImage::from),
        };
        picture.ok_or(OutputError::TooLarge)
    }
}

/// Refuses what cannot be drawn; the number of channels.
fn check(blocks: &[ArrayView4<f64>], grid: Grid) -> Result<usize, OutputError> {
    let Grid { columns, scale, .. } = grid;
    if columns == 0 || scale == 0 {
        return Err(OutputError::Grid { columns, scale });
    }
    let Some(first) = blocks.first() else {
        return Err(OutputError::Empty { shape: vec![0] });
    };
    let (_, c, h, w) = first.dim();
    for (block, images) in blocks.iter().enumerate() {
        let (_, cb, hb, wb) = images.dim();
        if images.is_empty() {
            return Err(OutputError::Empty { shape: images.shape().to_vec() });
        }
        let (found, expected) = ([cb, hb, wb], [c, h, w]);
        if found != expected {
            return Err(OutputError::Block { block, found, expected });
        }
    }
    if c == 1 || c == 3 { Ok(c) } else { Err(OutputError::Channels { found: c }) }
}

/// Width and height of one block in pixels.
fn block_size(block: &ArrayView4<f64>, grid: Grid) -> Option<(usize, usize)> {
    let (n, _, h, w) = block.dim();
    let columns = grid.columns.min(n);
    let side = |count: usize, length: usize| {
        let cell = length.checked_mul(grid.scale)?.checked_add(grid.gap)?;
        count.checked_mul(cell).map(|total| total - grid.gap)
    };
    Some((side(columns, w)?, side(n.div_ceil(columns), h)?))
}

/// The index of the 256 equal intervals of [−1, 1] that holds y.
fn byte(y: f64) -> u8 {
    // A cast of a float to an integer saturates: 256, the image of y = 1, becomes 255.
    #[expect(clippy::cast_sign_loss, reason = "y + 1 ≥ 0 after the clip")]
    let byte = (128.0 * (y.clamp(-1.0, 1.0) + 1.0)).floor() as u8;
    byte
}
