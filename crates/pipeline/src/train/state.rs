//! What a run carries from step to step, and its file: weights, their average, the optimiser's moments, the step.
//!
//! `state.safetensors` is replaced whole, by renaming; what is there is always one state. A run with the configuration
//! that the state was made with goes on from it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use models::tch::{Device, Kind, Tensor};
use models::torch_ext::adamw::AdamW;
use models::torch_ext::{Weights, write_weights};
use models::{Description, Ema, Parameters, UNet, UNetConfig};

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
    pub unet: UNet,
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
        let unet_config = config.unet(examples.shape())?;
        let file = config.out.join(FILE);
        let saved = file.exists().then(|| Saved::read(file, &unet_config)).transpose()?;
        let same = saved.as_ref().map_or(Ok(true), |saved| saved.is_of(config))?;
        let parameters = match &saved {
            Some(saved) => saved.parameters(KINDS[0])?,
            None => Parameters::fresh(&UNet::layout(&unet_config)?, config.seed, Device::Cpu)?,
        };
        parameters.track_gradients()?;
        let t = &config.training;
        let ema = match &saved {
            Some(saved) => Ema::resume(saved.parameters(KINDS[1])?, t.ema),
            None => Ema::new(&parameters, t.ema)?,
        };
        let mut optimiser = AdamW::new(&parameters.tensors(), t.betas, t.weight_decay)?;
        if let Some(saved) = &saved {
            let [first, second] = [KINDS[2], KINDS[3]].map(|kind| saved.tensors(kind));
            optimiser.restore(&first?, &second?, saved.step)?;
        }
        let unet = parameters.connect(|b| UNet::new(&unet_config, b))?;
        let (step, best) = saved.as_ref().map_or((0, None), |saved| (saved.step, saved.best));
        let best = best.filter(|_| same); // a bound under another configuration is no measure
        Ok(Self { step, parameters, unet, description: description.clone(), ema, optimiser, best })
    }

    /// The network of the averaged weights.
    ///
    /// # Errors
    /// None for weights that were built here.
    pub fn averaged(&self) -> Result<UNet> {
        Ok(self.ema.average().connect(|b| UNet::new(self.unet.config(), b))?)
    }

    /// Replaces the saved state.
    ///
    /// # Errors
    /// A file that cannot be written: the older one then stays.
    pub fn save(&self, config: &TrainConfig) -> Result<()> {
        std::fs::create_dir_all(&config.out)
            .map_err(|source| TrainError::File { path: config.out.clone(), source })?;
        let (first, second) = self.optimiser.moments();
        let names: Vec<&str> = self.parameters.iter().map(|(name, _)| name).collect();
        let lists = [
            self.parameters.tensors(),
            self.ema.average().tensors(),
            first.iter().collect(),
            second.iter().collect(),
        ];
        let mut named: Vec<(String, &Tensor)> = Vec::new();
        for (kind, list) in KINDS.iter().zip(lists) {
            named.extend(names.iter().zip(list).map(|(name, t)| (format!("{kind}.{name}"), t)));
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
    names: Vec<String>,
    step: u64,
    best: Option<Best>,
}

impl Saved {
    fn read(path: PathBuf, unet: &UNetConfig) -> Result<Self> {
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
        let mut layout = UNet::layout(unet)?;
        let mut names: Vec<String> = layout.iter().map(|entry| entry.name.clone()).collect();
        names.sort();
        let shapes = weights.shapes();
        layout = KINDS
            .iter()
            .flat_map(|kind| {
                layout.iter().cloned().map(move |mut entry| {
                    entry.name = format!("{kind}.{}", entry.name);
                    entry
                })
            })
            .collect();
        if let Some(mismatch) = models::report::Mismatch::between(&layout, &shapes) {
            return Err(models::Error::Mismatch { path, mismatch }.into());
        }
        Ok(Self { weights, names, step, best })
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
        let read = |name: &String| {
            let name = format!("{kind}.{name}");
            Ok(self.weights.tensor(&name, Some(Kind::Float), Device::Cpu)?)
        };
        self.names.iter().map(read).collect()
    }

    fn parameters(&self, kind: &str) -> Result<Parameters> {
        let named = self.names.iter().cloned().zip(self.tensors(kind)?);
        Ok(Parameters::from_map(named.collect()))
    }
}
