//! The networks that are built here, by the class name in their `config.json`.
//!
//! | `_class_name` | network |
//! |---|---|
//! | `UNet2DModel` | the U-Nets of diffusers: DDPM, NCSN++ with its second image, ADM ([`unet`](crate::unet)) |
//! | `NCSNpp` | DDPM++ and NCSN++ of `score_sde` ([`song`](crate::song)) |
//! | `SongUNet`, `DhariwalUNet` | the networks of EDM ([`song`](crate::song)) |
//! | `DiT` | a transformer over patches ([`dit`](crate::dit)) |
//! | `Mlp` | a perceptron for vectors ([`mlp`](crate::mlp)) |

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::dit::{Dit, DitConfig};
use crate::error::{Error, Result};
use crate::mlp::{Mlp, MlpConfig};
use crate::network::Network;
use crate::parameters::{Builder, Layout, layout};
use crate::song::{DhariwalUNetConfig, NcsnPpConfig, Song, SongUNetConfig};
use crate::unet::{UNet, UNetConfig};

/// The configuration of a network, of whatever kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Map<String, Value>", into = "Map<String, Value>")]
#[expect(missing_docs, reason = "the names of the configurations' classes")]
pub enum Architecture {
    UNet2DModel(UNetConfig),
    NCSNpp(NcsnPpConfig),
    SongUNet(SongUNetConfig),
    DhariwalUNet(DhariwalUNetConfig),
    DiT(DitConfig),
    Mlp(MlpConfig),
}

/// All kinds.
const KINDS: [&str; 6] = ["UNet2DModel", "NCSNpp", "SongUNet", "DhariwalUNet", "DiT", "Mlp"];
/// The entry that names the kind.
const CLASS: &str = "_class_name";
/// What it is where it is absent, as in files of 2022.
const USUAL: &str = "UNet2DModel";

impl Architecture {
    /// Reads a `config.json`.
    ///
    /// # Errors
    /// A missing file, text that is no JSON object of a known kind, or a network that cannot be built.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| Error::File { path: path.into(), source })?;
        Self::parse(&text).map_err(|e| e.in_file(path))
    }

    /// Parses the text of a `config.json`.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn parse(text: &str) -> Result<Self> {
        Self::try_from(serde_json::from_str::<Map<_, _>>(text).map_err(|e| Error::config("", e))?)
    }

    /// The text of `config.json`.
    ///
    /// # Errors
    /// None for a configuration of finite numbers.
    pub fn to_json(&self) -> Result<String> {
        let entries = Map::from(self.clone());
        let mut text = serde_json::to_string_pretty(&entries).map_err(|e| Error::config("", e))?;
        text.push('\n');
        Ok(text)
    }

    /// The class name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::UNet2DModel(_) => "UNet2DModel",
            Self::NCSNpp(_) => "NCSNpp",
            Self::SongUNet(_) => "SongUNet",
            Self::DhariwalUNet(_) => "DhariwalUNet",
            Self::DiT(_) => "DiT",
            Self::Mlp(_) => "Mlp",
        }
    }

    /// Builds the network from the tensors of a builder.
    ///
    /// # Errors
    /// A tensor that the builder does not have.
    pub fn build(&self, b: &mut Builder<'_>) -> Result<Box<dyn Network>> {
        Ok(match self {
            Self::UNet2DModel(config) => Box::new(UNet::new(config, b)?),
            Self::NCSNpp(config) => Box::new(Song::new(config.plan()?, b)?),
            Self::SongUNet(config) => Box::new(Song::new(config.plan()?, b)?),
            Self::DhariwalUNet(config) => Box::new(Song::new(config.plan()?, b)?),
            Self::DiT(config) => Box::new(Dit::new(config, b)?),
            Self::Mlp(config) => Box::new(Mlp::new(config, b)?),
        })
    }

    /// The tensors that the network has.
    ///
    /// # Errors
    /// Entries that cannot be built together.
    pub fn layout(&self) -> Result<Layout> {
        layout(|b| self.build(b))
    }

    /// Channels (or numbers of a vector) of a sample and of the output.
    pub fn channels(&self) -> (i64, i64) {
        match self {
            Self::UNet2DModel(c) => (c.in_channels, c.out_channels),
            Self::NCSNpp(c) => (c.num_channels, c.num_channels),
            Self::SongUNet(c) => (c.in_channels, c.out_channels),
            Self::DhariwalUNet(c) => (c.in_channels, c.out_channels),
            Self::DiT(c) => (c.in_channels, c.out_channels()),
            Self::Mlp(c) => (c.dimension, c.dimension),
        }
    }

    /// The shape of a sample, where the configuration says it.
    pub fn sample_shape(&self) -> Option<Vec<i64>> {
        match self {
            Self::UNet2DModel(c) => Some([&[c.in_channels][..], &c.sample_size?.sides()].concat()),
            Self::NCSNpp(c) => Some(vec![c.num_channels, c.image_size, c.image_size]),
            Self::SongUNet(c) => Some(vec![c.in_channels, c.img_resolution, c.img_resolution]),
            Self::DhariwalUNet(c) => Some(vec![c.in_channels, c.img_resolution, c.img_resolution]),
            Self::DiT(c) => Some(vec![c.in_channels, c.input_size, c.input_size]),
            Self::Mlp(c) => Some(vec![c.dimension]),
        }
    }
}

impl From<UNetConfig> for Architecture {
    fn from(config: UNetConfig) -> Self {
        Self::UNet2DModel(config)
    }
}

impl From<MlpConfig> for Architecture {
    fn from(config: MlpConfig) -> Self {
        Self::Mlp(config)
    }
}

impl TryFrom<Map<String, Value>> for Architecture {
    type Error = Error;

    fn try_from(mut entries: Map<String, Value>) -> Result<Self> {
        let class = entries.remove(CLASS).unwrap_or_else(|| USUAL.into());
        let architecture = match class.as_str() {
            Some("UNet2DModel" | "UNetUnconditionalModel") => {
                Self::UNet2DModel(UNetConfig::from_entries(entries)?)
            }
            Some("NCSNpp") => Self::NCSNpp(entries_of(entries)?),
            Some("SongUNet") => Self::SongUNet(entries_of(entries)?),
            Some("DhariwalUNet") => Self::DhariwalUNet(entries_of(entries)?),
            Some("DiT") => Self::DiT(entries_of(entries)?),
            Some("Mlp") => Self::Mlp(entries_of(entries)?),
            _ => {
                let expected = format!("one of {KINDS:?}");
                return Err(Error::Config {
                    key: CLASS.into(),
                    found: class.to_string(),
                    expected,
                });
            }
        };
        architecture.layout()?; // what the entries together cannot build
        Ok(architecture)
    }
}

impl From<Architecture> for Map<String, Value> {
    fn from(architecture: Architecture) -> Self {
        let entries = match &architecture {
            Architecture::UNet2DModel(config) => serde_json::to_value(config),
            Architecture::NCSNpp(config) => serde_json::to_value(config),
            Architecture::SongUNet(config) => serde_json::to_value(config),
            Architecture::DhariwalUNet(config) => serde_json::to_value(config),
            Architecture::DiT(config) => serde_json::to_value(config),
            Architecture::Mlp(config) => serde_json::to_value(config),
        };
        let entries = entries.ok().and_then(|value| value.as_object().cloned()); // always: names and numbers
        let mut entries = entries.unwrap_or_default();
        entries.insert(CLASS.into(), architecture.name().into());
        entries
    }
}

/// The entries of one kind of network.
fn entries_of<C: serde::de::DeserializeOwned>(entries: Map<String, Value>) -> Result<C> {
    serde_json::from_value(Value::Object(entries)).map_err(|e| Error::config("", e))
}
