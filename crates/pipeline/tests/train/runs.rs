//! Runs learn, leave a model and a record, go on where they stopped, and refuse what they cannot use in one sentence.

use std::fs;
use std::process::Command;

use crate::{CONFIG, began, complaint, file, folder, state, train};

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
    let before = state(&run);
    assert_eq!(began(&train(&run, &[&short[..], &["--json"]].concat())), 4);
    assert!(state(&run) == before);
    fs::remove_dir_all(run.path().join("run/states")).unwrap();
    assert_eq!(began(&train(&run, &[&short[..], &["--json"]].concat())), 0);
    assert!(state(&run) == before);
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
        ("[8, 8]", "[8, 9]", "found 9 channels in 4 groups"),
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
