//! What a run carries from step to step, and its file: weights, their average, the optimiser's moments, the step.
//!
//! `state.safetensors` is replaced whole, by renaming; what is there is always one state. A run with the configuration
//! that the state was made with goes on from it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use models::parameters::{Entry, Layout};
use models::tch::{Device, Kind, Tensor};
use models::torch_ext::adamw::AdamW;
use models::torch_ext::{Weights, write_weights};
use models::{Architecture, Description, Ema, Network, Parameters};

use super::config::TrainConfig;
use super::error::{Result, TrainError};
use super::examples::Examples;

/// The best validation bound so far.
#[derive(Clone, Copy, Debug)]
pub struct Best {
    /// After which step.
    pub step: u64,
    /// Bits/dim.
    pub bound: f64,
}

/// A run between two steps.
#[derive(Debug)]
pub struct Run {
    /// Steps done.
    pub step: u64,
    /// The weights.
    pub parameters: Parameters,
    /// The network, connected to them.
    pub network: Box<dyn Network>,
    /// How it is built.
    pub architecture: Architecture,
    /// What the network is to say.
    pub description: Description,
    /// Their average.
    pub ema: Ema,
    /// The optimiser with its moments.
    pub optimiser: AdamW,
    /// The best validation bound so far.
    pub best: Option<Best>,
}

const FILE: &str = "state.safetensors";
/// Names of the four kinds of tensors.
const KINDS: [&str; 4] = ["weights", "average", "first", "second"];

impl Run {
    /// A new run, or the saved one of the folder.
    ///
    /// # Errors
    /// A folder with another run, a state that does not fit, or a network that is not built.
    pub fn start(
        config: &TrainConfig,
        description: &Description,
        examples: &Examples,
    ) -> Result<Self> {
        let architecture = config.architecture(examples.shape())?;
        let file = config.out.join(FILE);
        let saved = file.exists().then(|| Saved::read(file, &architecture)).transpose()?;
        let same = saved.as_ref().map_or(Ok(true), |saved| saved.is_of(config))?;
        let parameters = match &saved {
            Some(saved) => saved.parameters(KINDS[0])?,
            None => Parameters::fresh(&architecture.layout()?, config.seed, Device::Cpu)?,
        };
        parameters.track_gradients()?;
        let t = &config.training;
        let ema = match &saved {
            Some(saved) => Ema::resume(saved.parameters(KINDS[1])?, t.ema),
            None => Ema::new(&parameters, t.ema)?,
        };
        let trained: Vec<_> = parameters.trainable().map(|(_, t)| t).collect();
        let mut optimiser = AdamW::new(&trained, t.betas, t.weight_decay)?;
        if let Some(saved) = &saved {
            let [first, second] = [KINDS[2], KINDS[3]].map(|kind| saved.tensors(kind));
            optimiser.restore(&first?, &second?, saved.step)?;
        }
        let network = parameters.connect(|b| architecture.build(b))?;
        let (step, best) = saved.as_ref().map_or((0, None), |saved| (saved.step, saved.best));
        let best = best.filter(|_| same); // a bound under another configuration is no measure
        let description = description.clone();
        Ok(Self { step, parameters, network, architecture, description, ema, optimiser, best })
    }

    /// The network of the averaged weights.
    ///
    /// # Errors
    /// None for weights that were built here.
    pub fn averaged(&self) -> Result<Box<dyn Network>> {
        Ok(self.ema.average().connect(|b| self.architecture.build(b))?)
    }

    /// Replaces the saved state.
    ///
    /// # Errors
    /// A file that cannot be written: the older one then stays.
    pub fn save(&self, config: &TrainConfig) -> Result<()> {
        std::fs::create_dir_all(&config.out)
            .map_err(|source| TrainError::File { path: config.out.clone(), source })?;
        let (first, second) = self.optimiser.moments();
        let trained = || self.parameters.trainable().map(|(name, _)| name);
        let lists: [Vec<(&str, &Tensor)>; 4] = [
            self.parameters.iter().collect(),
            self.ema.average().iter().collect(),
            trained().zip(first).collect(),
            trained().zip(second).collect(),
        ];
        let mut named: Vec<(String, &Tensor)> = Vec::new();
        for (kind, list) in KINDS.iter().zip(lists) {
            named.extend(list.into_iter().map(|(name, t)| (format!("{kind}.{name}"), t)));
        }
        let mut metadata: BTreeMap<String, String> =
            [("step".into(), self.step.to_string()), ("config".into(), config.identity()?)].into();
        if let Some(best) = self.best {
            metadata.insert("best".into(), format!("{} {:?}", best.step, best.bound));
        }
        let tensors = named.iter().map(|(name, t)| (name.as_str(), *t));
        Ok(write_weights(config.out.join(FILE), tensors, &metadata)?)
    }
}

/// A state in its file.
struct Saved {
    weights: Weights,
    layout: Layout,
    step: u64,
    best: Option<Best>,
}

impl Saved {
    fn read(path: PathBuf, architecture: &Architecture) -> Result<Self> {
        let weights = Weights::open(&path)?;
        let step = weights.metadata("step").and_then(|text| text.parse().ok());
        let Some(step) = step else {
            let (key, found) = (path.display().to_string(), "no step in its metadata".to_owned());
            return Err(TrainError::Entry {
                key,
                found,
                expected: "a state of `sde train`".into(),
            });
        };
        let best = weights.metadata("best").and_then(|text| text.split_once(' '));
        let best = best.and_then(|(step, bound)| {
            Some(Best { step: step.parse().ok()?, bound: bound.parse().ok()? })
        });
        let mut layout = architecture.layout()?;
        layout.sort_by(|a, b| a.name.cmp(&b.name));
        let expected = KINDS.iter().flat_map(|kind| entries(&layout, kind)).collect();
        if let Some(mismatch) = models::report::Mismatch::between(&expected, &weights.shapes()) {
            return Err(models::Error::Mismatch { path, mismatch }.into());
        }
        Ok(Self { weights, layout, step, best })
    }

    /// Whether it was made with this configuration.
    fn is_of(&self, config: &TrainConfig) -> Result<bool> {
        let new = config.identity()?;
        let old = self.weights.metadata("config").unwrap_or_default();
        if old == new {
            return Ok(true);
        }
        if config.resume {
            return Ok(false);
        }
        let mut pairs =
            old.lines().map(Some).chain([None]).zip(new.lines().map(Some).chain([None]));
        let (there, here) = pairs.find(|(old, new)| old != new).unwrap_or_default();
        let what =
            format!("{} there, {} here", there.unwrap_or("nothing"), here.unwrap_or("nothing"));
        Err(TrainError::OtherRun { folder: config.out.clone(), what })
    }

    fn tensors(&self, kind: &str) -> Result<Vec<Tensor>> {
        let read =
            |entry: Entry| Ok(self.weights.tensor(&entry.name, Some(Kind::Float), Device::Cpu)?);
        entries(&self.layout, kind).map(read).collect()
    }

    fn parameters(&self, kind: &str) -> Result<Parameters> {
        let names = self.layout.iter().map(|entry| entry.name.clone());
        Ok(Parameters::from_map(names.zip(self.tensors(kind)?).collect(), &self.layout))
    }
}

/// The tensors of a kind under their names in the file; moments belong to those that move.
fn entries<'a>(layout: &'a Layout, kind: &'a str) -> impl Iterator<Item = Entry> + 'a {
    let moments = KINDS[2..].contains(&kind);
    let there = layout.iter().filter(move |entry| !(moments && entry.frozen));
    there.map(move |entry| Entry { name: format!("{kind}.{}", entry.name), ..entry.clone() })
}
