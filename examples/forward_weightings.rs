//! ci: --out target/ci-weightings.png
//! Which forward weightings end in N(0, I), and what the others need instead.
//!
//! A forward chain `x_t = a_t x_{t−1} + b_t ε` has the closed form `x_T = A_T x_0 + c_T ε`. Three families choose a
//! from b: a + b = 1, a² + b² = 1 and a = b. With b rising from 0.0001 to 0.02 this draws `c_t` against t for 2,000,
//! 10,000 and 100,000 steps, and prints where each chain ends:
//!
//! * a² + b² = 1 has the fixed point 1 but reaches it only with the most steps: what counts is `Σ b²`, not T;
//! * the other two settle below 1, at √(b/(2−b)) and b/√(1−b²) of their last b; other b would take them to 1;
//! * none of that decides whether a chain is usable. It is when `A_T` is 0 for practical purposes, with the prior
//!   `N(0, c_T² I)`: the last columns show what the exact reverse chain then makes of Gaussian data.

use clap::Parser;
use pipeline::cli::{finish, parse_or_exit, png, print};
use pipeline::output::prepare;
use pipeline::plot::plotters::prelude::*;
use pipeline::plot::{
    COLOURS, Canvas, Curve, Drawn, Frame, curves, legend, text, thousands, write_plot,
};
use sde_core::chain::{NoiseRamp, Verdict, Weighting, Weights};
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

const FAMILIES: [(Weighting, &str); 3] = [
    (Weighting::Square, "a² + b² = 1"),
    (Weighting::Sum, "a + b = 1"),
    (Weighting::Equal, "a = b"),
];
const STEPS: [usize; 3] = [2_000, 10_000, 100_000];
const RANGE: (f64, f64) = (1e-4, 0.02);
/// Mean and variance of the data that are noised and brought back.
const DATA: (f64, f64) = (0.7, 0.36);

/// Draws the noise coefficient of three forward weightings and prints where each chain ends.
#[derive(Debug, Parser)]
#[command(after_help = "Example: forward_weightings --out out/forward_weightings.png")]
struct Flags {
    /// The picture, a PNG file.
    #[arg(long, default_value = "out/forward_weightings.png", value_parser = png)]
    out: PathBuf,
}

fn main() -> ExitCode {
    finish(run(&parse_or_exit()))
}

fn run(flags: &Flags) -> Result<(), Box<dyn Error>> {
    prepare(&flags.out)?;
    let mut panels = Vec::new();
    for steps in STEPS {
        let ramp = NoiseRamp::Linspace(RANGE.0, RANGE.1, steps);
        let chains = FAMILIES.iter().map(|&(family, _)| Weights::of(family, &ramp));
        panels.push(chains.collect::<Result<Vec<_>, _>>()?);
    }
    let mut table = format!("b from {} to {}; data N({}, {})\n", RANGE.0, RANGE.1, DATA.0, DATA.1);
    table += &format!(
        "{:<12} {:>8} {:>11} {:>11} {:>9} {:>11}  {:<20} {:>15}\n",
        "weighting",
        "steps",
        "c_T",
        "ln A_T",
        "SNR(T)",
        "fixed point",
        "c_T = 1 within 1e-3",
        "data returned"
    );
    for chains in &panels {
        for (chain, (_, name)) in chains.iter().zip(FAMILIES) {
            table += &line(name, chain);
        }
    }
    let ddpm = Weights::of(Weighting::Square, &NoiseRamp::SqrtLinspace(RANGE.0, RANGE.1, 1_000))?;
    table += &line("b² in range", &ddpm);
    write_plot(&flags.out, (1800, 780), |canvas| draw(canvas, &panels, &ddpm))?;
    table += &format!("wrote {}\n", flags.out.display());
    Ok(print(&table)?)
}

fn line(name: &str, chain: &Weights) -> String {
    let end = chain.verdict();
    let (mean, variance) = chain.reverse_gaussian(DATA.0, DATA.1, chain.matched_prior_std());
    let point = end.fixed_point.map_or("none".into(), |c| format!("{c:.6}"));
    format!(
        "{name:<12} {:>8} {:>11.8} {:>11.3} {:>9.1e} {point:>11}  {:<20} N({mean:.4}, {variance:.4})\n",
        thousands(end.steps as f64),
        end.noise_coef,
        end.log_x0_coef,
        end.terminal_snr.snr,
        end.converged_from.map_or("no".into(), |t| format!("from step {}", thousands(t as f64))),
    )
}

/// Three panels side by side, below a title and above a remark.
fn draw(canvas: &Canvas<'_>, panels: &[Vec<Weights>], ddpm: &Weights) -> Drawn {
    let (title, rest) = canvas.split_vertically(120);
    let (panel_row, remark) = rest.split_vertically(1330);
    title.draw(&Text::new(
        "Noise coefficient c of the chain x(t) = a x(t−1) + b ε, with b rising from 0.0001 to 0.02",
        (70, 50),
        text(66.0),
    ))?;
    remark.draw(&Text::new(
        format!(
            "Once its signal is gone, a chain can be reversed from N(0, c²) with its own c. Read as a range of b², \
             DDPM's way, 1,000 steps of a² + b² = 1 end at c = {:.5}.",
            ddpm.matched_prior_std()
        ),
        (70, 15),
        text(42.0),
    ))?;
    let areas = panel_row.split_evenly((1, panels.len()));
    areas.iter().zip(panels).try_for_each(|(area, chains)| draw_panel(area, chains))
}

/// One number of steps: the three curves and what becomes of each.
fn draw_panel(area: &Canvas<'_>, chains: &[Weights]) -> Drawn {
    let (above, below) = area.split_vertically(1020);
    let steps = chains.first().map_or(0, Weights::steps);
    let lines: Vec<Curve> = chains
        .iter()
        .zip(COLOURS)
        .map(|(chain, colour)| Curve { points: thinned(chain.noise()), colour })
        .collect();
    let title = format!("{} steps", thousands(steps as f64));
    let frame = Frame {
        title: &title,
        x_label: "step t",
        y_label: "noise coefficient",
        x: 0.0..steps as f64,
        y: 0.0..1.05,
    };
    curves(&above, &frame, &[1.0], &lines)?;
    let rows: Vec<_> = chains
        .iter()
        .zip(COLOURS)
        .zip(FAMILIES)
        .map(|((chain, colour), (_, name))| (colour, row(name, &chain.verdict())))
        .collect();
    let headings = ["weighting", "last c", "signal left", "within 0.001 of 1"];
    legend(&below, &[0.10, 0.30, 0.47, 0.70], &headings, &rows)
}

fn row(name: &str, end: &Verdict) -> Vec<String> {
    let signal = end.log_x0_coef.exp();
    let left = if signal > 1e-3 {
        format!("{signal:.4}")
    } else {
        format!("exp(−{:.0})", -end.log_x0_coef)
    };
    let digits = if (end.noise_coef - 1.0).abs() < 1e-3 { 7 } else { 4 };
    let verdict = match (end.converged_from, end.fixed_point) {
        (Some(t), _) => format!("from step {}", thousands(t as f64)),
        (None, Some(c)) if (c - 1.0).abs() < 1e-3 => "not yet".into(),
        (None, Some(c)) => format!("no, tends to {c:.4}"),
        (None, None) => "no".into(),
    };
    vec![name.into(), format!("{:.digits$}", end.noise_coef), left, verdict]
}

/// At most a thousand points of a curve, its last one among them.
fn thinned(noise: &[f64]) -> Vec<(f64, f64)> {
    let last = noise.len().saturating_sub(1);
    let every = last.div_ceil(1000).max(1);
    let picked = (0..last).step_by(every).chain([last]);
    picked.map(|t| (t as f64, noise[t])).collect()
}
