//! `sde eval` beside the reference, and what it refuses.

use super::*;

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
