//! The trainer as a user meets it: killed at any moment it ends with the same weights, it learns, and it refuses what it
//! cannot use in one sentence.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

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

/// The step that a run began after, as its JSON says.
fn began(output: &Output) -> u64 {
    assert!(output.status.success(), "{output:?}");
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    json["began"].as_u64().unwrap()
}

const WEIGHTS: &str = "model/diffusion_pytorch_model.safetensors";

#[test]
fn a_run_killed_at_any_moment_ends_with_the_same_weights() {
    let whole = folder(CONFIG);
    let output = train(&whole, &[]);
    assert!(output.status.success(), "{output:?}");
    let cut = folder(CONFIG);
    let (mut kills, mut patience) = (0, Duration::from_millis(250));
    let last = loop {
        let mut child = sde(cut.path(), &["--json"])
            .stderr(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let started = Instant::now();
        let ended = loop {
            match child.try_wait().unwrap() {
                Some(_) => break true,
                None if started.elapsed() > patience => break false,
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        if ended {
            break child.wait_with_output().unwrap();
        }
        child.kill().unwrap(); // SIGKILL: nothing is tidied up
        child.wait().unwrap();
        (kills, patience) = (kills + 1, patience + Duration::from_millis(130));
    };
    assert!(kills >= 2, "the run was never interrupted");
    assert!(began(&last) > 0, "the last attempt began anew");
    for name in ["state.safetensors", WEIGHTS, "model/sde.toml", "model/config.json"] {
        assert!(file(&whole, name) == file(&cut, name), "{name} differs after {kills} kills");
    }
    let steps = |folder: &TempDir| -> Vec<u64> {
        let text = String::from_utf8(file(folder, "metrics.jsonl")).unwrap();
        let step =
            |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["step"].as_u64();
        text.lines().map(|line| step(line).unwrap()).collect()
    };
    assert_eq!(steps(&whole), [10, 20, 30, 40]);
    assert_eq!(steps(&cut), [10, 20, 30, 40]);
}

#[test]
fn a_run_learns_and_its_model_is_one() {
    let run = folder(CONFIG);
    let output = train(&run, &["--json", "--quiet", "--set", "training.steps=200"]);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["command"], "train");
    let text = String::from_utf8(file(&run, "metrics.jsonl")).unwrap();
    let losses: Vec<f64> = text
        .lines()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["loss"].as_f64().unwrap()
        })
        .collect();
    assert!(losses.last().unwrap() < &(0.9 * losses[0]), "{losses:?}");
    let sample = Command::new(env!("CARGO_BIN_EXE_sde"))
        .current_dir(run.path())
        .args(["sample", "--model", "run/model", "--num", "2", "--out", "x.npy", "--quiet"])
        .args(["--sampler", "euler", "--steps", "4"])
        .output()
        .unwrap();
    assert!(sample.status.success(), "{sample:?}");
}

#[test]
fn a_finished_run_is_not_done_again_and_another_one_is_refused() {
    let run = folder(CONFIG);
    let short = ["--set", "training.steps=4"];
    assert!(train(&run, &short).status.success());
    let before = file(&run, "state.safetensors");
    assert_eq!(began(&train(&run, &[&short[..], &["--json"]].concat())), 4);
    assert!(file(&run, "state.safetensors") == before);
    fs::remove_file(run.path().join("run/state.safetensors")).unwrap();
    assert_eq!(began(&train(&run, &[&short[..], &["--json"]].concat())), 0);
    assert!(file(&run, "state.safetensors") == before);
    let other = train(&run, &["--set", "training.steps=4", "--set", "training.batch=8"]);
    let text = complaint(&other);
    assert!(
        text.contains("batch = 16 there, batch = 8 here") && text.contains("--resume"),
        "{text}"
    );
    let longer = train(&run, &["--set", "training.steps=6", "--resume"]);
    assert!(longer.status.success(), "{longer:?}");
    let wider = train(&run, &["--set", "network.block_out_channels=[16,16]", "--resume"]);
    assert!(complaint(&wider).contains("the tensors are not those of the network"));
}

#[test]
fn a_wrong_file_is_one_sentence() {
    for (from, to, want) in [
        ("batch = 16", "bacth = 16", "unknown field `bacth`"),
        ("seed = 3", "", "missing field `seed`"),
        ("dropout = 0.1", "drop_out = 0.1", "network.drop_out: found 0.1"),
        ("steps = 40", "steps = 0", "training.steps: found 0, expected a positive number"),
        ("[8, 8]", "[8, 9]", "block_out_channels: found 9, expected positive multiples"),
        ("t_min = 1e-5", "t_min = -1.0", "t_min = -1 is out of range"),
        ("t_min = 1e-5", "t_min = 0.0", "the label at t_min = -inf is out of range"),
        ("\"digits:train\"", "\"gone.npy\"", "gone.npy does not exist"),
        ("\"vp-linear\"", "\"vp\"", "unknown variant `vp`"),
        ("seed = 3", "seed = ", "line 3"),
    ] {
        let run = folder(&CONFIG.replace(from, to));
        let text = complaint(&train(&run, &[]));
        assert!(text.contains(want), "{text}");
    }
    let run = folder(CONFIG);
    fs::remove_file(run.path().join("train.toml")).unwrap();
    assert!(complaint(&train(&run, &[])).contains("train.toml: No such file"));
    let run = folder(CONFIG);
    assert!(complaint(&train(&run, &["--set", "steps"])).contains("--set: found steps"));
}

#[test]
fn a_cut_state_is_named() {
    let run = folder(CONFIG);
    assert!(train(&run, &["--set", "training.steps=4"]).status.success());
    let path = run.path().join("run/state.safetensors");
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let text = complaint(&train(&run, &["--set", "training.steps=4"]));
    assert!(text.contains("state.safetensors is not a whole safetensors file"), "{text}");
}
