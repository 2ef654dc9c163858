//! What a run carries from step to step, and its file: weights, their averages, the optimiser's moments, the step.
//!
//! Every random number is a function of the seed and the step, so a generator has no state, and the order of the data
//! none either: the step says both. A run with the configuration that a state was made with goes on from it.

use std::collections::BTreeMap;

use models::parameters::{Entry, Init, Layout};
use models::tch::{Device, Kind, Tensor};
use models::torch_ext::Weights;
use models::torch_ext::adamw::AdamW;
use models::{Architecture, Decay, Description, Ema, Network, Parameters};

use super::checkpoint::Store;
use super::config::{Averages, Optimiser, TrainConfig};
use super::error::{Result, TrainError};
use super::objective::KNOTS;

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
    /// The weights of the network.
    pub parameters: Parameters,
    /// v of the learned weight (M12), where there is one.
    pub learned: Option<Tensor>,
    /// The network, connected to its weights.
    pub network: Box<dyn Network>,
    /// How it is built.
    pub architecture: Architecture,
    /// What the network is to say.
    pub description: Description,
    /// Averages of the weights; the first one is looked at.
    pub averages: Vec<Ema>,
    /// The optimiser with its moments.
    pub optimiser: AdamW,
    /// The best validation bound so far.
    pub best: Option<Best>,
    states: Store,
    snapshots: Store,
}

/// Kinds of tensors in a state; averages have their number after them.
const WEIGHTS: &str = "weights";
const AVERAGE: &str = "average";
const FIRST: &str = "first";
const SECOND: &str = "second";
/// The name of v among the weights.
const LEARNED: &str = "loss.v";

impl Run {
    /// A new run, or the latest saved one of the folder; what is wrong with later ones is said to `note`.
    ///
    /// # Errors
    /// A folder with another run, a state that does not fit, or a network that is not built.
    pub fn start(
        config: &TrainConfig,
        description: &Description,
        note: &mut dyn FnMut(String),
    ) -> Result<Self> {
        let architecture = config.architecture(&description.shape)?;
        let mut layout = architecture.layout()?;
        layout.sort_by(|a, b| a.name.cmp(&b.name)); // as parameters are
        let states = Store::open(
            config.out.join("states"),
            Some(config.keep.states),
            config.keep.milestone_every,
        )?;
        let snapshots = Store::open(config.out.join("averages"), None, None)?;
        let saved = match states.latest(note)? {
            None => None,
            Some((step, weights)) => Some(Saved::new(step, weights, config, layout.clone())?),
        };
        let same = saved.as_ref().map_or(Ok(true), |saved| saved.is_of(config))?;
        let step = saved.as_ref().map_or(0, |saved| saved.step);
        states.forget_after(step)?;
        snapshots.forget_after(step)?;
        let (parameters, learned) = weights(config, &layout, saved.as_ref())?;
        let network = parameters.connect_channels_last(|b| architecture.build(b))?;
        let averages = averages(config, &parameters, saved.as_ref())?;
        let optimiser = optimiser(config, &parameters, learned.as_ref(), saved.as_ref())?;
        // a bound under another configuration is no measure
        let best = saved.as_ref().and_then(|saved| saved.best).filter(|_| same);
        let description = description.clone();
        Ok(Self {
            step,
            parameters,
            learned,
            network,
            architecture,
            description,
            averages,
            optimiser,
            best,
            states,
            snapshots,
        })
    }

    /// The network of the first average.
    ///
    /// # Errors
    /// None for weights that were built here.
    pub fn averaged(&self) -> Result<Box<dyn Network>> {
        let average = self.averages.first().map_or(&self.parameters, Ema::average);
        self.with(average)
    }

    /// The network of other weights.
    ///
    /// # Errors
    /// A weight that is not there.
    pub fn with(&self, parameters: &Parameters) -> Result<Box<dyn Network>> {
        Ok(parameters.connect_channels_last(|b| self.architecture.build(b))?)
    }

    /// Power averages that were saved on the way: `(step, tensors)`.
    ///
    /// # Errors
    /// A file that cannot be read, or is damaged.
    pub fn snapshots(&self) -> Result<Vec<(u64, Weights)>> {
        self.snapshots.all(self.step)
    }

    /// The name of a tensor of average i in a snapshot.
    pub fn name_in_snapshot(i: usize, name: &str) -> String {
        format!("{AVERAGE}{i}.{name}")
    }

    /// Saves the averages by themselves, where others are made of them in the end.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn save_averages(&self, config: &TrainConfig) -> Result<()> {
        if matches!(config.training.ema, Averages::Decay(_)) {
            return Ok(());
        }
        let averages = self.named_averages();
        let tensors = averages.iter().map(|(name, t)| (name.as_str(), *t));
        self.snapshots.write(self.step, tensors, &BTreeMap::new())
    }

    /// Saves the state.
    ///
    /// # Errors
    /// A file that cannot be written: what was saved before then stays.
    pub fn save(&self, config: &TrainConfig) -> Result<()> {
        let (first, second) = self.optimiser.moments();
        let trained = || self.parameters.trainable().map(|(name, _)| name).chain([LEARNED]);
        let learned = self.learned.iter().map(|v| (LEARNED, v));
        let mut named = self.named_averages();
        let lists: [(&str, Vec<(&str, &Tensor)>); 3] = [
            (WEIGHTS, self.parameters.iter().chain(learned).collect()),
            (FIRST, trained().zip(first).collect()),
            (SECOND, trained().zip(second).collect()),
        ];
        for (kind, list) in lists {
            named.extend(list.into_iter().map(|(name, t)| (format!("{kind}.{name}"), t)));
        }
        let mut metadata: BTreeMap<String, String> =
            [("step".into(), self.step.to_string()), ("config".into(), config.identity()?)].into();
        if let Some(best) = self.best {
            metadata.insert("best".into(), format!("{} {:?}", best.step, best.bound));
        }
        let tensors = named.iter().map(|(name, t)| (name.as_str(), *t));
        self.states.write(self.step, tensors, &metadata)
    }

    fn named_averages(&self) -> Vec<(String, &Tensor)> {
        let mut all = Vec::new();
        for (i, average) in self.averages.iter().enumerate() {
            let named = average.average().iter();
            all.extend(named.map(|(name, t)| (Self::name_in_snapshot(i, name), t)));
        }
        all
    }
}

/// All tensors that are trained, those of the network in the order of their names.
pub fn trained<'a>(parameters: &'a Parameters, learned: Option<&'a Tensor>) -> Vec<&'a Tensor> {
    parameters.trainable().map(|(_, t)| t).chain(learned).collect()
}

/// The weights of the network and of the loss, with gradients.
fn weights(
    config: &TrainConfig,
    layout: &Layout,
    saved: Option<&Saved>,
) -> Result<(Parameters, Option<Tensor>)> {
    let parameters = match saved {
        Some(saved) => saved.parameters(WEIGHTS)?,
        None => Parameters::fresh(layout, config.seed, Device::Cpu)?,
    };
    parameters.track_gradients()?;
    if !config.training.learned_weight {
        return Ok((parameters, None));
    }
    let v = match saved {
        Some(saved) => saved.tensor(&format!("{WEIGHTS}.{LEARNED}"))?,
        None => Tensor::f_zeros([KNOTS as i64], (Kind::Float, Device::Cpu))?,
    };
    Ok((parameters, Some(v.f_set_requires_grad(true)?)))
}

fn averages(
    config: &TrainConfig,
    parameters: &Parameters,
    saved: Option<&Saved>,
) -> Result<Vec<Ema>> {
    let decays = match &config.training.ema {
        Averages::Decay(delta) => vec![Decay::Exponential(*delta)],
        Averages::Power { power, .. } => {
            power.iter().map(|&width| Decay::of_width(width)).collect::<models::Result<_>>()?
        }
    };
    let average = |(i, decay)| match saved {
        Some(saved) => Ok(Ema::resume(saved.parameters(&format!("{AVERAGE}{i}"))?, decay)),
        None => Ok(Ema::new(parameters, decay)?),
    };
    decays.into_iter().enumerate().map(average).collect()
}

fn optimiser(
    config: &TrainConfig,
    parameters: &Parameters,
    learned: Option<&Tensor>,
    saved: Option<&Saved>,
) -> Result<AdamW> {
    let t = &config.training;
    let decay = if t.optimiser == Optimiser::Adamw { t.weight_decay } else { 0.0 };
    let mut optimiser = AdamW::new(&trained(parameters, learned), t.betas, decay)?;
    if let Some(saved) = saved {
        let [first, second] = [FIRST, SECOND].map(|kind| saved.moments(kind, learned.is_some()));
        optimiser.restore(&first?, &second?, saved.step)?;
    }
    Ok(optimiser)
}

/// A state in its file.
struct Saved {
    weights: Weights,
    /// Of the network, sorted by name.
    layout: Layout,
    step: u64,
    best: Option<Best>,
}

impl Saved {
    fn new(step: u64, weights: Weights, config: &TrainConfig, network: Layout) -> Result<Self> {
        let best = weights.metadata("best").and_then(|text| text.split_once(' '));
        let best = best.and_then(|(step, bound)| {
            Some(Best { step: step.parse().ok()?, bound: bound.parse().ok()? })
        });
        let expected = state_layout(config, &network);
        if let Some(mismatch) = models::report::Mismatch::between(&expected, &weights.shapes()) {
            return Err(models::Error::Mismatch { path: weights.path().into(), mismatch }.into());
        }
        Ok(Self { weights, layout: network, step, best })
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

    fn tensor(&self, name: &str) -> Result<Tensor> {
        Ok(self.weights.tensor(name, Some(Kind::Float), Device::Cpu)?)
    }

    fn moments(&self, kind: &str, learned: bool) -> Result<Vec<Tensor>> {
        let v = learned.then_some(LEARNED);
        let moving = self.layout.iter().filter(|entry| !entry.frozen);
        let names = moving.map(|entry| entry.name.as_str()).chain(v);
        names.map(|name| self.tensor(&format!("{kind}.{name}"))).collect()
    }

    fn parameters(&self, kind: &str) -> Result<Parameters> {
        let read = |e: &Entry| Ok((e.name.clone(), self.tensor(&format!("{kind}.{}", e.name))?));
        let named = self.layout.iter().map(read).collect::<Result<_>>()?;
        Ok(Parameters::from_map(named, &self.layout))
    }
}

/// The tensors of a state.
fn state_layout(config: &TrainConfig, network: &Layout) -> Layout {
    let averages = match config.training.ema {
        Averages::Decay(_) => 1,
        Averages::Power { .. } => 2,
    };
    let (name, init) = (LEARNED.into(), Init::Constant(0.0));
    let v = Entry { name, shape: vec![KNOTS], init, frozen: false, precise: false };
    let v = config.training.learned_weight.then_some(v);
    let named = |kind: &str, entries: Vec<&Entry>| -> Layout {
        let rename = |e: &&Entry| Entry { name: format!("{kind}.{}", e.name), ..(*e).clone() };
        entries.iter().map(rename).collect()
    };
    let mut all = named(WEIGHTS, network.iter().chain(&v).collect());
    for kind in [FIRST, SECOND] {
        let moving = network.iter().filter(|entry| !entry.frozen);
        all.extend(named(kind, moving.chain(&v).collect()));
    }
    for i in 0..averages {
        all.extend(named(&format!("{AVERAGE}{i}"), network.iter().collect()));
    }
    all
}
