//! `sde bench`: seconds of an evaluation, of a product with the Jacobian, and of a run of a sampler.

use std::error::Error;
use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use clap::builder::PossibleValuesParser;
use pipeline::cli::{Usage, whole};
use pipeline::models::tch::{Kind, Tensor, no_grad};
use pipeline::models::{Classes, Input, Model, vjp};
use pipeline::network::{NetworkRun, Sampler, Start};
use serde::Serialize;

use crate::flags::{Common, MeaningFlags};
use crate::model::describe;
use crate::session::Session;
use crate::solver::{self, Method};

/// Flags of `bench`.
#[derive(Debug, Args)]
#[command(after_help = "\
Times are milliseconds after two calls that do not count. `eval` is one pass forward of --batch samples, `vjp` one pass forward and
one backward with respect to the samples, `run` a whole run of --sampler with --steps; overhead is the part of the run outside of
its evaluations. A model that does not say what it means has no run.

Example: sde bench --model assets/digits-unet --batch 8 --repeat 20 --sampler heun --steps 10 --json")]
pub(crate) struct BenchFlags {
    /// A model's directory, its safetensors file as `sde train` writes it, or a TorchScript file.
    #[arg(long, value_name = "DIR|FILE")]
    model: PathBuf,
    #[command(flatten)]
    meaning: MeaningFlags,
    /// Timed calls of each kind.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = whole(1, 1_000_000), allow_negative_numbers = true)]
    repeat: u64,
    /// The sampler of the run, one that goes by steps.
    #[arg(long, default_value = "heun", value_parser = PossibleValuesParser::new(solver::samplers()))]
    sampler: String,
    /// Steps of the run.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = whole(1, 1_000_000), allow_negative_numbers = true)]
    steps: u64,
}

/// The JSON of `bench`.
#[derive(Serialize)]
struct Benched {
    batch: usize,
    repeat: u64,
    eval_ms: Times,
    vjp_ms: Times,
    run_ms: Option<Times>,
    nfe: Option<u64>,
    overhead_percent: Option<f64>,
}

/// Milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
struct Times {
    median: f64,
    min: f64,
}

impl Times {
    /// Of so many calls, after two for the warmth of caches.
    fn of<T, E>(repeat: u64, mut call: impl FnMut() -> Result<T, E>) -> Result<Self, E> {
        for _ in 0..2 {
            call()?;
        }
        let mut times = Vec::new();
        for _ in 0..repeat {
            let begun = Instant::now();
            call()?;
            times.push(1e3 * begun.elapsed().as_secs_f64());
        }
        times.sort_by(f64::total_cmp);
        let n = times.len();
        let median = 0.5 * (times[(n - 1) / 2] + times[n / 2]);
        Ok(Self { median, min: times[0] })
    }
}

/// Measures.
///
/// # Errors
/// A model that cannot be read or evaluated, a sampler that has no steps.
pub(crate) fn run(flags: &BenchFlags, common: &Common) -> Result<(), Box<dyn Error>> {
    let method = solver::sampler(&flags.sampler);
    if matches!(method, Method::AdaptiveSde) {
        let text = format!("found --sampler {}, expected one that goes by steps", flags.sampler);
        return Err(Usage(text).into());
    }
    let session = Session::open("bench", common)?;
    let model = session.model(&flags.model)?;
    let batch = common.batch_or(1);
    let (eval_ms, vjp_ms) = evaluations(&model, batch, flags.repeat, &session)?;
    let (run_ms, nfe) = match flags.sampling(&model, method, batch, &session)? {
        Some((times, nfe)) => (Some(times), Some(nfe)),
        None => (None, None),
    };
    let overhead_percent =
        run_ms.zip(nfe).map(|(run, nfe)| 100.0 * (1.0 - nfe as f64 * eval_ms.median / run.median));
    let report =
        Benched { batch, repeat: flags.repeat, eval_ms, vjp_ms, run_ms, nfe, overhead_percent };
    session.report(&report, &report.text())
}

/// A pass forward, and one with a pass backward.
fn evaluations(
    model: &Model,
    batch: usize,
    repeat: u64,
    session: &Session<'_>,
) -> Result<(Times, Times), Box<dyn Error>> {
    let shape = model.sample_shape().ok_or_else(|| {
        Usage(
            "the model does not say the shape of a sample, expected sample_size in its config.json"
                .into(),
        )
    })?;
    let rows = i64::try_from(batch)?;
    let size: Vec<i64> = std::iter::once(rows).chain(shape).collect();
    let x = Tensor::f_randn(&size, (Kind::Float, session.device)).map_err(torch)?;
    let label = vec![1.0; batch];
    let first = vec![0; batch];
    let class = model.network.classes().map(|_| Classes::Labels(&first));
    let forward =
        |x: &Tensor| model.network.forward(Input { x, label: &label, class, train: None });
    let wait = || session.wait();
    let eval = Times::of(repeat, || {
        let _y = no_grad(|| forward(&x))?;
        wait()
    })?;
    let u = no_grad(|| forward(&x))?.f_ones_like().map_err(torch)?;
    let product = Times::of(repeat, || {
        let _products = vjp(forward, &x, &u)?;
        wait()
    })?;
    Ok((eval, product))
}

fn torch(error: pipeline::models::tch::TchError) -> pipeline::models::torch_ext::Error {
    error.into()
}

impl BenchFlags {
    /// A run of the sampler and its evaluations, for a model that says what it means.
    fn sampling(
        &self,
        model: &Model,
        method: Method,
        batch: usize,
        session: &Session<'_>,
    ) -> Result<Option<(Times, u64)>, Box<dyn Error>> {
        let description = match describe(model, &self.model, &self.meaning, None, session) {
            Ok(description) => description,
            Err(why) if self.meaning.given() || model.description.is_some() => return Err(why),
            Err(why) => {
                session.say(&format!("no run: {why}"));
                return Ok(None);
            }
        };
        let (t_min, t_max) = (description.t_min, description.process.end());
        let steps = u32::try_from(self.steps)?;
        let grid = solver::named_grid("uniform", &*description.process, steps, (t_max, t_min))?;
        let sampler = match method {
            Method::Ode(method) => Sampler::Grid(method, &grid),
            Method::Diffusion(sampler) => Sampler::Diffusion(sampler, &grid[..grid.len() - 1]),
            Method::ReverseSde(method) => Sampler::ReverseSde { method, grid: &grid, eta: 1.0 },
            Method::AdaptiveSde => return Ok(None), // refused before
        };
        let run = NetworkRun {
            network: &*model.network,
            description: &description,
            class: model.network.classes().map(|_| 0),
            guidance: None,
            device: session.device,
            seed: session.common.seed(),
            batch,
            t_min,
            t_max,
            on_progress: &|_| (),
        };
        let mut nfe = 0;
        let times = Times::of(self.repeat, || {
            nfe = run.draw(&Start::Prior(batch), sampler)?.batch_evals;
            session.wait()
        })?;
        Ok(Some((times, nfe)))
    }
}

impl Benched {
    fn text(&self) -> String {
        let line =
            |name: &str, t: Times| format!("{name:8} {:10.2} ms, at best {:.2}\n", t.median, t.min);
        let mut text = format!("batch    {:10}\n", self.batch);
        text += &line("eval", self.eval_ms);
        text += &line("vjp", self.vjp_ms);
        if let (Some(run), Some(nfe), Some(overhead)) =
            (self.run_ms, self.nfe, self.overhead_percent)
        {
            text += &line("run", run);
            text += &format!("NFE      {nfe:10}\noverhead {overhead:10.2} %\n");
        }
        text
    }
}
