//! Command lines and files that cannot be used: one sentence each, and the exit code.

use super::*;

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
        (
            "likelihood --model net --data digits:test --method three-phase",
            "possible values: two-phase, augmented",
        ),
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
