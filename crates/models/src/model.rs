//! A network with its weights and what they mean, in files that describe themselves.
//!
//! A directory holds
//!
//! | file | content |
//! |---|---|
//! | `config.json` | the network, as diffusers has it |
//! | `diffusion_pytorch_model.safetensors` | its weights, and in its metadata copies of the two texts |
//! | `sde.toml` | process, prediction, label, shape: a [`Description`] |
//!
//! so Python opens it, and the safetensors file alone is a model too. A directory of diffusers has no `sde.toml`; such a
//! network can be evaluated, and is a score once a description is given. Its weights may be in several files with an index,
//! or in half precision alone. A TorchScript file `net.ts` with an `sde.toml` beside it is a model too.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tch::{Device, Tensor};
use torch_ext::Weights;
use torch_ext::weights::{write_weights, write_whole};

use crate::architecture::Architecture;
use crate::description::Description;
use crate::error::{Error, Result};
use crate::names::by_current;
use crate::network::Network;
use crate::parameters::{Parameters, Place};
use crate::report::Mismatch;
use crate::script::Script;

/// Names of the files.
const CONFIG: &str = "config.json";
const WEIGHTS: &str = "diffusion_pytorch_model.safetensors";
/// Where else they may be, the first that is there.
const OTHER_WEIGHTS: [&str; 4] = [
    "diffusion_pytorch_model.safetensors.index.json",
    "diffusion_pytorch_model.fp16.safetensors",
    "diffusion_pytorch_model.fp16.safetensors.index.json",
    "diffusion_pytorch_model.bf16.safetensors",
];
/// Weights that only executing them can read.
const PICKLED: &str = "diffusion_pytorch_model.bin";
const DESCRIPTION: &str = "sde.toml";
/// A network of the user's own.
const SCRIPT: &str = "net.ts";

/// A network, its weights and their meaning.
#[derive(Debug)]
pub struct Model {
    /// The network, connected to `parameters`.
    pub network: Box<dyn Network>,
    /// How it is built; `None` for a TorchScript file.
    pub architecture: Option<Architecture>,
    /// Its weights.
    pub parameters: Parameters,
    /// What they mean; `None` for a directory that does not say.
    pub description: Option<Description>,
}

impl Model {
    /// Connects a network to its weights.
    ///
    /// # Errors
    /// A weight that is not there.
    pub fn new(
        architecture: impl Into<Architecture>,
        parameters: Parameters,
        description: Option<Description>,
    ) -> Result<Self> {
        let architecture = architecture.into();
        let network = parameters.connect(|b| architecture.build(b))?;
        Ok(Self { network, architecture: Some(architecture), parameters, description })
    }

    /// A network before training; equal seeds give equal weights.
    ///
    /// # Errors
    /// Entries of the configuration that cannot be built together, or no memory.
    pub fn fresh(
        architecture: impl Into<Architecture>,
        description: Description,
        seed: u64,
    ) -> Result<Self> {
        let architecture = architecture.into();
        let parameters = Parameters::fresh(&architecture.layout()?, seed, Device::Cpu)?;
        Self::new(architecture, parameters, Some(description))
    }

    /// Reads a model: a directory, or a safetensors file that carries its description.
    ///
    /// # Errors
    /// What is not there, cannot be read or does not fit together; tensors are compared both ways before any is read.
    pub fn open(path: impl AsRef<Path>, device: Device) -> Result<Self> {
        let path = path.as_ref();
        if let Some(script) = scripted(path) {
            return Self::scripted(&script, device);
        }
        let (config, weights, description) =
            if path.is_dir() { directory(path)? } else { file(path)? };
        let parameters = load(&weights, &config, device)?;
        Self::new(config, parameters, description)
    }

    /// Reads a TorchScript file and the description beside it.
    fn scripted(path: &Path, device: Device) -> Result<Self> {
        let described = path.with_file_name(DESCRIPTION);
        if !described.exists() {
            let what =
                format!("found no {DESCRIPTION} beside it, expected one that says what it means");
            return Err(Error::NoModel { path: path.into(), what });
        }
        let description = Description::read(&described)?;
        let script = Script::open(path, &description, device)?;
        let parameters = script.parameters()?;
        let description = Some(description);
        Ok(Self { network: Box::new(script), architecture: None, parameters, description })
    }

    /// The same network in another arithmetic, layout or place, for evaluation.
    ///
    /// # Errors
    /// A TorchScript network, which keeps the arithmetic and the layout that it was saved in; no memory.
    pub fn placed(&self, place: Place) -> Result<Self> {
        let Some(architecture) = self.architecture.clone() else {
            let layout = if place.channels_last { "channels last" } else { "channels first" };
            return Err(Error::Config {
                key: "the arithmetic and layout".into(),
                found: format!("{:?}, {layout}", place.kind),
                expected: "those in which the TorchScript network was saved".into(),
            });
        };
        let parameters = self.parameters.placed(&architecture.layout()?, place)?;
        Self::new(architecture, parameters, self.description.clone())
    }

    /// Channels (or numbers of a vector) of a sample and of the output; of a TorchScript file those of the sample.
    pub fn channels(&self) -> (i64, i64) {
        let known = self.architecture.as_ref().map(Architecture::channels);
        let shape = self.description.as_ref().and_then(|d| d.shape.first().copied());
        known.unwrap_or((shape.unwrap_or(0), shape.unwrap_or(0)))
    }

    /// The shape of a sample, where the files say it.
    pub fn sample_shape(&self) -> Option<Vec<i64>> {
        let described = self.description.as_ref().map(|d| d.shape.clone());
        described.or_else(|| self.architecture.as_ref()?.sample_shape())
    }

    /// The class name of the network.
    pub fn name(&self) -> &'static str {
        self.architecture.as_ref().map_or("TorchScript", Architecture::name)
    }

    /// Writes the three files into a directory, which is made if need be, each whole or not at all; the weights last.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn save(&self, folder: impl AsRef<Path>) -> Result<()> {
        let Some(architecture) = &self.architecture else {
            let what = "a TorchScript network is saved where it was made".into();
            return Err(Error::NoModel { path: folder.as_ref().into(), what });
        };
        save(folder.as_ref(), architecture, self.description.as_ref(), &self.parameters)
    }
}

/// Writes a model whose weights are `parameters`, those of an average for one.
///
/// # Errors
/// As [`Model::save`].
pub fn save(
    folder: &Path,
    config: &Architecture,
    description: Option<&Description>,
    parameters: &Parameters,
) -> Result<()> {
    std::fs::create_dir_all(folder)
        .map_err(|source| Error::File { path: folder.into(), source })?;
    let mut metadata: BTreeMap<String, String> = [("format".into(), "pt".into())].into();
    let mut write = |name: &str, text: String| {
        write_whole(folder.join(name), text.as_bytes())?;
        metadata.insert(name.into(), text);
        Ok::<_, Error>(())
    };
    write(CONFIG, config.to_json()?)?;
    if let Some(description) = description {
        write(DESCRIPTION, description.to_toml()?)?;
    }
    Ok(write_weights(folder.join(WEIGHTS), parameters.iter(), &metadata)?)
}

/// The TorchScript file that a path names.
fn scripted(path: &Path) -> Option<PathBuf> {
    let inside = path.join(SCRIPT);
    if inside.is_file() {
        return Some(inside);
    }
    let ending = path.extension().is_some_and(|e| e == "ts" || e == "pt");
    (ending && !path.is_dir()).then(|| path.into())
}

type Parts = (Architecture, Weights, Option<Description>);

fn directory(path: &Path) -> Result<Parts> {
    let inner = path.join("unet"); // a pipeline of diffusers
    let folder: PathBuf =
        if !path.join(CONFIG).exists() && inner.is_dir() { inner } else { path.into() };
    let is_no_model = |what: String| Error::NoModel { path: folder.clone(), what };
    let names = [WEIGHTS].into_iter().chain(OTHER_WEIGHTS);
    let weights = names.map(|name| folder.join(name)).find(|file| file.exists());
    if !folder.join(CONFIG).exists() {
        let what = format!("found no {CONFIG} in it, expected {CONFIG} and {WEIGHTS}");
        return Err(is_no_model(what));
    }
    let weights = weights.ok_or_else(|| {
        let pickled = folder.join(PICKLED).exists();
        let found =
            if pickled { format!("found {PICKLED}, which is code, and") } else { "found".into() };
        let what = format!("{found} no {WEIGHTS} in it, expected {CONFIG} and {WEIGHTS}");
        is_no_model(if pickled { what + ": tools/convert/pickled.py makes one" } else { what })
    })?;
    let config = Architecture::read(&folder.join(CONFIG))?;
    let description = [&folder, path].map(|place| place.join(DESCRIPTION));
    let description = description.iter().find(|file| file.exists());
    let description = description.map(|file| Description::read(file)).transpose()?;
    Ok((config, Weights::open(weights)?, description))
}

fn file(path: &Path) -> Result<Parts> {
    let weights = Weights::open(path)?;
    let Some(config) = weights.metadata(CONFIG) else {
        let what = format!(
            "its metadata have no {CONFIG}, expected a model's directory or its {WEIGHTS} as `sde train` writes it"
        );
        return Err(Error::NoModel { path: path.into(), what });
    };
    let config = Architecture::parse(config).map_err(|e| e.in_file(path))?;
    let description = weights.metadata(DESCRIPTION).map(Description::parse).transpose();
    let description = description.map_err(|e| e.in_file(path))?;
    Ok((config, weights, description))
}

/// The weights of a network in f32, after comparing names and shapes both ways.
fn load(weights: &Weights, config: &Architecture, device: Device) -> Result<Parameters> {
    let layout = config.layout()?;
    let shapes = weights.shapes();
    let names = by_current(shapes.keys().cloned());
    let found = names.iter().map(|(name, stored)| (name.clone(), shapes[stored].clone()));
    if let Some(mismatch) = Mismatch::between(&layout, &found.collect()) {
        return Err(Error::Mismatch { path: weights.path().into(), mismatch });
    }
    let read = |name: String| {
        let stored = names.get(&name).unwrap_or(&name);
        let tensor = weights.floats(stored, device)?;
        Ok::<(String, Tensor), Error>((name, tensor))
    };
    let tensors = layout.iter().map(|entry| read(entry.name.clone())).collect::<Result<_>>()?;
    Ok(Parameters::from_map(tensors, &layout))
}
