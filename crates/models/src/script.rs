//! A user's own network as a TorchScript file.
//!
//! ```text
//! net.ts   forward(x [B, …] f32, label [B] f32[, class [B] i64]) → [B, …]
//! sde.toml what it means, and `classes` where it takes a class
//! ```
//!
//! The file holds code, as every TorchScript file does: open those that you made.

use std::collections::BTreeMap;
use std::path::Path;

use tch::{CModule, Device, Tensor};

use crate::description::Description;
use crate::error::{Error, Result};
use crate::network::{Input, Network};
use crate::parameters::{Entry, Init, Parameters};

/// A network of a TorchScript file.
#[derive(Debug)]
pub struct Script {
    module: CModule,
    shape: Vec<i64>,
    classes: Option<i64>,
}

impl Script {
    /// Reads a file; the description says what it takes.
    ///
    /// # Errors
    /// A file that cannot be read or is no TorchScript.
    pub fn open(path: &Path, description: &Description, device: Device) -> Result<Self> {
        std::fs::File::open(path).map_err(|source| Error::File { path: path.into(), source })?;
        let mut module =
            CModule::load_on_device(path, device).map_err(|e| Error::from(e).in_file(path))?;
        module.f_set_eval().map_err(|e| Error::from(e).in_file(path))?;
        Ok(Self { module, shape: description.shape.clone(), classes: description.classes })
    }
}

impl Script {
    /// Its parameters, all of them frozen.
    pub(crate) fn parameters(&self) -> Result<Parameters> {
        let tensors: BTreeMap<_, _> = self.module.named_parameters()?.into_iter().collect();
        let frozen = |name: &String| Entry {
            name: name.clone(),
            shape: Vec::new(),
            init: Init::Constant(0.0),
            frozen: true,
            precise: false,
        };
        let layout = tensors.keys().map(frozen).collect();
        Ok(Parameters::from_map(tensors, &layout))
    }
}

impl Network for Script {
    fn forward(&self, input: Input<'_>) -> Result<Tensor> {
        input.check(self.kind())?;
        let found = input.x.size();
        if found[1..] != self.shape {
            let expected = format!("[B, …] of the sample {:?}", self.shape);
            return Err(Error::Shape { what: "the network's input", found, expected });
        }
        let mut arguments = vec![input.x.shallow_clone(), input.label_tensor()?];
        match self.classes {
            Some(rows) => arguments.push(input.table_rows(rows)?),
            None => input.no_classes()?,
        }
        Ok(self.module.forward_ts(&arguments)?)
    }

    fn classes(&self) -> Option<i64> {
        self.classes
    }
}
