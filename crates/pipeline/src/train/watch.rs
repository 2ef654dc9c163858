//! Samples of the averaged weights while a run goes on: a grid of images, or points of the plane.

use std::path::Path;

use models::tch::Device;
use models::{Description, Network};
use ndarray::{ArrayD, ArrayView4, Axis, Ix4, concatenate};
use ode_solvers::HEUN;
use plotters::prelude::{Circle, Color};

use super::config::TrainConfig;
use super::error::Result;
use crate::network::{NetworkRun, Sampler, Start};
use crate::output::{Grid, write_png_grid};
use crate::plot::{COLOURS, Drawn, FINE, plotters, write_plot};

/// Steps of Heun's method from noise to a sample, on a uniform grid of log-SNRs.
const STEPS: u32 = 20;
/// Half a side of the square of the plane that is shown.
const HALF: f64 = 2.5;

/// Draws samples and writes them as a picture; every time with the same noise. A network with classes draws as many of
/// each.
///
/// # Errors
/// Those of the network; a picture that cannot be written.
pub fn write_samples(
    config: &TrainConfig,
    (network, description): (&dyn Network, &Description),
    path: &Path,
) -> Result<()> {
    let samples = match config.classes() {
        None => draw(config, (network, description), None, config.keep.samples)?,
        Some(classes) => {
            let each = config.keep.samples.div_ceil(usize::try_from(classes).unwrap_or(1).max(1));
            let parts =
                (0..classes).map(|class| draw(config, (network, description), Some(class), each));
            let parts = parts.collect::<Result<Vec<_>>>()?;
            let views: Vec<_> = parts.iter().map(ArrayD::view).collect();
            concatenate(Axis(0), &views).unwrap_or_default() // all of one shape
        }
    };
    match samples.view().into_dimensionality::<Ix4>() {
        Ok(images) => pictures(path, images),
        Err(_) if samples.shape().get(1) == Some(&2) => {
            Ok(write_plot(path, (480, 480), |canvas| points(canvas, &samples))?)
        }
        Err(_) => Ok(()), // vectors have no picture
    }
}

fn draw(
    config: &TrainConfig,
    (network, description): (&dyn Network, &Description),
    class: Option<i64>,
    n: usize,
) -> Result<ArrayD<f64>> {
    let process = &*description.process;
    let run = NetworkRun {
        network,
        description,
        class,
        guidance: None,
        device: Device::Cpu,
        seed: config.seed,
        batch: config.training.batch,
        t_min: description.t_min,
        t_max: process.end(),
        on_progress: &|_| (),
    };
    // where the log-SNR is infinite a uniform grid of it has no end
    let finite = process.log_snr(run.t_max).is_finite() && process.log_snr(run.t_min).is_finite();
    let grid = if finite {
        sde_core::grid::log_snr(process, STEPS, run.t_max, run.t_min)?
    } else {
        ode_solvers::uniform_grid(run.t_max, run.t_min, STEPS)
    };
    Ok(run.draw(&Start::Prior(n), Sampler::Grid(&HEUN, &grid))?.y)
}

fn pictures(path: &Path, images: ArrayView4<'_, f64>) -> Result<()> {
    let (n, channels, h, w) = images.dim();
    if ![1, 3].contains(&channels) {
        return Ok(());
    }
    let columns = (1..=n).find(|c| c * c >= n).unwrap_or(1);
    let grid = Grid { columns, scale: (64 / h.max(w).max(1)).max(1), gap: 2 };
    Ok(write_png_grid(path, images, grid)?)
}

fn points(canvas: &crate::plot::Canvas<'_>, samples: &ArrayD<f64>) -> Drawn {
    let (width, height) = canvas.dim_in_pixel();
    let pixel = |x: f64, size: u32| ((x + HALF) / (2.0 * HALF) * f64::from(size)) as i32; // whole pixels
    for point in samples.axis_iter(Axis(0)) {
        let place = (pixel(point[0], width), height as i32 - pixel(point[1], height));
        canvas.draw(&Circle::new(place, 2 * FINE as i32, COLOURS[0].mix(0.5).filled()))?;
    }
    Ok(())
}
