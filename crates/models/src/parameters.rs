//! The named tensors of a network: their list, fresh values, and values from a file.
//!
//! A network is built by asking a [`Builder`] for each of its tensors by name and shape. The same walk lists them
//! ([`Layout`]) and connects them, so the list cannot differ from the network.

use std::collections::{BTreeMap, BTreeSet};

use sde_core::{Noise, Purpose};
use tch::{Device, Kind, Tensor};

use crate::error::{Error, Result};
use crate::layers::channels_last;

/// How a tensor begins before training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// Uniform on ±bound: `bound = 1/√fan_in` for weights and biases (`PyTorch`'s rule).
    Uniform(f64),
    /// Normal with mean 0 and this standard deviation.
    Normal(f64),
    /// All the same.
    Constant(f64),
    /// The pattern of a transformer over n × n patches ([`dit`](crate::dit)).
    Position(i64),
}

/// A tensor that a network has.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Its key in a checkpoint.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its value before training.
    pub init: Init,
    /// Whether training leaves it as it is.
    pub frozen: bool,
    /// Whether it stays in f32 where the network is in half precision: of the embedding of time, whose angles are large.
    pub precise: bool,
}

/// All tensors of a network, in the order in which it is built.
pub type Layout = Vec<Entry>;

/// Hands a network its tensors.
pub struct Builder<'a> {
    fetch: &'a mut dyn FnMut(Entry) -> Result<Tensor>,
    place: Place,
    precise: bool,
}

/// Where and how the tensors of a network are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    /// The arithmetic.
    pub kind: Kind,
    /// The device.
    pub device: Device,
    /// Whether images lie pixel by pixel in memory, the channels of a pixel together.
    pub channels_last: bool,
    /// Whether convolutions keep their weights in the layout of oneDNN besides.
    pub packed: bool,
}

impl Place {
    /// f32 on the CPU, as a file has it.
    pub const FILE: Self =
        Self { kind: Kind::Float, device: Device::Cpu, channels_last: false, packed: false };

    /// The kind of what goes in and comes out, and of the embedding of time: f32, or f64 where all is in f64.
    pub fn precise(self) -> Kind {
        if self.kind == Kind::Double { Kind::Double } else { Kind::Float }
    }
}

impl std::fmt::Debug for Builder<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Builder")
    }
}

impl<'a> Builder<'a> {
    /// A builder that gets tensors from `fetch`; they are in this place.
    pub fn new(fetch: &'a mut dyn FnMut(Entry) -> Result<Tensor>, place: Place) -> Self {
        Self { fetch, place, precise: false }
    }

    /// Where the tensors are, for constants beside them.
    pub fn place(&self) -> Place {
        self.place
    }

    /// Builds a part whose tensors stay in f32 where the network is in half precision.
    ///
    /// # Errors
    /// Those of `build`.
    pub fn precisely<N>(&mut self, build: impl FnOnce(&mut Self) -> Result<N>) -> Result<N> {
        let before = std::mem::replace(&mut self.precise, true);
        let built = build(self);
        self.precise = before;
        built
    }

    /// The tensor of this name.
    ///
    /// # Errors
    /// Where it comes from has none.
    pub fn tensor(&mut self, name: String, shape: &[i64], init: Init) -> Result<Tensor> {
        self.entry(name, shape, init, false)
    }

    /// One that training leaves as it is.
    ///
    /// # Errors
    /// As [`tensor`](Self::tensor).
    pub fn frozen(&mut self, name: String, shape: &[i64], init: Init) -> Result<Tensor> {
        self.entry(name, shape, init, true)
    }

    fn entry(&mut self, name: String, shape: &[i64], init: Init, frozen: bool) -> Result<Tensor> {
        let shape = shape.iter().map(|&n| usize::try_from(n).unwrap_or(0)).collect();
        (self.fetch)(Entry { name, shape, init, frozen, precise: self.precise })
    }
}

/// Lists the tensors that `build` asks for.
///
/// # Errors
/// Those of `build`.
pub fn layout<N>(build: impl FnOnce(&mut Builder<'_>) -> Result<N>) -> Result<Layout> {
    let mut entries = Vec::new();
    let mut list = |entry| {
        entries.push(entry);
        Ok(Tensor::new())
    };
    build(&mut Builder::new(&mut list, Place::FILE))?;
    Ok(entries)
}

/// Tensors by name, which may be shared with a network.
#[derive(Debug)]
pub struct Parameters {
    tensors: BTreeMap<String, Tensor>,
    /// Names of those that training leaves as they are.
    frozen: BTreeSet<String>,
    place: Place,
}

impl Parameters {
    /// Values before training, the same for a seed on every machine: tensor i draws from the keyed noise of sample i.
    ///
    /// # Errors
    /// No memory.
    pub fn fresh(layout: &Layout, seed: u64, device: Device) -> Result<Self> {
        let noise = Noise::new(seed, Purpose::Weights);
        let draw = |(i, entry): (u64, &Entry)| {
            let count = entry.shape.iter().try_fold(1_usize, |n, &axis| n.checked_mul(axis));
            let mut values = Vec::new();
            let fits = count.is_some_and(|n| values.try_reserve_exact(n).is_ok());
            let Some(count) = count.filter(|_| fits) else {
                let what = format!("{} of the shape {:?}", entry.name, entry.shape);
                return Err(Error::Torch(torch_ext::Error::OutOfMemory(what)));
            };
            values.resize(count, 0.0);
            match entry.init {
                Init::Constant(c) => values.fill(c),
                Init::Position(n) => {
                    let d = entry.shape.last().copied().unwrap_or(0);
                    values = crate::dit::position(usize::try_from(n).unwrap_or(0), d);
                }
                Init::Uniform(bound) => {
                    noise.uniform(i, 0, &mut values);
                    values.iter_mut().for_each(|u| *u = bound * (2.0 * *u - 1.0));
                }
                Init::Normal(deviation) => {
                    noise.normal(i, 0, &mut values);
                    values.iter_mut().for_each(|x| *x *= deviation);
                }
            }
            let shape: Vec<i64> = entry.shape.iter().map(|&n| n as i64).collect();
            let tensor = Tensor::f_from_slice(&values)?.f_reshape(&shape)?;
            Ok((entry.name.clone(), tensor.f_to_kind(Kind::Float)?.f_to_device(device)?))
        };
        let tensors = (0..).zip(layout).map(draw).collect::<Result<_>>()?;
        Ok(Self::from_map(tensors, layout))
    }

    /// Values made elsewhere, for a network of this layout.
    pub fn from_map(tensors: BTreeMap<String, Tensor>, layout: &Layout) -> Self {
        let frozen = layout.iter().filter(|e| e.frozen).map(|e| e.name.clone()).collect();
        let device = tensors.values().find(|t| t.defined()).map_or(Device::Cpu, Tensor::device);
        Self { tensors, frozen, place: Place { device, ..Place::FILE } }
    }

    /// Connects a network to these tensors: they are shared with it, not copied.
    ///
    /// # Errors
    /// Those of `build`; a tensor that is not here.
    pub fn connect<N>(&self, build: impl FnOnce(&mut Builder<'_>) -> Result<N>) -> Result<N> {
        self.connect_in(self.place, build)
    }

    /// The same for a network whose images lie pixel by pixel in memory, the channels of a pixel together: convolutions are
    /// faster so, both ways.
    ///
    /// # Errors
    /// As above.
    pub fn connect_channels_last<N>(
        &self,
        build: impl FnOnce(&mut Builder<'_>) -> Result<N>,
    ) -> Result<N> {
        self.connect_in(Place { channels_last: true, ..self.place }, build)
    }

    fn connect_in<N>(
        &self,
        place: Place,
        build: impl FnOnce(&mut Builder<'_>) -> Result<N>,
    ) -> Result<N> {
        let mut share = |entry: Entry| match self.tensors.get(&entry.name) {
            Some(tensor) => Ok(tensor.shallow_clone()),
            None => Err(Error::Config {
                key: entry.name,
                found: "no tensor".into(),
                expected: format!("one of the shape {:?}", entry.shape),
            }),
        };
        build(&mut Builder::new(&mut share, place))
    }

    /// Names and tensors, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// The tensors, in the order of their names.
    pub fn tensors(&self) -> Vec<&Tensor> {
        self.tensors.values().collect()
    }

    /// Those that training moves, sorted by name.
    pub fn trainable(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.iter().filter(|(name, _)| !self.frozen.contains(*name))
    }

    /// How many numbers there are.
    pub fn count(&self) -> usize {
        self.tensors.values().map(Tensor::numel).sum()
    }

    /// A copy with memory of its own, outside any graph.
    ///
    /// # Errors
    /// No memory.
    pub fn copy(&self) -> Result<Self> {
        let copy = |(name, t): (&String, &Tensor)| {
            let mut copy = t.f_detach()?.f_empty_like()?;
            copy.f_copy_(&t.f_detach()?)?;
            Ok((name.clone(), copy))
        };
        let tensors = self.tensors.iter().map(copy).collect::<Result<_>>()?;
        Ok(Self { tensors, frozen: self.frozen.clone(), place: self.place })
    }

    /// A copy for evaluation in another arithmetic or layout; those that are to be precise stay in f32 in half precision.
    ///
    /// # Errors
    /// No memory.
    pub fn placed(&self, layout: &Layout, place: Place) -> Result<Self> {
        let precise: BTreeSet<_> = layout.iter().filter(|e| e.precise).map(|e| &e.name).collect();
        let moved = |(name, t): (&String, &Tensor)| {
            let kind = if precise.contains(name) { place.precise() } else { place.kind };
            let mut copy = Tensor::f_empty(t.size(), (kind, place.device))?;
            copy.f_copy_(&t.f_detach()?)?;
            let t = copy;
            let t = if place.channels_last && t.dim() == 4 { channels_last(&t)? } else { t };
            Ok((name.clone(), t))
        };
        let tensors = self.tensors.iter().map(moved).collect::<Result<_>>()?;
        Ok(Self { tensors, frozen: self.frozen.clone(), place })
    }

    /// Makes gradients of the tensors that training moves available.
    ///
    /// # Errors
    /// A tensor of a kind without gradients.
    pub fn track_gradients(&self) -> Result<()> {
        self.trainable().try_for_each(|(_, t)| Ok(t.f_set_requires_grad(true).map(drop)?))
    }
}
