//! `sde info`: libtorch, devices, and what a model is.

use std::error::Error;
use std::path::{Path, PathBuf};

use clap::Args;
use pipeline::models::parameters::Place;
use pipeline::models::torch_ext::runtime;
use pipeline::models::{Description, Model};
use serde::Serialize;

use crate::flags::{Common, MeaningFlags};
use crate::model::describe;
use crate::session::{Session, device_name};
use crate::speed;

/// Flags of `info`.
#[derive(Debug, Args)]
#[command(after_help = "Example: sde info --model runs/digits --json")]
pub(crate) struct InfoFlags {
    /// A model's directory, or its safetensors file as `sde train` writes it.
    #[arg(long, value_name = "DIR|FILE")]
    model: Option<PathBuf>,
    #[command(flatten)]
    meaning: MeaningFlags,
}

/// The JSON of `info`.
#[derive(Serialize)]
struct Info<'a> {
    libtorch: String,
    cuda: Cuda,
    speed: String,
    model: Option<About<'a>>,
}

#[derive(Serialize)]
struct Cuda {
    available: bool,
    devices: usize,
    message: String,
}

/// What a model is; null where it does not say.
#[derive(Serialize)]
struct About<'a> {
    path: &'a Path,
    class: &'a str,
    parameters: usize,
    in_channels: i64,
    out_channels: i64,
    classes: Option<i64>,
    shape: Option<Vec<i64>>,
    process: Option<serde_json::Value>,
    prediction: Option<serde_json::Value>,
    label: Option<serde_json::Value>,
    t_min: Option<f64>,
    levels: Option<u32>,
}

/// Shows what there is.
///
/// # Errors
/// A device that is not there, a model that cannot be read.
pub(crate) fn run(flags: &InfoFlags, common: &Common) -> Result<(), Box<dyn Error>> {
    let session = Session::open("info", common)?;
    let model = flags.model.as_ref().map(|path| session.model(path)).transpose()?;
    let place = match &model {
        Some(model) => speed::place(model, common, session.device, "sample"),
        None => Place { device: session.device, ..Place::FILE },
    };
    let found = runtime::cuda();
    let about = match (&model, &flags.model) {
        (Some(model), Some(path)) => Some(about(model, path, &flags.meaning, &session)?),
        _ => None,
    };
    let info = Info {
        libtorch: runtime::version(),
        cuda: Cuda { available: found.available, devices: found.devices, message: found.message },
        speed: speed::describe(place),
        model: about,
    };
    session.report(&info, &info.text(&session))
}

/// A network that does not say what it means is still one.
fn about<'a>(
    model: &'a Model,
    path: &'a Path,
    flags: &MeaningFlags,
    session: &Session<'_>,
) -> Result<About<'a>, Box<dyn Error>> {
    let (in_channels, out_channels) = model.channels();
    let described = match describe(model, path, flags, None, session) {
        Ok(description) => Some(description),
        Err(why) if flags.given() || model.description.is_some() => return Err(why),
        Err(why) => {
            session.say(&format!("the model is a network and no score yet: {why}"));
            None
        }
    };
    let d = described.as_ref();
    let json = |value: serde_json::Result<serde_json::Value>| value.ok();
    Ok(About {
        path,
        class: model.name(),
        parameters: model.parameters.count(),
        in_channels,
        out_channels,
        classes: model.network.classes(),
        shape: d.map(|d| d.shape.clone()).or_else(|| model.sample_shape()),
        process: d.and_then(|d| json(serde_json::to_value(&d.process))),
        prediction: d.and_then(|d| json(serde_json::to_value(d.prediction))),
        label: d.and_then(|d| json(serde_json::to_value(d.label))),
        t_min: d.map(|d: &Description| d.t_min),
        levels: d.and_then(|d| d.levels),
    })
}

impl Info<'_> {
    fn text(&self, session: &Session<'_>) -> String {
        let mut text = format!(
            "libtorch    {}\ndevice      {}\nCUDA        {}: {}\nthreads     {}\narithmetic  {}\n",
            self.libtorch,
            device_name(session.device),
            if self.cuda.available {
                format!("{} devices", self.cuda.devices)
            } else {
                "none".into()
            },
            self.cuda.message,
            runtime::threads(),
            self.speed,
        );
        if let Some(model) = &self.model {
            text += &model.text();
        }
        text
    }
}

impl About<'_> {
    fn text(&self) -> String {
        let known = |value: Option<String>| value.unwrap_or_else(|| "not said".into());
        let json =
            |value: &Option<serde_json::Value>| known(value.as_ref().map(ToString::to_string));
        let classes = self.classes.map_or_else(|| "none".into(), |n| n.to_string());
        format!(
            "model       {}\nnetwork     {}, {} parameters, {} to {} channels, classes: {classes}\n\
             sample      {}\nprocess     {}\nprediction  {}\nlabel       {}\nt_min       {}\nlevels      {}\n",
            self.path.display(),
            self.class,
            self.parameters,
            self.in_channels,
            self.out_channels,
            known(self.shape.as_ref().map(|s| format!("{s:?}"))),
            json(&self.process),
            json(&self.prediction),
            json(&self.label),
            known(self.t_min.map(|t| t.to_string())),
            known(self.levels.map(|n| n.to_string())),
        )
    }
}
