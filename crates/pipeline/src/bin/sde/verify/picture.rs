//! The picture of `sde verify`: what depends on the noise level, and what on η.

use pipeline::plot::plotters::prelude::RGBColor;
use pipeline::plot::{self, COLOURS, Canvas, Curve, Drawn, FINE, Frame, PlotError, curves, legend};

use super::report::Found;

/// Pixels of the picture, and of its legend.
const SIZE: (u32, u32) = (960, 420);
const LEGEND: u32 = 80;

/// The picture as a PNG file.
///
/// # Errors
/// What cannot be drawn.
pub(super) fn png(found: &Found) -> Result<Vec<u8>, PlotError> {
    plot::png(SIZE, |canvas| draw(canvas, found))
}

fn draw(canvas: &Canvas<'_>, found: &Found) -> Drawn {
    let (panels, below) = canvas.split_vertically(FINE * (SIZE.1 - LEGEND));
    let panels = panels.split_evenly((1, 2));
    loops(&panels[0], found)?;
    family(&panels[1], found)?;
    let names = [
        "space-time loop: residual / |∂s/∂t|",
        "asymmetry of J = ∂s/∂x, relative",
        "distance from the data",
    ];
    let row = |i: usize| (COLOURS[i], vec![names[i].into()]);
    let halves = below.split_evenly((1, 2));
    legend(&halves[0], &[0.1], &[""], &[row(0), row(1)])?;
    legend(&halves[1], &[0.1], &["dashed: by chance alone, and what is normal"], &[row(2)])
}

/// From 0 to a little above all of these.
fn up_to(values: impl Iterator<Item = f64>) -> std::ops::Range<f64> {
    0.0..1.1 * values.filter(|y| y.is_finite()).fold(1e-3, f64::max)
}

fn curve(points: Vec<(f64, f64)>, colour: RGBColor) -> Curve {
    Curve { points, colour }
}

/// (Y2) and (Y3) over the log-SNR.
fn loops(area: &Canvas<'_>, found: &Found) -> Drawn {
    let at = &found.loops;
    let time: Vec<_> = at.iter().map(|at| (at.log_snr, at.time_loop.mean)).collect();
    let space: Vec<_> = at.iter().filter_map(|at| Some((at.log_snr, at.asymmetry?.mean))).collect();
    let ends =
        at.iter().map(|at| at.log_snr).fold((f64::MAX, f64::MIN), |(a, b), x| (a.min(x), b.max(x)));
    let frame = Frame {
        title: "Is it the score of a density?",
        x_label: "log-SNR: noise left, data right",
        y_label: "relative error",
        x: ends.0..ends.1,
        y: up_to(time.iter().chain(&space).map(|p| p.1)),
    };
    curves(area, &frame, &[], &[curve(time, COLOURS[0]), curve(space, COLOURS[1])])
}

/// (Y4) over η.
fn family(area: &Canvas<'_>, found: &Found) -> Drawn {
    let of = &found.family;
    let distance: Vec<_> = of.iter().map(|of| (of.eta, of.distance.distance)).collect();
    let chance = of.iter().map(|of| of.distance.by_chance).sum::<f64>() / of.len() as f64;
    let normal = of.iter().map(super::report::OfEta::normal_below).sum::<f64>() / of.len() as f64;
    let frame = Frame {
        title: "Do all members of the family agree?",
        x_label: "η: noise of the reverse process in units of g",
        y_label: "sliced W₁",
        x: 0.0..1.5,
        y: up_to(distance.iter().map(|p| p.1).chain([normal])),
    };
    curves(area, &frame, &[chance, normal], &[curve(distance, COLOURS[2])])
}
