//! The program `sde` from outside: numbers, files, JSON, exit codes and sentences.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use models::tch::{Device, Kind, Tensor};
use models::torch_ext::{Weights, write_weights};
use models::{Description, Model, UNetConfig};
use ndarray::{Array5, ArrayD, Axis, Slice};
use pipeline::data::{self, Data, npy};
use pipeline::models;
use pipeline::output::{write_npy, write_safetensors};
use serde_json::Value;
use tempfile::TempDir;

mod compare;
mod edit;
mod eval;
mod flow;
mod likelihood;
mod model_files;
mod networks;
mod parts;
mod refusals;
mod sample;
mod verify;

const CONFIG: &str = r#"{
    "_class_name": "UNet2DModel", "sample_size": 8, "in_channels": 1, "out_channels": 1,
    "down_block_types": ["DownBlock2D"], "up_block_types": ["UpBlock2D"], "block_out_channels": [8],
    "layers_per_block": 1, "norm_num_groups": 4, "attention_head_dim": 8
}"#;

const MEANING: &str = r#"
    process = { name = "vp-linear", beta_min = 0.1, beta_max = 20.0 }
    prediction = "epsilon"
    label = "999t"
    shape = [1, 8, 8]
    t_min = 1e-3
    levels = 17
"#;

/// A folder with the model `net` in it: 8 channels, one level, fresh weights.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let config = UNetConfig::parse(CONFIG).unwrap();
    let model = Model::fresh(config, Description::parse(MEANING).unwrap(), 3).unwrap();
    model.save(folder.path().join("net")).unwrap();
    folder
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/unet2d").join(name)
}

/// Runs the program in a folder.
fn sde(folder: &TempDir, args: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sde"));
    command.current_dir(folder.path()).args(args.split_whitespace()).args([
        "--device",
        "cpu",
        "--threads",
        "1",
    ]);
    command.output().unwrap()
}

/// The JSON object of a run that must succeed, the only thing on stdout.
fn json(folder: &TempDir, args: &str) -> Value {
    let output = sde(folder, &format!("{args} --json --quiet"));
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success() && err.is_empty(), "{args}: {err}");
    assert_eq!(out.lines().count(), 1, "{out}");
    serde_json::from_str(&out).unwrap()
}

/// The one sentence of a run that must fail with this code.
fn complaint(folder: &TempDir, args: &str, code: i32) -> String {
    let output = sde(folder, &format!("{args} --quiet"));
    let err = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{args}: {err}");
    assert!(output.stdout.is_empty() && err.lines().count() == 1, "{args}: {err}");
    assert!(err.starts_with("error: "), "{err}");
    err
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn samples(folder: &TempDir, name: &str) -> ArrayD<f64> {
    data::array(folder.path().join(name), "samples").unwrap()
}

fn keys(value: &Value) -> BTreeSet<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

fn expect_keys(found: &Value, expected: &str) {
    assert_eq!(keys(found), expected.split_whitespace().collect::<BTreeSet<_>>());
}

const HEAD: &str = "schema command version device dtype threads seconds";

fn largest_difference(a: &ArrayD<f64>, b: &ArrayD<f64>) -> f64 {
    assert_eq!(a.shape(), b.shape());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}
