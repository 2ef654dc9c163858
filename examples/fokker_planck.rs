//! ci: --out target/ci-fokker-planck.png --samples 2000
//! The Fokker–Planck equation two ways: as a density on a grid, and as samples of the processes that share it.
//!
//! A mixture of three Gaussians under the VP SDE. Above, `p_t(x)` against t and x, solved on a grid from
//! `∂p/∂t = −∇·(f x p) + (g²/2) Δp`, beside the closed form; their largest difference is printed, and must be small.
//! Below, histograms of samples at `t_0 = 0.001` of `dx = [f x − (1+η²)/2 g² s] dt + η g dw̄`, run back from the
//! prior with the exact score s. η = 0 moves without noise, η = 1 is the reverse SDE, η = 1.5 has more noise than the
//! forward process; all of them end in the same law.

use clap::Parser;
use pipeline::cli::{finish, parse_or_exit, png, print, whole};
use pipeline::host::HostRun;
use pipeline::plot::plotters::prelude::*;
use pipeline::plot::{COLOURS, Canvas, Drawn, FINE, INK, legend, text, write_plot};
use sde_core::fokker_planck::Diffusion;
use sde_core::fokker_planck::grid::{Axis, Evolution, Grid};
use sde_core::{GaussianMixture, VpLinear};
use std::error::Error;
use std::ops::Range;
use std::path::PathBuf;
use std::process::ExitCode;

/// Where the density is solved; it is drawn where it can be seen.
const DOMAIN: Axis = Axis { low: -7.0, high: 7.0, cells: 560 };
const SHOWN: Range<f64> = -3.6..3.6;
/// Columns of the heat map, and steps of the solver from one to the next.
const COLUMNS: u32 = 250;
const STEPS: u32 = 2;
/// The noise of the members, in parts of g.
const ETAS: [(f64, &str); 4] = [(0.0, "η = 0"), (0.5, "η = ½"), (1.0, "η = 1"), (1.5, "η = 1.5")];
const T_0: f64 = 1e-3;
/// The exact density below the histograms.
const SHADE: RGBColor = RGBColor(222, 224, 229);
const BINS: Axis = Axis { low: -3.0, high: 3.2, cells: 62 };

/// Draws a density that a grid solver moves in time beside the exact one, and samples of four processes that share it.
#[derive(Debug, Parser)]
#[command(after_help = "Example: fokker_planck --samples 10000 --out out/fokker_planck.png")]
struct Flags {
    /// Samples of each process.
    #[arg(long, default_value_t = 40_000, value_parser = whole(1, 10_000_000), allow_negative_numbers = true)]
    samples: u64,
    /// Steps of each process.
    #[arg(long, default_value_t = 500, value_parser = whole(1, 1_000_000), allow_negative_numbers = true)]
    steps: u64,
    /// Key of all random numbers.
    #[arg(long, default_value_t = 0, value_parser = whole(0, u64::MAX), allow_negative_numbers = true)]
    seed: u64,
    /// The picture, a PNG file.
    #[arg(long, default_value = "out/fokker_planck.png", value_parser = png)]
    out: PathBuf,
}

fn main() -> ExitCode {
    finish(run(&parse_or_exit()))
}

fn run(flags: &Flags) -> Result<(), Box<dyn Error>> {
    pipeline::output::prepare(&flags.out)?;
    let sde = VpLinear::default();
    let means = ndarray::array![[-1.5], [0.4], [2.0]];
    let mixture = GaussianMixture::isotropic(&[0.3, 0.5, 0.2], means, &[0.09, 0.25, 0.0625])?;
    let (solved, exact, mass) = densities(&mixture, &sde)?;
    let off = largest_difference(&solved, &exact);
    let cells = DOMAIN.cells;
    let mut report = format!(
        "grid        {cells} cells, {} steps, |p − exact| ≤ {off:.1e}, mass {mass:.15} at the end\n",
        COLUMNS * STEPS
    );
    if off > 1e-3 {
        return Err(format!("the grid is off by {off:.1e}, expected at most 1e-3").into());
    }
    let (truth, members) = histograms(&mixture, &sde, flags)?;
    for member in &members {
        report += &format!("{member}\n");
    }
    write_plot(&flags.out, (1800, 1340), |canvas| {
        let (title, rest) = canvas.split_vertically(150);
        let (above, below) = rest.split_vertically(1310);
        let heading =
            "One density, solved on a grid and sampled four ways: three Gaussians under the VP SDE";
        title.draw(&Text::new(heading, (90, 55), text(72.0)))?;
        draw_densities(&above, &solved, &exact, off)?;
        draw_histograms(&below, &truth, &members)
    })?;
    report += &format!("wrote       {}\n", flags.out.display());
    Ok(print(&report)?)
}

/// Densities on the grid, one for each column of the heat map.
type Columns = Vec<Vec<f64>>;

/// `p_t` by the solver and in closed form, and the mass at the end.
fn densities(
    mixture: &GaussianMixture,
    sde: &VpLinear,
) -> sde_core::Result<(Columns, Columns, f64)> {
    let grid = Grid::new(&[DOMAIN])?;
    let process = Diffusion::linear(sde);
    let exact = |t: f64| means(&grid, mixture, sde, t);
    let mut density = Evolution::new(&process, grid.clone(), exact(0.0), 0.0)?;
    let (mut by_solver, mut closed_form) = (vec![density.p().to_vec()], vec![exact(0.0)]);
    for column in 1..=COLUMNS {
        let t = f64::from(column) / f64::from(COLUMNS);
        density.advance(t, STEPS)?;
        by_solver.push(density.p().to_vec());
        closed_form.push(exact(t));
    }
    Ok((by_solver, closed_form, density.mass()))
}

/// The exact density at t as its means over cells.
fn means(grid: &Grid, mixture: &GaussianMixture, sde: &VpLinear, t: f64) -> Vec<f64> {
    let model = mixture.score(sde);
    grid.averages(|x| model.clone().log_density(x, t).map_or(f64::NAN, f64::exp))
}

fn largest_difference(a: &[Vec<f64>], b: &[Vec<f64>]) -> f64 {
    let pairs = a.iter().flatten().zip(b.iter().flatten());
    pairs.fold(0.0, |m, (a, b)| if (a - b).abs() > m { (a - b).abs() } else { m })
}

/// The samples of one member, as a density on [`BINS`].
struct Member {
    name: &'static str,
    density: Vec<f64>,
    /// `∫ |histogram − exact|`, and what the finite number of samples alone would make of it on average.
    distance: f64,
    chance: f64,
}

impl std::fmt::Display for Member {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, distance, chance, .. } = self;
        write!(f, "{name:<11} ∫ |histogram − p| = {distance:.4}, by chance alone {chance:.4}")
    }
}

/// The exact density and the histogram of each member.
#[expect(clippy::cast_sign_loss, reason = "a bin's number is not below 0")]
fn histograms(
    mixture: &GaussianMixture,
    sde: &VpLinear,
    flags: &Flags,
) -> Result<(Vec<f64>, Vec<Member>), Box<dyn Error>> {
    let grid = Grid::new(&[BINS])?;
    let truth = means(&grid, mixture, sde, T_0);
    let (n, width) = (flags.samples as f64, BINS.width());
    // A bin's share of n samples is off by √(2q/πn) on average, q its probability.
    let chance = truth.iter().map(|p| (2.0 * p * width / (std::f64::consts::PI * n)).sqrt()).sum();
    let run = HostRun { sde, mixture, seed: flags.seed, t_min: T_0, on_done: &|_| () };
    let mut members = Vec::new();
    for (eta, name) in ETAS {
        let samples = run.draw_by_sde(flags.samples as usize, flags.steps as u32, eta)?.y;
        let mut density = vec![0.0; BINS.cells];
        for x in &samples {
            let bin = (x - BINS.low) / width;
            if (0.0..BINS.cells as f64).contains(&bin) {
                density[bin as usize] += 1.0 / (n * width); // the whole part is the bin
            }
        }
        let distance = grid.distance(&density, &truth);
        members.push(Member { name, density, distance, chance });
    }
    Ok((truth, members))
}

/// Two heat maps on one scale of colours, and the scale.
fn draw_densities(area: &Canvas<'_>, solved: &[Vec<f64>], exact: &[Vec<f64>], off: f64) -> Drawn {
    let peak = exact.iter().flatten().fold(0.0_f64, |m, p| m.max(*p));
    let (left, rest) = area.split_horizontally(1660);
    let (right, scale) = rest.split_horizontally(1660);
    heat_map(&left, "p on the grid", solved, peak)?;
    heat_map(&right, &format!("p in closed form, at most {off:.0e} away"), exact, peak)?;
    let mut chart = ChartBuilder::on(&scale)
        .margin_top(112)
        .margin_right(90)
        .x_label_area_size(108)
        .y_label_area_size(90)
        .build_cartesian_2d(0.0..1.0, 0.0..peak)?;
    let mut axes = chart.configure_mesh();
    axes.disable_mesh().disable_x_axis().y_labels(5);
    axes.axis_style(INK.stroke_width(FINE)).label_style(text(38.0)).draw()?;
    let step = peak / 256.0;
    chart.draw_series((0..256).map(|i| {
        let p = f64::from(i) * step;
        Rectangle::new([(0.0, p), (1.0, p + step)], colour(p / peak).filled())
    }))?;
    Ok(())
}

fn heat_map(area: &Canvas<'_>, title: &str, p: &[Vec<f64>], peak: f64) -> Drawn {
    let mut chart = ChartBuilder::on(area)
        .caption(title, text(54.0))
        .margin_left(30)
        .margin_right(50)
        .x_label_area_size(108)
        .y_label_area_size(120)
        .build_cartesian_2d(0.0..1.0, SHOWN)?;
    let half = 0.5 / f64::from(COLUMNS);
    let cell = |i: usize| DOMAIN.low + i as f64 * DOMAIN.width();
    for (column, p) in p.iter().enumerate() {
        let t = 2.0 * half * column as f64;
        let (from, to) = ((t - half).max(0.0), (t + half).min(1.0));
        let rows = p.iter().enumerate();
        let seen = rows.filter(|(i, _)| cell(*i) >= SHOWN.start && cell(i + 1) <= SHOWN.end);
        chart.draw_series(seen.map(|(i, p)| {
            Rectangle::new([(from, cell(i)), (to, cell(i + 1))], colour(p / peak).filled())
        }))?;
    }
    let mut axes = chart.configure_mesh();
    axes.disable_mesh().axis_style(INK.stroke_width(FINE)).x_labels(6).y_labels(7);
    axes.y_label_formatter(&|x| integer(*x));
    axes.label_style(text(38.0)).axis_desc_style(text(44.0)).x_desc("t").y_desc("x").draw()?;
    Ok(())
}

/// The label of a whole number on an axis.
fn integer(x: f64) -> String {
    format!("{}{:.0}", if x < -0.5 { "−" } else { "" }, x.abs())
}

/// White to dark blue (`ColorBrewer`'s Blues) for numbers from 0 to 1.
#[expect(clippy::cast_sign_loss, reason = "shares and colours are not below 0")]
fn colour(share: f64) -> RGBColor {
    const STOPS: [[f64; 3]; 5] = [
        [255.0, 255.0, 255.0],
        [198.0, 219.0, 239.0],
        [107.0, 174.0, 214.0],
        [33.0, 113.0, 181.0],
        [8.0, 48.0, 107.0],
    ];
    let place = share.clamp(0.0, 1.0) * (STOPS.len() - 1) as f64;
    let i = (place as usize).min(STOPS.len() - 2); // the whole part is the stop below
    let part = place - i as f64;
    let [r, g, b] = std::array::from_fn(|c| {
        ((1.0 - part) * STOPS[i][c] + part * STOPS[i + 1][c]).round() as u8 // within 0..=255
    });
    RGBColor(r, g, b)
}

/// The histograms as steps over the exact density, with their distances from it.
fn draw_histograms(area: &Canvas<'_>, truth: &[f64], members: &[Member]) -> Drawn {
    let (plot, table) = area.split_horizontally(2420);
    let peak = truth.iter().fold(0.0_f64, |m, p| m.max(*p));
    let mut chart = ChartBuilder::on(&plot)
        .caption("Samples at t = 0.001 on the exact density", text(54.0))
        .margin_left(30)
        .margin_right(50)
        .margin_top(40)
        .margin_bottom(20)
        .x_label_area_size(108)
        .y_label_area_size(120)
        .build_cartesian_2d(BINS.low..BINS.high, 0.0..1.15 * peak)?;
    let mut axes = chart.configure_mesh();
    axes.disable_mesh().axis_style(INK.stroke_width(FINE)).x_labels(7).y_labels(5);
    axes.x_label_formatter(&|x| integer(*x));
    axes.label_style(text(38.0)).axis_desc_style(text(44.0)).x_desc("x").draw()?;
    let outline = [(BINS.low, 0.0)].into_iter().chain(steps(truth)).chain([(BINS.high, 0.0)]);
    chart.draw_series([Polygon::new(outline.collect::<Vec<_>>(), SHADE.filled())])?;
    for (member, line) in members.iter().zip(COLOURS) {
        chart.draw_series(LineSeries::new(steps(&member.density), line.stroke_width(5)))?;
    }
    let row = |(m, line): (&Member, _)| (line, vec![m.name.into(), format!("{:.4}", m.distance)]);
    let rows: Vec<_> = members.iter().zip(COLOURS).map(row).collect();
    let (_, table) = table.split_vertically(150);
    let (table, remark) = table.split_vertically(430);
    legend(&table, &[0.12, 0.36], &["noise", "distance from the exact density"], &rows)?;
    let chance = members.first().map_or(0.0, |m| m.chance);
    let lines = [
        "The distance is the integral of |histogram − p|:".into(),
        format!("{chance:.4} on average for exact samples, as many as these."),
    ];
    for (line, y) in lines.into_iter().zip([40, 96]) {
        remark.draw(&Text::new(line, (142, y), text(39.0)))?;
    }
    Ok(())
}

/// The outline of a function that is constant on each bin.
fn steps(density: &[f64]) -> impl Iterator<Item = (f64, f64)> + '_ {
    let edge = |i: usize| BINS.low + i as f64 * BINS.width();
    density.iter().enumerate().flat_map(move |(i, &p)| [(edge(i), p), (edge(i + 1), p)])
}
