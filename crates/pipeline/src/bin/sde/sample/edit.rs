//! `sde edit`: data, noised in part, to samples.

use std::error::Error;

use clap::Args;
use ndarray::Axis;
use pipeline::cli::{Usage, number};
use pipeline::output::{Format, prepare};
use serde::Serialize;

use super::{BATCH, SampleFlags};
use crate::data::Source;
use crate::flags::Common;
use crate::model::Described;
use crate::progress::Progress;
use crate::session::Session;

/// Flags of `edit`: those of `sample` but for what the data say.
#[derive(Debug, Args)]
#[command(
    mut_arg("num", |arg| arg.hide(true)),
    mut_arg("noise", |arg| arg.hide(true)),
    after_help = "\
Data are noised to t = strength · t_max and brought back by any sampler: a little noise changes details, much of it leaves only
the outline, and 1 leaves nothing where the process forgets its data. Integer data are taken at the middles of their levels.

Example: sde edit --model runs/digits --data digits:test --strength 0.5 --sampler euler-maruyama --steps 200 --out out/edited.png"
)]
pub(crate) struct EditFlags {
    /// A data file, a directory of images, or the compiled-in digits: digits:train, digits:validation, digits:test.
    #[arg(long, value_name = "FILE|DIR")]
    data: String,
    /// How far to noise, above 0 to 1, in units of the flow's end.
    #[arg(long, value_name = "T", value_parser = number(f64::MIN_POSITIVE, 1.0), allow_negative_numbers = true)]
    strength: f64,
    #[command(flatten)]
    sample: SampleFlags,
}

/// The keys of `edit` beside those of `sample`.
#[derive(Serialize)]
struct Own {
    strength: f64,
    /// The time that the data are noised to.
    t: f64,
}

/// Edits data.
///
/// # Errors
/// A command line, model or file that cannot be used; a sample that did not reach the end.
pub(crate) fn run(flags: &EditFlags, common: &Common) -> Result<(), Box<dyn Error>> {
    let sample = &flags.sample;
    sample.no_start("edit")?;
    if sample.num.is_some() {
        return Err(
            Usage("found --num with edit, expected none: the data say how many".into()).into()
        );
    }
    let plan = sample.plan()?;
    let session = Session::open("edit", common)?;
    let source = Source::read(&flags.data)?;
    let mut model = Described::open(&sample.model, Some(&source.sample_shape()), &session)?;
    model.guide(sample.guidance)?;
    let t = flags.to_noise(&mut model)?;
    let grid = plan.grid(&mut model)?;
    if (model.interval().1 - t).abs() > 0.0 {
        let expected = "uniform, quadratic, log-snr or karras: --strength says where steps begin";
        let grid = sample.grid.as_deref().unwrap_or("uniform");
        return Err(Usage(format!("found --grid {grid}, expected {expected}")).into());
    }
    let x = source.states(model.description.levels)?;
    Format::of(&sample.out)?.check(x.shape())?;
    prepare(&sample.out)?;

    let progress = Progress::new(&session, "editing:", x.len_of(Axis(0)));
    let tell = |done| progress.at(done);
    let begun = session.seconds();
    let drawn = model.run(&session, BATCH, &tell).edit(&x.view(), plan.sampler(&grid))?;
    let seconds = session.seconds() - begun;
    progress.finish();
    let own = Own { strength: flags.strength, t };
    sample.deliver(&session, (&plan, &grid, &model), drawn, (seconds, &own))
}

impl EditFlags {
    /// Ends the flow at the time that the data are noised to.
    fn to_noise(&self, model: &mut Described) -> Result<f64, Usage> {
        let (t_min, t_max) = model.interval();
        let t = self.strength * t_max;
        if t <= t_min {
            let strength = self.strength;
            return Err(Usage(format!(
                "found --strength {strength}, expected one above {}: no noise is below t = {t_min}",
                t_min / t_max
            )));
        }
        model.set_interval(t_min, t);
        Ok(t)
    }
}
