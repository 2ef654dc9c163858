//! A network and what it means: by its own description, or by a scheduler's file and flags.

use std::error::Error;
use std::path::Path;

use pipeline::cli::Usage;
use pipeline::models::unet::config::TimeEmbeddingType;
use pipeline::models::{Architecture, Batch, Description, Forward, Label, Model};
use pipeline::network::{NetworkRun, sizes};
use pipeline::parts::Fingerprint;
use sde_core::{Prediction, Process};

use crate::flags::{MeaningFlags, ModelFlags};
use crate::process::{default_t_min, forward};
use crate::scheduler::Scheduler;
use crate::session::Session;

/// A network that is a score.
#[derive(Debug)]
pub(crate) struct Described {
    pub(crate) model: Model,
    pub(crate) description: Description,
    class: Option<i64>,
    guidance: Option<f64>,
    t_min: f64,
    t_max: f64,
}

impl Described {
    /// Reads a model; `shape` is that of the samples at hand, for models that do not know it.
    ///
    /// # Errors
    /// A model that cannot be read, does not say what it means, or does not suit the flags.
    pub(crate) fn open(
        flags: &ModelFlags,
        shape: Option<&[usize]>,
        session: &Session<'_>,
    ) -> Result<Self, Box<dyn Error>> {
        let model = session.model(&flags.model)?;
        let description = describe(&model, &flags.model, &flags.meaning, shape, session)?;
        let end = description.process.end();
        let t_min = flags.t_min.unwrap_or(description.t_min);
        let t_max = flags.t_max.unwrap_or(end);
        if !(t_min < t_max && t_max <= end) {
            let found = format!("found --t-min {t_min} and --t-max {t_max}");
            return Err(Usage(format!("{found}, expected 0 ≤ t_min < t_max ≤ {end}")).into());
        }
        description.check_start(t_min)?;
        let class = class(&model, flags.class)?;
        Ok(Self { model, description, class, guidance: None, t_min, t_max })
    }

    /// The runs that this network is for.
    pub(crate) fn run<'a>(
        &'a self,
        session: &Session<'_>,
        batch: usize,
        on_progress: &'a dyn Fn(f64),
    ) -> NetworkRun<'a> {
        NetworkRun {
            network: &*self.model.network,
            description: &self.description,
            class: self.class,
            guidance: self.guidance,
            device: session.device,
            seed: session.common.seed(),
            batch: session.common.batch_or(batch),
            t_min: self.t_min,
            t_max: self.t_max,
            on_progress,
        }
    }

    /// The interval of the flow, `t_min` and `t_max`.
    pub(crate) fn interval(&self) -> (f64, f64) {
        (self.t_min, self.t_max)
    }

    /// Classifier-free guidance of this weight, where there is one; a weight of 1 is the class alone.
    ///
    /// # Errors
    /// A model without classes, or the class that stands for none.
    pub(crate) fn guide(&mut self, weight: Option<f64>) -> Result<(), Usage> {
        let Some(weight) = weight else { return Ok(()) };
        let Some(n) = self.model.network.classes() else {
            let text =
                format!("found --guidance {weight}, expected none: the model has no classes");
            return Err(Usage(text));
        };
        if let Some(k) = self.class.filter(|&k| k >= n - 1) {
            return Err(Usage(format!(
                "found --class {k} with --guidance, expected a class before {k}, which stands for no class"
            )));
        }
        self.guidance = Some(weight).filter(|w| (w - 1.0).abs() > 0.0);
        Ok(())
    }

    /// A number that tells this network and its meaning, class and guidance from others.
    ///
    /// # Errors
    /// Weights that cannot be brought to the host.
    pub(crate) fn fingerprint(&self) -> Result<Fingerprint, Box<dyn Error>> {
        let told = format!("{} {:?} {:?}", self.description.to_toml()?, self.class, self.guidance);
        let mut all = Fingerprint::default().and(told.as_bytes());
        for (name, weights) in self.model.parameters.iter() {
            all = all
                .and(name.as_bytes())
                .and_numbers(&Batch::new(&weights.f_flatten(0, -1)?)?.to_host()?);
        }
        Ok(all)
    }

    /// σ/α at `t_min`.
    pub(crate) fn noise_to_signal(&self) -> f64 {
        let k = self.description.process.coefficients(self.t_min);
        k.sigma / k.alpha
    }

    /// The interval of a grid of times that the user gave.
    pub(crate) fn set_interval(&mut self, t_min: f64, t_max: f64) {
        (self.t_min, self.t_max) = (t_min, t_max);
    }
}

/// The class, when the network has classes.
fn class(model: &Model, class: Option<u64>) -> Result<Option<i64>, Usage> {
    match (model.network.classes(), class) {
        (None, None) => Ok(None),
        (None, Some(k)) => {
            Err(Usage(format!("found --class {k}, expected none: the model has no classes")))
        }
        (Some(n), None) => {
            Err(Usage(format!("--class is missing: the model has the classes 0 to {}", n - 1)))
        }
        (Some(n), Some(k)) => match i64::try_from(k) {
            Ok(k) if k < n => Ok(Some(k)),
            _ => Err(Usage(format!("found --class {k}, expected a class from 0 to {}", n - 1))),
        },
    }
}

/// What a model means; what was put together is said on stderr, in the words of an `sde.toml`.
///
/// # Errors
/// What nobody says, or what contradicts itself.
pub(crate) fn describe(
    model: &Model,
    path: &Path,
    flags: &MeaningFlags,
    shape: Option<&[usize]>,
    session: &Session<'_>,
) -> Result<Description, Box<dyn Error>> {
    let known = model.description.as_ref();
    if let Some(known) = known.filter(|_| !flags.given()) {
        return Ok(known.clone());
    }
    let scheduler = if known.is_none() { Scheduler::beside(path)? } else { None };
    let missing = |flag: &str| missing(flag, path);
    let process = forward(flags, scheduler.as_ref(), known.map(|d| &d.process))?;
    let process = process.ok_or_else(|| missing("process"))?;
    let prediction = flags.prediction()?.or(known.map(|d| d.prediction));
    let prediction = prediction.or(scheduler.as_ref().map(|s| s.prediction));
    let label = flags.label().or(known.map(|d| d.label)).or_else(|| usual_label(&process, model));
    let t_min = known.filter(|_| flags.process.is_none()).map(|d| d.t_min);
    let description = Description {
        prediction: prediction.ok_or_else(|| missing("prediction"))?,
        label: label.ok_or_else(|| missing("label"))?,
        shape: known
            .map(|d| d.shape.clone())
            .map_or_else(|| sample_shape(model, path, shape), Ok)?,
        t_min: t_min.unwrap_or_else(|| default_t_min(&process)),
        classes: known.and_then(|d| d.classes),
        levels: known.and_then(|d| d.levels),
        process,
    };
    description.check()?;
    let source = scheduler.map_or_else(String::new, |s| format!("{} and ", s.path.display()));
    let text = description.to_toml()?;
    session.say(&format!("the model is taken to mean, by {source}flags:\n{}", text.trim()));
    Ok(description)
}

fn missing(flag: &str, path: &Path) -> Usage {
    let expected = "sde.toml and no DDPM scheduler's file that says it";
    Usage(format!("--{flag} is missing: {} has no {expected}", path.display()))
}

/// The label that networks of a kind are usually told.
fn usual_label(process: &Forward, model: &Model) -> Option<Label> {
    let fourier = matches!(
        &model.architecture,
        Some(Architecture::UNet2DModel(unet)) if unet.time_embedding_type == TimeEmbeddingType::Fourier
    );
    match process {
        Forward::Chain(_) => Some(Label::Index),
        Forward::Continuous(Process::VarianceExploding(_)) if fourier => Some(Label::Sigma),
        Forward::Continuous(_) => None,
    }
}

/// `[C, H, W]` by the network's configuration, or that of the samples at hand.
fn sample_shape(model: &Model, path: &Path, given: Option<&[usize]>) -> Result<Vec<i64>, String> {
    match (model.sample_shape(), given) {
        (Some(shape), _) => Ok(shape),
        (None, Some(given)) => Ok(sizes(given)),
        (None, None) => Err(format!(
            "config.json of {} has no sample_size, expected one, or the noise of --noise to see the shape from",
            path.display()
        )),
    }
}

impl MeaningFlags {
    /// The constants that were given, by their flags.
    pub(crate) fn constants(&self) -> Vec<(&'static str, f64)> {
        let given = [
            ("beta-min", self.beta_min),
            ("beta-max", self.beta_max),
            ("sigma-min", self.sigma_min),
            ("sigma-max", self.sigma_max),
            ("cosine-s", self.cosine_s),
            ("train-steps", self.train_steps.map(|n| n as f64)),
        ];
        given.into_iter().filter_map(|(flag, value)| Some((flag, value?))).collect()
    }

    /// Whether any flag is given.
    pub(crate) fn given(&self) -> bool {
        let names = [&self.process, &self.prediction, &self.label];
        names.iter().any(|name| name.is_some())
            || !self.constants().is_empty()
            || self.sigma_data.is_some()
    }

    fn prediction(&self) -> Result<Option<Prediction>, Usage> {
        let prediction = match self.prediction.as_deref() {
            Some("edm") => Prediction::Edm { sigma_data: self.sigma_data.unwrap_or(0.5) },
            _ if self.sigma_data.is_some() => {
                return Err(Usage("--sigma-data needs --prediction edm beside it".into()));
            }
            Some("epsilon") => Prediction::Epsilon,
            Some("x0") => Prediction::X0,
            Some("score") => Prediction::Score,
            Some("v") => Prediction::V,
            Some("velocity") => Prediction::Velocity,
            _ => return Ok(None),
        };
        Ok(Some(prediction))
    }

    fn label(&self) -> Option<Label> {
        match self.label.as_deref()? {
            "index" => Some(Label::Index),
            "999t" => Some(Label::Scaled),
            "t" => Some(Label::Time),
            "sigma" => Some(Label::Sigma),
            "c-noise" => Some(Label::CNoise),
            _ => None,
        }
    }
}
