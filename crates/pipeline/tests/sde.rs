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
    let model = Model::fresh(&config, Description::parse(MEANING).unwrap(), 3).unwrap();
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

#[test]
fn eval_reproduces_the_reference_outputs() {
    let folder = folder();
    for name in ["ddpm-micro", "train-default-micro"] {
        let case = fixture(name);
        let reference = case.join("reference.safetensors");
        let (model, input) = (case.display(), reference.display());
        for batch in ["", "--batch 2"] {
            let args =
                format!("eval --model {model} --input {input} --out out/y.safetensors {batch}");
            let report = json(&folder, &args);
            expect_keys(&report, &format!("{HEAD} n shape has_vjp milliseconds out"));
            assert_eq!((report["n"].as_i64(), report["has_vjp"].as_bool()), (Some(3), Some(true)));
            let found = Weights::open(folder.path().join("out/y.safetensors")).unwrap();
            let expected = Weights::open(&reference).unwrap();
            assert_eq!(found.shapes().len(), 2);
            for key in ["output", "vjp"] {
                let read =
                    |file: &Weights| file.tensor(key, Some(Kind::Double), Device::Cpu).unwrap();
                let (found, expected) = (read(&found), read(&expected));
                let off = (found - &expected).abs() / expected.abs().clamp_min(1.0);
                let off = off.max().double_value(&[]);
                assert!(off <= 2e-5, "{name} {key}: {off:e}");
            }
        }
    }
}

#[test]
fn eval_refuses_arrays_that_do_not_fit() {
    let folder = folder();
    let write = |changes: &[(&str, Option<Tensor>)]| {
        let mut tensors = vec![
            ("sample", Tensor::zeros([2, 1, 8, 8], (Kind::Float, Device::Cpu))),
            ("timestep", Tensor::from_slice(&[0.5_f32, 3.25])),
        ];
        for (name, change) in changes {
            tensors.retain(|(n, _)| n != name);
            tensors.extend(change.as_ref().map(|t| (*name, t.shallow_clone())));
        }
        let named = tensors.iter().map(|(name, t)| (*name, t));
        write_weights(
            folder.path().join("in.safetensors"),
            named,
            &std::collections::BTreeMap::default(),
        )
        .unwrap();
    };
    let args = "eval --model net --input in.safetensors --out y.safetensors";
    write(&[("timestep", Some(Tensor::from_slice(&[1_i64, 2])))]);
    assert_eq!(json(&folder, args)["has_vjp"], false);
    fs::remove_file(folder.path().join("y.safetensors")).unwrap();
    let zeros = |shape: &[i64], kind| Some(Tensor::zeros(shape, (kind, Device::Cpu)));
    for (name, change, want) in [
        ("sample", None, "has no tensor `sample`"),
        ("timestep", None, "has no tensor `timestep`"),
        (
            "sample",
            zeros(&[2, 1, 8, 8], Kind::Double),
            "`sample` has elements of type Double, expected Float",
        ),
        (
            "sample",
            zeros(&[2, 8, 8], Kind::Float),
            "`sample` has the shape [2, 8, 8], expected [B, C, H, W]",
        ),
        (
            "sample",
            zeros(&[2, 3, 8, 8], Kind::Float),
            "has the shape [2, 3, 8, 8], expected [B, 1, H, W]",
        ),
        ("timestep", zeros(&[3], Kind::Float), "`timestep` has the shape [3], expected [2]"),
        ("timestep", zeros(&[2], Kind::Int), "`timestep` has elements of type Int, expected"),
        (
            "vjp_vector",
            zeros(&[2, 1, 4, 4], Kind::Float),
            "`vjp_vector` has the shape [2, 1, 4, 4], expected",
        ),
        ("class_labels", zeros(&[2], Kind::Int64), "the class labels: found some, expected none"),
    ] {
        write(&[(name, change)]);
        let found = complaint(&folder, args, 1);
        assert!(found.contains(want), "{found}");
        assert!(!folder.path().join("y.safetensors").exists());
    }
}

#[test]
fn a_sample_does_not_depend_on_its_company() {
    let folder = folder();
    for sampler in [
        "heun --grid log-snr --steps 10",
        "euler-maruyama --eta 0.7 --steps 10",
        "rk45 --rtol 1e-3 --atol 1e-3",
        "dpm++2m --grid log-snr --steps 8",
        "ddim --eta 0.5 --steps 8",
        "edm-heun --churn 4,0,1e3,1 --steps 5",
    ] {
        let args = format!("sample --model net --sampler {sampler} --seed 5");
        json(&folder, &format!("{args} --num 1 --out one.npy"));
        json(&folder, &format!("{args} --num 64 --out many.safetensors"));
        json(&folder, &format!("{args} --num 64 --batch 5 --out cut.npy"));
        let (one, many) = (samples(&folder, "one.npy"), samples(&folder, "many.safetensors"));
        assert_eq!(many.shape(), [64, 1, 8, 8]);
        let first = many.slice_axis(Axis(0), Slice::from(..1)).to_owned();
        let (a, b) = (
            largest_difference(&one, &first),
            largest_difference(&many, &samples(&folder, "cut.npy")),
        );
        assert!(a <= 1e-3 && b <= 1e-3, "{sampler}: {a:e} {b:e}");
        let second = many.slice_axis(Axis(0), Slice::from(1..2)).to_owned();
        assert!(largest_difference(&one, &second) > 0.1); // the control
    }
}

#[test]
fn sample_reports_what_it_did() {
    let folder = folder();
    let keys = format!(
        "{HEAD} n shape sampler grid steps rtol atol eta seed nfe nfe_per_sample accepted rejected status \
         images_per_second out"
    );
    let fixed =
        json(&folder, "sample --model net --sampler heun --steps 6 --num 3 --batch 2 --out a.npy");
    expect_keys(&fixed, &keys);
    assert_eq!(
        (&fixed["grid"], &fixed["steps"], &fixed["nfe"]),
        (&"uniform".into(), &6.into(), &24.into())
    );
    assert_eq!(fixed["nfe_per_sample"], serde_json::json!([12, 12, 12]));
    assert_eq!(fixed["status"], serde_json::json!(["done", "done", "done"]));
    for null in ["rtol", "atol", "eta"] {
        assert!(fixed[null].is_null());
    }
    let adaptive =
        json(&folder, "sample --model net --sampler rk23 --rtol 1e-2 --num 2 --out a.png");
    expect_keys(&adaptive, &keys);
    assert_eq!((&adaptive["rtol"], &adaptive["atol"]), (&0.01.into(), &1e-5.into()));
    assert!(adaptive["steps"].is_null() && adaptive["grid"].is_null());
    assert!(fs::read(folder.path().join("a.png")).unwrap().starts_with(b"\x89PNG"));
    let noisy =
        json(&folder, "sample --model net --sampler euler-maruyama --steps 4 --num 2 --out a.npy");
    assert_eq!((&noisy["eta"], &noisy["nfe"]), (&1.0.into(), &4.into()));
}

#[test]
fn noise_and_grids_come_from_files() {
    let folder = folder();
    let noise =
        ArrayD::from_shape_fn(vec![3, 1, 8, 8], |i| (i[0] + i[2]) as f64 / 8.0 - i[3] as f64 / 4.0);
    write_safetensors(folder.path().join("noise.safetensors"), "noise", &noise).unwrap();
    write_npy(folder.path().join("noise.npy"), &noise).unwrap();
    fs::write(folder.path().join("grid.txt"), "1\n0.5\n\n0.001\n").unwrap();
    let args = "sample --model net --sampler euler";
    let a = json(&folder, &format!("{args} --grid grid.txt --noise noise.safetensors --out a.npy"));
    assert_eq!((&a["n"], &a["steps"], &a["grid"]), (&3.into(), &2.into(), &"grid.txt".into()));
    json(&folder, &format!("{args} --grid grid.txt --noise noise.npy --clip unit --out b.npy"));
    let (a, b) = (samples(&folder, "a.npy"), samples(&folder, "b.npy"));
    assert!(a.iter().any(|y| y.abs() > 1.0));
    assert!(largest_difference(&a.mapv(|y| y.clamp(-1.0, 1.0)), &b) == 0.0);

    let refused = |args: &str, code, want: &str| {
        let found = complaint(&folder, &format!("sample --model net {args} --out c.npy"), code);
        assert!(found.contains(want), "{found}");
    };
    refused("--noise noise.npy --num 2", 2, "found --num 2, expected 3");
    refused("--noise grid.txt", 1, "expected .npy or .safetensors");
    write_npy(folder.path().join("flat.npy"), &ArrayD::<f64>::zeros(vec![3, 64])).unwrap();
    refused("--noise flat.npy", 1, "the noise has the shape [3, 64], expected [N, 1, 8, 8]");
    fs::write(folder.path().join("grid.txt"), "1\n0.5\n0.6\n").unwrap();
    refused("--grid grid.txt", 1, "found \"0.6\" in line 3, expected a time from 0 to below 0.5");
    assert!(!folder.path().join("c.npy").exists());
}

#[test]
fn a_bad_command_line_is_one_sentence_and_code_2() {
    let folder = folder();
    for (args, want) in [
        ("", "subcommand"),
        ("draw", "draw"),
        ("sample --out a.npy", "--model"),
        ("sample --model net", "--out"),
        ("sample --model net --out a.gif", "expected .npy, .safetensors or .png"),
        (
            "sample --model net --out a.npy --sampler dpm-solver-4",
            "possible values: euler, heun, midpoint",
        ),
        ("sample --model net --out a.npy --sampler heun", "--steps is missing"),
        ("sample --model net --out a.npy --steps 5 --rtol 1e-3", "either"),
        ("sample --model net --out a.npy --steps 0", "whole number from 1"),
        ("sample --model net --out a.npy --num -3", "whole number from 1"),
        ("sample --model net --out a.npy --rtol nan", "number from"),
        ("sample --model net --out a.npy --eta 1", "found --eta with rk45"),
        ("sample --model net --out a.npy --grid karras", "--grid karras without --steps"),
        ("sample --model net --out a.npy --t-min 2", "0 ≤ t_min < t_max ≤ 1"),
        ("sample --model net --out a.npy --class 3", "the model has no classes"),
        ("sample --model net --out a.npy --dtype bf16", "bf16 is not built yet"),
        ("sample --model net --out a.npy --sigma-max 5", "--sigma-max needs --process"),
        (
            "sample --model net --out a.npy --process ve --sigma-max 5 --beta-min 1",
            "--beta-min is no constant of ve",
        ),
        (
            "likelihood --model net --data digits:all",
            "digits:train, digits:validation or digits:test",
        ),
        ("likelihood --model net --data digits:test --dequantise none", "expected uniform"),
        ("likelihood --model net --data digits:test --solver heun", "possible values: rk23, rk45"),
        ("likelihood --model net --data digits:test --trace exact --probes 3", "--trace exact"),
        ("likelihood --model net --data digits:test --method two-phase", "augmented"),
        ("eval --model net --input a --out b.npy", ".safetensors"),
    ] {
        let output = sde(&folder, args);
        let err = text(&output.stderr);
        assert_eq!((output.status.code(), err.lines().count()), (Some(2), 1), "{args}: {err}");
        assert!(
            output.stdout.is_empty() && err.starts_with("error: ") && err.contains(want),
            "{err}"
        );
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn what_cannot_be_read_is_one_sentence_and_code_1() {
    let folder = folder();
    let weights = fs::read(folder.path().join("net/diffusion_pytorch_model.safetensors")).unwrap();
    fs::write(folder.path().join("cut.safetensors"), &weights[..weights.len() - 7]).unwrap();
    fs::create_dir(folder.path().join("empty")).unwrap();
    for (args, want) in [
        ("sample --model none --out a.npy", "none"),
        (
            "sample --model empty --out a.npy",
            "expected config.json and diffusion_pytorch_model.safetensors",
        ),
        (
            "sample --model cut.safetensors --out a.npy",
            "cut.safetensors is not a whole safetensors file",
        ),
        (
            "sample --model net --noise cut.safetensors --out a.npy",
            "is not a whole safetensors file",
        ),
        ("sample --model net --noise missing.npy --out a.npy", "missing.npy does not exist"),
        ("likelihood --model net --data missing.npy --out a.json", "missing.npy does not exist"),
        (
            "likelihood --model net --data digits:test --levels 3 --out a.json",
            "expected levels below 3",
        ),
        (
            "eval --model net --input cut.safetensors --out b.safetensors",
            "is not a whole safetensors file",
        ),
    ] {
        let found = complaint(&folder, args, 1);
        assert!(found.contains(want), "{found}");
    }
    let fixture = fixture("train-default-micro");
    let found = complaint(&folder, &format!("sample --model {} --out a.npy", fixture.display()), 2);
    assert!(found.contains("--process is missing"), "{found}");
    for name in ["a.npy", "a.json", "b.safetensors"] {
        assert!(!folder.path().join(name).exists());
    }
}

#[test]
fn the_safetensors_file_alone_is_a_model() {
    let folder = folder();
    json(&folder, "sample --model net --sampler euler --steps 3 --num 2 --out a.npy");
    let file = "net/diffusion_pytorch_model.safetensors";
    json(&folder, &format!("sample --model {file} --sampler euler --steps 3 --num 2 --out b.npy"));
    assert_eq!(samples(&folder, "a.npy"), samples(&folder, "b.npy"));
}

#[test]
fn a_schedulers_file_says_what_a_network_means() {
    let folder = folder();
    let net = folder.path().join("net");
    fs::remove_file(net.join("sde.toml")).unwrap();
    fs::write(
        folder.path().join("scheduler_config.json"),
        r#"{"_class_name": "DDPMScheduler", "beta_schedule": "linear", "beta_start": 0.0001, "beta_end": 0.02,
            "num_train_timesteps": 500, "prediction_type": "v_prediction", "clip_sample": true}"#,
    )
    .unwrap();
    let info = json(&folder, "info --model net --beta-max 0.03");
    let model = &info["model"];
    assert_eq!(model["process"]["name"], "ddpm-linear");
    assert_eq!(
        (&model["process"]["T"], &model["process"]["beta_end"]),
        (&500.into(), &0.03.into())
    );
    assert_eq!((&model["prediction"], &model["label"]), (&"v".into(), &"index".into()));
    assert_eq!((&model["t_min"], &model["shape"]), (&0.002.into(), &serde_json::json!([1, 8, 8])));
    let said = sde(&folder, "sample --model net --sampler euler --steps 3 --num 2 --out a.npy");
    assert!(said.status.success() && text(&said.stderr).contains("ddpm-linear"));
    let info = json(&folder, "info --model net --process vp-linear --label 999t");
    assert_eq!(info["model"]["process"]["name"], "vp-linear");
}

/// Float data of the shape [n, 1, 8, 8], four digits for one.
fn points(folder: &TempDir, n: usize) -> ArrayD<f64> {
    let digits = data::digits().test.images.midpoints();
    let x = digits.slice_axis(Axis(0), Slice::from(..n)).to_owned().into_dyn();
    write_npy(folder.path().join("x.npy"), &x).unwrap();
    x
}

/// log p of every sample.
fn nats(report: &Value) -> Vec<f64> {
    let samples = report["samples"].as_array().unwrap();
    samples.iter().map(|s| s["log_likelihood"].as_f64().unwrap()).collect()
}

#[test]
fn likelihood_reports_what_it_found() {
    let folder = folder();
    points(&folder, 2);
    let args = "likelihood --model net --data x.npy --solver rk23 --rtol 1e-2 --atol 1e-2";
    let report = json(&folder, &format!("{args} --out l.json"));
    let keys = format!("{HEAD} n d levels method trace probes t_min t_max meaning samples mean");
    expect_keys(&report, &keys);
    let mean =
        "log_likelihood bits_per_dim se half_width_95 bits_per_dim_se bits_per_dim_half_width_95";
    expect_keys(&report["mean"], mean);
    let sample = "index log_likelihood log_prior int_div bits_per_dim half_width_95 se dof ode_error \
                  quadrature_error float_error nfe status";
    expect_keys(&report["samples"][0], sample);
    assert_eq!(
        (&report["n"], &report["d"], &report["levels"]),
        (&2.into(), &64.into(), &17.into())
    );
    assert_eq!(
        (&report["meaning"], &report["trace"]),
        (&"model_density_at_t_min".into(), &"exact".into())
    );
    let file: Value =
        serde_json::from_slice(&fs::read(folder.path().join("l.json")).unwrap()).unwrap();
    assert_eq!(file["samples"], report["samples"]);
    let (nats, s) = (nats(&report)[1], &report["samples"][1]);
    let bits = -nats / (64.0 * std::f64::consts::LN_2) + 8.5_f64.log2();
    assert!((s["bits_per_dim"].as_f64().unwrap() - bits).abs() < 1e-12);
    let parts = s["log_prior"].as_f64().unwrap() + s["int_div"].as_f64().unwrap();
    assert!((nats - parts).abs() < 1e-9 * nats.abs());
    let people = sde(&folder, args);
    assert!(text(&people.stdout).contains("bits/dim") && people.status.success());
}

#[test]
fn a_full_set_of_probes_is_the_exact_trace_and_random_ones_agree_with_it() {
    let folder = folder();
    points(&folder, 3);
    let args = "likelihood --model net --data x.npy --solver rk23 --rtol 1e-2 --atol 1e-2";
    let exact = nats(&json(&folder, &format!("{args} --trace exact")));
    let probes = Array5::from_shape_fn((64, 3, 1, 8, 8), |(k, .., i, j)| {
        if k == 8 * i + j { 8.0 } else { 0.0 } // √d e_k: the mean of u uᵀ over k is the identity
    });
    write_safetensors(folder.path().join("probes.safetensors"), "probes", &probes).unwrap();
    let report = json(&folder, &format!("{args} --probe-file probes.safetensors"));
    assert_eq!((&report["trace"], &report["probes"]), (&"hutchinson".into(), &64.into()));
    for (a, b) in exact.iter().zip(nats(&report)) {
        assert!((a - b).abs() < 1e-3, "{a} {b}");
    }
    let runs: Vec<Vec<f64>> = (0..6)
        .map(|seed| nats(&json(&folder, &format!("{args} --probes 4 --seed {seed}"))))
        .collect();
    for (i, exact) in exact.iter().enumerate() {
        let found: Vec<f64> = runs.iter().map(|run| run[i]).collect();
        let summary = sde_core::Summary::of(&found);
        let off = (summary.mean - exact).abs() / summary.standard_error;
        assert!(off < 5.0, "sample {i}: {summary} for {exact}");
    }
    let wrong = probes.slice_axis(Axis(1), Slice::from(..2)).to_owned();
    write_npy(folder.path().join("wrong.npy"), &wrong).unwrap();
    let found = complaint(&folder, &format!("{args} --probe-file wrong.npy"), 1);
    assert!(found.contains("has the shape [64, 2, 1, 8, 8], expected [K, 3, 1, 8, 8]"), "{found}");
}

#[test]
fn integer_data_are_dequantised_by_their_position() {
    let folder = folder();
    let images = data::digits().test.images;
    let pixels = images.pixels();
    let bytes: Vec<u8> = pixels.slice_axis(Axis(0), Slice::from(..2)).iter().copied().collect();
    let pixels = Tensor::from_slice(&bytes).reshape([2, 1, 8, 8]);
    let write = |name: &str, tensor: &Tensor| {
        write_weights(
            folder.path().join(name),
            [("data", tensor)],
            &std::collections::BTreeMap::default(),
        )
        .unwrap();
    };
    write("u8.safetensors", &pixels);
    write("i64.safetensors", &pixels.to_kind(Kind::Int64));
    let args = "likelihood --model net --solver rk23 --rtol 1e-2 --atol 1e-2 --probes 1";
    let a = json(&folder, &format!("{args} --data u8.safetensors"));
    let b = json(&folder, &format!("{args} --data i64.safetensors"));
    assert_eq!((&a["meaning"], &a["levels"]), (&"discrete_lower_bound".into(), &17.into()));
    assert_eq!(nats(&a), nats(&b));
    let c = json(&folder, &format!("{args} --data u8.safetensors --seed 1"));
    assert!(nats(&a) != nats(&c));
}

#[test]
fn safetensors_are_read_and_refused() {
    let folder = folder();
    let path = folder.path().join("a.safetensors");
    let x = ArrayD::from_shape_fn(vec![2, 3], |i| (3 * i[0] + i[1]) as f64 / 7.0);
    write_safetensors(&path, "data", &x).unwrap();
    assert_eq!(data::load(&path).unwrap(), Data::Float(x.clone()));
    assert_eq!(data::safetensors::read(&path, &["data"]).unwrap(), npy::Npy::F64(x.clone()));
    let bytes = fs::read(&path).unwrap();
    let refused = |bytes: &[u8], want: &str| {
        fs::write(&path, bytes).unwrap();
        let found = data::load(&path).unwrap_err().to_string();
        assert!(found.contains(want) && found.lines().count() == 1, "{found}");
    };
    for cut in [0, 5, 8, 40, bytes.len() - 1] {
        refused(&bytes[..cut], "is not a whole safetensors file");
    }
    refused(&[&bytes[..], b"x"].concat(), "is not a whole safetensors file");
    write_safetensors(&path, "noise", &x).unwrap();
    refused(&fs::read(&path).unwrap(), "holds the tensors [noise], expected data or samples");
    write_safetensors(&path, "samples", &x.mapv(|y| 1.0 / (y - y))).unwrap();
    refused(&fs::read(&path).unwrap(), "expected finite numbers");
    for (tensor, want) in [
        (
            Tensor::from_slice(&[1_i64, 300]).reshape([1, 1, 2]),
            "the level 300, expected levels from 0 to 255",
        ),
        (
            Tensor::zeros([1, 2], (Kind::Half, Device::Cpu)),
            "elements of dtype F16, expected F32, F64",
        ),
        (Tensor::zeros([2], (Kind::Float, Device::Cpu)), "has the shape [2], expected [N, D]"),
    ] {
        write_weights(&path, [("data", &tensor)], &std::collections::BTreeMap::default()).unwrap();
        refused(&fs::read(&path).unwrap(), want);
    }
}

#[test]
fn info_says_what_there_is() {
    let folder = folder();
    let info = json(&folder, "info");
    expect_keys(&info, &format!("{HEAD} libtorch cuda speed model"));
    assert!(info["model"].is_null());
    let info = json(&folder, "info --model net");
    let model = &info["model"];
    assert_eq!((&model["class"], &model["label"]), (&"UNet2DModel".into(), &"999t".into()));
    assert_eq!((&model["levels"], &model["t_min"]), (&17.into(), &1e-3.into()));
    let bare = json(&folder, &format!("info --model {}", fixture("ddpm-micro").display()));
    assert!(
        bare["model"]["process"].is_null() && bare["model"]["parameters"].as_u64() > Some(1000)
    );
}

/// N steps of a sampler on noise levels are N evaluations for those that need one each, whatever the grid.
#[test]
fn samplers_on_noise_levels_count_their_steps() {
    let folder = folder();
    for (flags, nfe) in [
        ("--sampler ddim --steps 6", 6),
        ("--sampler ddim --steps 1", 1),
        ("--sampler ddpm --variance large --steps 6 --grid quadratic", 6),
        ("--sampler dpm++3m --steps 6 --grid karras", 6),
        ("--sampler unipc --steps 6 --grid log-snr", 6),
        ("--sampler edm-heun --steps 6", 11),
        ("--sampler ddim --steps 5 --grid leading --process ddpm-linear --label index", 5),
        ("--sampler ddim --steps 5 --grid trailing --process ddpm-linear --label index", 5),
    ] {
        let said = json(&folder, &format!("sample --model net --num 3 --out a.npy {flags}"));
        assert_eq!(said["nfe"], nfe, "{flags}");
        assert_eq!(said["status"], serde_json::json!(["done", "done", "done"]), "{flags}");
    }
    for (flags, want) in [
        (
            "--sampler heun --steps 4 --eta 0.5",
            "found --eta with heun, expected it with ddim and euler-maruyama only",
        ),
        ("--sampler dpm++2m --steps 4 --eta 0.5", "found --eta with dpm++2m"),
        (
            "--sampler ddim --steps 4 --variance large",
            "found --variance with ddim, expected it with ddpm only",
        ),
        (
            "--sampler ddim --steps 4 --churn 1,0,1,1",
            "found --churn with ddim, expected it with edm-euler and edm-heun only",
        ),
        ("--sampler edm-heun --steps 4 --churn 1,2", "expected S_churn,S_min,S_max,S_noise"),
        ("--sampler ddim --steps 4 --grid leading", "the process is no ddpm-* chain"),
        ("--sampler heun --steps 4 --grid leading", "heun has no labels"),
    ] {
        let args = format!("sample --model net --num 1 --out a.npy {flags}");
        let output = sde(&folder, &args);
        assert_eq!(output.status.code(), Some(2), "{flags}");
        assert!(text(&output.stderr).contains(want), "{flags}: {}", text(&output.stderr));
    }
}

#[test]
fn help_ends_with_an_example() {
    let folder = folder();
    for command in ["sample", "likelihood", "eval", "train", "info"] {
        let output =
            Command::new(env!("CARGO_BIN_EXE_sde")).args([command, "--help"]).output().unwrap();
        let help = text(&output.stdout);
        let last = help.lines().last().unwrap();
        assert!(
            output.status.success() && last.starts_with(&format!("Example: sde {command} ")),
            "{last}"
        );
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}
