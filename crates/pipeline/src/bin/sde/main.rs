//! The program `sde`: networks from the command line.
//!
//! * [`flags`]: what all commands share; [`session`]: the device, what is said and reported;
//! * [`speed`]: the arithmetic and the layout of a network;
//! * [`model`]: a network and what it means, from its own description, a scheduler's file or flags;
//! * [`parts`]: runs in chunks; [`page`]: results as a page;
//! * [`process`], [`scheduler`], [`solver`], [`ode`], [`data`]: what flags name;
//! * [`sample`] with its `edit` and `inpaint`, [`likelihood`], [`flow`], [`interpolate`], [`eval`], [`train`], [`info`], [`verify`],
//!   [`compare`], [`bench`](mod@bench): the commands.

mod bench;
mod compare;
mod data;
mod eval;
mod flags;
mod flow;
mod info;
mod interpolate;
mod likelihood;
mod model;
mod ode;
mod page;
mod parts;
mod process;
mod progress;
mod sample;
mod scheduler;
mod session;
mod solver;
mod speed;
mod train;
mod verify;

use clap::{Parser, Subcommand};
use pipeline::cli::{finish, parse_or_exit};
use pipeline::models::torch_ext::catch;
use std::error::Error;
use std::process::ExitCode;

use flags::Common;

/// Score-based generative modelling: train, sample, and compute likelihoods with networks.
#[derive(Debug, Parser)]
#[command(
    version,
    arg_required_else_help = false,
    after_help = "Example: sde sample --model runs/digits --num 64 --seed 1 --out out/samples.png"
)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Draws samples by the probability-flow ODE or the reverse SDE.
    Sample(sample::DrawFlags),
    /// Computes the log-likelihood of data by the probability-flow ODE.
    Likelihood(likelihood::LikelihoodFlags),
    /// Evaluates a network, and its product with a cotangent, on arrays from a file.
    Eval(eval::EvalFlags),
    /// Trains a network.
    Train(train::TrainFlags),
    /// Measures how far samples are from data.
    Compare(compare::CompareFlags),
    /// Carries data to their latents along the probability-flow ODE.
    Encode(flow::EncodeFlags),
    /// Carries latents to data along the probability-flow ODE.
    Decode(flow::DecodeFlags),
    /// Joins samples through their latents.
    Interpolate(interpolate::InterpolateFlags),
    /// Noises data in part and denoises them again.
    Edit(sample::edit::EditFlags),
    /// Draws the unknown part of samples of which a part is known.
    Inpaint(sample::inpaint::InpaintFlags),
    /// Measures evaluations, products with the Jacobian, and a run of a sampler.
    Bench(bench::BenchFlags),
    /// Shows libtorch, devices, and what a model is.
    Info(info::InfoFlags),
    /// Measures how far a network is from the score of a density, and its samples from the data.
    Verify(verify::VerifyFlags),
}

fn main() -> ExitCode {
    let cli: Cli = parse_or_exit();
    std::panic::set_hook(Box::new(|_| ())); // `catch` makes a sentence of a panic
    finish(catch(|| run(&cli)))
}

fn run(cli: &Cli) -> Result<(), Box<dyn Error>> {
    match &cli.command {
        Command::Sample(flags) => sample::run(flags, &cli.common),
        Command::Likelihood(flags) => likelihood::run(flags, &cli.common),
        Command::Eval(flags) => eval::run(flags, &cli.common),
        Command::Train(flags) => train::run(flags, &cli.common),
        Command::Compare(flags) => compare::run(flags, &cli.common),
        Command::Encode(flags) => flow::encode(flags, &cli.common),
        Command::Decode(flags) => flow::decode(flags, &cli.common),
        Command::Interpolate(flags) => interpolate::run(flags, &cli.common),
        Command::Edit(flags) => sample::edit::run(flags, &cli.common),
        Command::Inpaint(flags) => sample::inpaint::run(flags, &cli.common),
        Command::Bench(flags) => bench::run(flags, &cli.common),
        Command::Info(flags) => info::run(flags, &cli.common),
        Command::Verify(flags) => verify::run(flags, &cli.common),
    }
}
