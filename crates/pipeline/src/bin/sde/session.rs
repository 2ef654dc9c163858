//! One run of a command: its device, what it says on stderr and what it reports on stdout.

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use pipeline::cli::{one_line, print};
use pipeline::models::Model;
use pipeline::models::parameters::Place;
use pipeline::models::tch::{Device, Kind};
use pipeline::models::torch_ext::runtime;
use serde::Serialize;

use crate::flags::Common;
use crate::speed;

/// The device and the clock of a run.
#[derive(Debug)]
pub(crate) struct Session<'a> {
    pub(crate) common: &'a Common,
    pub(crate) device: Device,
    started: Instant,
    pub(crate) command: &'static str,
}

/// What every JSON object begins with.
#[derive(Serialize)]
struct Report<'a, T> {
    schema: u32,
    command: &'a str,
    version: &'a str,
    device: String,
    dtype: &'a str,
    threads: usize,
    seconds: f64,
    #[serde(flatten)]
    body: &'a T,
}

impl<'a> Session<'a> {
    /// Sets threads and strict arithmetic, and finds the device.
    ///
    /// # Errors
    /// Another libtorch than the program was built for; a device that is not there.
    pub(crate) fn open(command: &'static str, common: &'a Common) -> Result<Self, Box<dyn Error>> {
        let started = Instant::now();
        if let Some(threads) = common.threads {
            runtime::set_threads(usize::try_from(threads)?);
        }
        runtime::check_version()?;
        runtime::allow_tf32(false)?;
        let device = runtime::device(&common.device)?;
        Ok(Self { common, device, started, command })
    }

    /// Reads a model, and places it as flags say.
    ///
    /// # Errors
    /// A model that cannot be read, or not be placed so.
    pub(crate) fn model(&self, path: &Path) -> Result<Model, Box<dyn Error>> {
        let model = Model::open(path, self.device)?;
        let place = speed::place(&model, self.common, self.device, self.command);
        let as_it_is = Place { device: self.device, ..Place::FILE };
        Ok(if place == as_it_is { model } else { model.placed(place)? })
    }

    /// Reads a model in f64.
    ///
    /// # Errors
    /// A model that cannot be read, or a TorchScript network, which keeps its arithmetic.
    pub(crate) fn model_in_double(&self, path: &Path) -> Result<Model, Box<dyn Error>> {
        let place = Place { kind: Kind::Double, device: self.device, ..Place::FILE };
        Ok(Model::open(path, self.device)?.placed(place)?)
    }

    /// Waits until a CUDA device has done all that it was given.
    ///
    /// # Errors
    /// None that is told here: what failed on the device shows at the next use of its results.
    pub(crate) fn wait(&self) -> Result<(), Box<dyn Error>> {
        if let Device::Cuda(n) = self.device {
            pipeline::models::tch::Cuda::synchronize(i64::try_from(n)?);
        }
        Ok(())
    }

    /// Seconds since the start.
    pub(crate) fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    /// A line on stderr, unless the user wants none.
    pub(crate) fn say(&self, text: &str) {
        if !self.common.quiet {
            eprintln!("{text}");
        }
    }

    /// The JSON object of the run, on one line.
    ///
    /// # Errors
    /// None for what commands report.
    pub(crate) fn json<T: Serialize>(&self, body: &T) -> Result<String, Box<dyn Error>> {
        let report = Report {
            schema: 1,
            command: self.command,
            version: env!("CARGO_PKG_VERSION"),
            device: device_name(self.device),
            dtype: &self.common.dtype,
            threads: runtime::threads(),
            seconds: self.seconds(),
            body,
        };
        Ok(serde_json::to_string(&report)? + "\n")
    }

    /// Prints the JSON object where it was asked for, and `text` otherwise.
    ///
    /// # Errors
    /// A stdout that cannot be written to.
    pub(crate) fn report<T: Serialize>(&self, body: &T, text: &str) -> Result<(), Box<dyn Error>> {
        let json = if self.common.json { Some(self.json(body)?) } else { None };
        Ok(print(json.as_deref().unwrap_or(text))?)
    }
}

/// The name of a device as users write it.
pub(crate) fn device_name(device: Device) -> String {
    match device {
        Device::Cuda(n) => format!("cuda:{n}"),
        Device::Cpu => "cpu".into(),
        other => one_line(&format!("{other:?}")),
    }
}
