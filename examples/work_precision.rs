//! ci: --out target/ci-work-precision.png --points 64 --most 64
//! Work and precision: the error of every sampler and adaptive method against the evaluations that it spends.
//!
//! The probability-flow ODE of a mixture of three Gaussians in the plane under the VP SDE, from t = 1 to t = 0.001, with
//! the exact score: what is measured is the solver alone. The error of a point is its largest coordinate's, against DOP853
//! at 1e-12; a curve shows the median over the points. Samplers on a grid have equal steps of log-SNR; adaptive methods
//! have one step size per point, and their evaluations are the mean over the points. DDPM adds noise, so that its points
//! have no right place: it is listed with the distance all the same, and shows what noise does to it.

use clap::Parser;
use ndarray::{Array2, array};
use ode_solvers::samplers::{Grid, Sampler, sample};
use ode_solvers::{
    Adaptive, DOP853, DOPRI5, RK23, RK45, Samples, Solution, TSIT5, Tableau, VERN7, decode,
    solve_in_chunks,
};
use pipeline::cli::{finish, parse_or_exit, png, print, whole};
use pipeline::plot::plotters::prelude::*;
use pipeline::plot::{Canvas, Drawn, FINE, GREY, INK, text, write_plot};
use sde_core::{GaussianMixture, Noise, Purpose, Reverse, Tolerance, VpLinear, grid};
use std::error::Error;
use std::ops::Range;
use std::path::PathBuf;
use std::process::ExitCode;

const T_0: f64 = 1e-3;
const CHUNK: usize = 256;
const ADAPTIVE: [&Tableau; 6] = [&RK23, &RK45, &DOPRI5, &TSIT5, &VERN7, &DOP853];
/// What the picture shows, the same in both panels.
const EVALUATIONS: Range<f64> = 3.5..700.0;
const ERRORS: Range<f64> = 2e-8..3.0;
/// Columns of the table: the error at about so many evaluations.
const BUDGETS: [f64; 4] = [10.0, 20.0, 50.0, 100.0];

/// Draws error against evaluations of all samplers and adaptive methods on a mixture in the plane.
#[derive(Debug, Parser)]
#[command(after_help = "Example: work_precision --points 2000 --out out/work_precision.png")]
struct Flags {
    /// Points that are moved.
    #[arg(long, default_value_t = 1000, value_parser = whole(1, 1_000_000), allow_negative_numbers = true)]
    points: u64,
    /// Most steps on a grid.
    #[arg(long, default_value_t = 256, value_parser = whole(4, 100_000), allow_negative_numbers = true)]
    most: u64,
    /// Key of all random numbers.
    #[arg(long, default_value_t = 0, value_parser = whole(0, u64::MAX), allow_negative_numbers = true)]
    seed: u64,
    /// The picture, a PNG file.
    #[arg(long, default_value = "out/work_precision.png", value_parser = png)]
    out: PathBuf,
}

/// One method: its name and (evaluations, median error) for each grid or tolerance.
struct Line {
    name: &'static str,
    points: Vec<(f64, f64)>,
}

fn main() -> ExitCode {
    finish(run(&parse_or_exit()))
}

fn run(flags: &Flags) -> Result<(), Box<dyn Error>> {
    pipeline::output::prepare(&flags.out)?;
    let problem = Problem::new(flags)?;
    let (mut on_grids, mut adaptive) = (problem.samplers(flags)?, problem.adaptive()?);
    for lines in [&mut on_grids, &mut adaptive] {
        let key = |line: &Line| line.at(BUDGETS[2]).unwrap_or(f64::INFINITY);
        lines.sort_by(|a, b| key(a).total_cmp(&key(b)));
    }
    write_plot(&flags.out, (1800, 1000), |canvas| {
        let (title, rest) = canvas.split_vertically(130);
        let heading = "Error and work: the probability-flow ODE of three Gaussians in the plane";
        title.draw(&Text::new(heading, (90, 50), text(68.0)))?;
        let (left, right) = rest.split_horizontally(1800);
        draw(&left, "Samplers on a grid", &on_grids)?;
        draw(&right, "Adaptive methods, one step size per point", &adaptive)
    })?;
    let report = table(&on_grids, &adaptive) + &format!("wrote {}\n", flags.out.display());
    Ok(print(&report)?)
}

/// The ODE, where it starts and where it ends.
struct Problem {
    sde: VpLinear,
    mixture: GaussianMixture,
    start: Array2<f64>,
    exact: Array2<f64>,
}

impl Problem {
    fn new(flags: &Flags) -> Result<Self, Box<dyn Error>> {
        let means = array![[-1.5, 0.5], [1.0, -1.0], [0.5, 1.8]];
        let mixture = GaussianMixture::isotropic(&[0.5, 0.3, 0.2], means, &[0.09, 0.04, 0.16])?;
        let numbers: Vec<u64> = (0..flags.points).collect();
        let mut start = Array2::zeros((numbers.len(), 2));
        Noise::new(flags.seed, Purpose::Prior).fill(&numbers, 0, &mut start)?;
        let exact = Array2::zeros((0, 2));
        let mut problem = Self { sde: VpLinear::default(), mixture, start, exact };
        problem.exact = problem.solve(&DOP853, 1e-12)?.y;
        Ok(problem)
    }

    fn solve(
        &self,
        method: &'static Tableau,
        tol: f64,
    ) -> ode_solvers::Result<Solution<Array2<f64>>> {
        let options = Adaptive::new(Tolerance::both(tol));
        solve_in_chunks(&self.start, 0, CHUNK, |chunk| {
            let score = self.mixture.score(&self.sde);
            let mut flow = Reverse::probability_flow(&self.sde, score);
            decode(method, chunk, T_0, &options, &mut flow)
        })
    }

    /// Mean evaluations and median error of a solution.
    fn measure(&self, solution: &Solution<Array2<f64>>) -> (f64, f64) {
        let off = &solution.y - &self.exact;
        let largest = |row: ndarray::ArrayView1<'_, f64>| row.fold(0.0, |m: f64, e| m.max(e.abs()));
        let mut errors: Vec<f64> = off.outer_iter().map(largest).collect();
        errors.sort_by(f64::total_cmp);
        (solution.mean_nfe(), errors[errors.len() / 2])
    }

    /// Every named sampler on grids of 4, 6, 8, 12, 16, … steps.
    fn samplers(&self, flags: &Flags) -> Result<Vec<Line>, Box<dyn Error>> {
        let noise = Noise::new(flags.seed, Purpose::Increment);
        let doubled = (2..).flat_map(|power| [1 << power, 3 << (power - 1)]);
        let steps: Vec<u32> = doubled.take_while(|n| u64::from(*n) <= flags.most).collect();
        let run = |sampler: &Sampler, steps: u32| -> Result<(f64, f64), Box<dyn Error>> {
            let grid = Grid::new(&self.sde, &grid::log_snr(&self.sde, steps, 1.0, T_0)?)?;
            let start = Samples::from(self.start.clone());
            let mut score = self.mixture.score(&self.sde);
            Ok(self.measure(&sample(sampler, start, &grid, &mut score, &noise)?))
        };
        let line = |sampler: &Sampler| {
            let points = steps.iter().map(|n| run(sampler, *n)).collect::<Result<_, _>>()?;
            Ok(Line { name: sampler.name(), points })
        };
        Sampler::NAMED.iter().map(line).collect()
    }

    /// Every method with an error estimate at tolerances from 1e-1 to 1e-9.
    fn adaptive(&self) -> Result<Vec<Line>, Box<dyn Error>> {
        let line = |method: &&'static Tableau| {
            let at = |i: i32| Ok(self.measure(&self.solve(method, 10_f64.powi(-i))?));
            let points = (1..=9).map(at).collect::<Result<_, Box<dyn Error>>>()?;
            Ok(Line { name: method.name, points })
        };
        ADAPTIVE.iter().map(line).collect()
    }
}

impl Line {
    /// The error at a number of evaluations, on the straight line between neighbours in logarithms.
    fn at(&self, evaluations: f64) -> Option<f64> {
        let between = |pair: &[(f64, f64)]| {
            let ((n, e), (m, f)) = (pair[0], pair[1]);
            let part = (evaluations / n).ln() / (m / n).ln();
            (n <= evaluations && evaluations <= m).then(|| e * (f / e).powf(part))
        };
        self.points.windows(2).find_map(between)
    }
}

/// The errors at the budgets.
fn table(on_grids: &[Line], adaptive: &[Line]) -> String {
    let mut out = String::from("median error at so many evaluations\n");
    out += &format!("{:20}", "");
    BUDGETS.iter().for_each(|n| out += &format!("{n:>10}"));
    out.push('\n');
    for (heading, lines) in [("on a grid", on_grids), ("adaptive", adaptive)] {
        out += &format!("{heading}\n");
        for line in lines {
            out += &format!("  {:18}", line.name);
            for n in BUDGETS {
                out += &line.at(n).map_or_else(|| format!("{:>10}", "–"), |e| format!("{e:10.1e}"));
            }
            out.push('\n');
        }
    }
    out
}

/// Okabe and Ito's colours that can be told from one another on white, and a dark one.
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(70, 72, 80),
];

/// One panel: a curve with marks for each line, and its key on the right.
fn draw(area: &Canvas<'_>, title: &str, lines: &[Line]) -> Drawn {
    let width = area.dim_in_pixel().0;
    let (plot, key) = area.split_horizontally(width - 430);
    let mut chart = ChartBuilder::on(&plot)
        .caption(title, text(54.0))
        .margin_left(20)
        .margin_bottom(20)
        .x_label_area_size(110)
        .y_label_area_size(150)
        .build_cartesian_2d(EVALUATIONS.log_scale(), ERRORS.log_scale())?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GREY.stroke_width(FINE))
        .axis_style(INK.stroke_width(FINE))
        .label_style(text(36.0))
        .axis_desc_style(text(42.0))
        .x_label_formatter(&|n| format!("{n}"))
        .y_label_formatter(&|e| format!("1e{:.0}", e.log10()).replace('-', "−"))
        .x_desc("evaluations of the score")
        .y_desc("median error")
        .draw()?;
    for ((i, line), row) in lines.iter().enumerate().zip(0..) {
        let colour = COLOURS[i % COLOURS.len()];
        let shown = |p: &&(f64, f64)| EVALUATIONS.contains(&p.0) && ERRORS.contains(&p.1);
        let points: Vec<_> = line.points.iter().filter(shown).copied().collect();
        chart.draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(4)))?;
        let corner = plot.get_base_pixel();
        for point in &points {
            let (x, y) = chart.backend_coord(point);
            mark(&plot, (x - corner.0, y - corner.1), i / COLOURS.len(), colour)?;
        }
        let height = 110 + 56 * row;
        key.draw(&PathElement::new([(15, height), (95, height)], colour.stroke_width(4)))?;
        mark(&key, (55, height), i / COLOURS.len(), colour)?;
        key.draw(&Text::new(line.name, (112, height - 18), text(36.0)))?;
    }
    Ok(())
}

/// A disc, a square or a triangle: lines of one colour differ in their marks.
fn mark(area: &Canvas<'_>, (x, y): (i32, i32), kind: usize, colour: RGBColor) -> Drawn {
    match kind {
        0 => area.draw(&Circle::new((x, y), 9, colour.filled()))?,
        1 => area.draw(&Rectangle::new([(x - 9, y - 9), (x + 9, y + 9)], colour.filled()))?,
        _ => area.draw(&TriangleMarker::new((x, y), 14, colour.filled()))?,
    }
    Ok(())
}
