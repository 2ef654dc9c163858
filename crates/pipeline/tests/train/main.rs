//! The trainer as a user meets it: [`runs`] learn, go on and are refused in one sentence, [`faults`] lose nothing,
//! [`objectives`] are what they are called, [`sources`] are read.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp)]

mod faults;
mod objectives;
mod runs;
mod sources;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// A small U-Net on the digits.
const CONFIG: &str = r#"
out = "run"
seed = 3

[data]
train = "digits:train"
validation = "digits:validation"

[model]
process = { name = "vp-linear", beta_min = 0.1, beta_max = 20.0 }
prediction = { edm = { sigma_data = 0.8 } }
label = "c-noise"
t_min = 1e-5

[network]
down_block_types = ["DownBlock2D", "AttnDownBlock2D"]
up_block_types = ["AttnUpBlock2D", "UpBlock2D"]
block_out_channels = [8, 8]
layers_per_block = 1
norm_num_groups = 4
attention_head_dim = 4
dropout = 0.1

[training]
steps = 40
batch = 16
learning_rate = 3e-3
warmup = 5
betas = [0.9, 0.99]
weight_decay = 0.0
clip = 6.0
ema = 0.9
weighting = "likelihood"
times = "log-snr"
validate_every = 20
checkpoint_every = 3
report_every = 10
"#;

fn sde(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sde"));
    command.current_dir(folder).args(["train", "train.toml", "--threads", "1"]).args(args);
    command
}

fn folder(config: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("train.toml"), config).unwrap();
    folder
}

fn train(folder: &TempDir, args: &[&str]) -> Output {
    sde(folder.path(), args).output().unwrap()
}

/// The one line that a failed run wrote to stderr after its progress.
fn complaint(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    let errors: Vec<_> = text.lines().filter(|line| line.starts_with("error")).collect();
    assert_eq!(errors.len(), 1, "{text}");
    errors[0].to_owned()
}

fn file(folder: &TempDir, name: &str) -> Vec<u8> {
    fs::read(folder.path().join("run").join(name)).unwrap()
}

/// The saved states of a run, by step.
fn states(folder: &TempDir) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder.path().join("run/states")).unwrap();
    let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == "safetensors"));
    paths.sort();
    paths
}

/// The name and the content of the latest state.
fn state(folder: &TempDir) -> (String, Vec<u8>) {
    let path = states(folder).pop().unwrap();
    (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(path).unwrap())
}

/// The step that a run began after, as its JSON says.
fn began(output: &Output) -> u64 {
    assert!(output.status.success(), "{output:?}");
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    json["began"].as_u64().unwrap()
}

const WEIGHTS: &str = "model/diffusion_pytorch_model.safetensors";
