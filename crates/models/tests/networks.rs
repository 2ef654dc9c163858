//! Networks of every kind: their gradients, their files, their refusals, and functions of the user's own as scores.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp)]
#![allow(clippy::cast_possible_wrap, clippy::cast_sign_loss)]

mod common;

use std::fs;
use std::path::PathBuf;

use common::{apart, lanes, numbers, sentence};
use models::parameters::Place;
use models::tch::{Device, Kind, Tensor};
use models::torch_ext::Weights;
use models::{
    Architecture, Batch, Classes, Description, FromFn, Input, MlpConfig, Model, NetworkScore,
    Training,
};
use sde_core::score::Field;
use sde_core::{Divergence, Score};
use tempfile::TempDir;

fn fixtures(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/networks").join(name)
}

fn all() -> Vec<PathBuf> {
    let entries = fs::read_dir(fixtures("")).unwrap().map(|e| e.unwrap().path());
    let mut all: Vec<_> = entries.filter(|p| p.join("config.json").exists()).collect();
    all.sort();
    assert!(all.len() > 10);
    all
}

/// Parameters that no gradient reaches: of the augmentation, which is not used, and of the biases of keys, which move all
/// entries of a softmax alike.
fn is_still(name: &str) -> bool {
    name == "map_augment.weight" || name.ends_with("NIN_1.b")
}

#[test]
fn the_gradient_reaches_every_parameter_that_is_trained() {
    for path in all() {
        let model = Model::open(&path, Device::Cpu).unwrap();
        model.parameters.track_gradients().unwrap();
        let file = Weights::open(path.join("reference.safetensors")).unwrap();
        let x = file.tensor("sample", None, Device::Cpu).unwrap();
        let label = numbers(&file.tensor("timestep", None, Device::Cpu).unwrap());
        let classes = file.tensor("class_labels", None, Device::Cpu).ok().map(|t| numbers(&t));
        let classes: Option<Vec<i64>> = classes.map(|c| c.iter().map(|&k| k as i64).collect());
        let class = classes.as_deref().map(Classes::Labels);
        let keys: Vec<u64> = (0..label.len() as u64).collect();
        let train = Some(Training::new(&keys));
        let y = model.network.forward(Input { x: &x, label: &label, class, train }).unwrap();
        y.f_pow_tensor_scalar(4).unwrap().f_sum(None).unwrap().f_backward().unwrap();
        for (name, t) in model.parameters.iter() {
            let trained = model.parameters.trainable().any(|(other, _)| other == name);
            let gradient = t.grad();
            if !trained {
                assert!(!gradient.defined(), "{name} is frozen");
            } else if !is_still(name) {
                let largest = numbers(&gradient).iter().fold(0.0_f64, |m, g| m.max(g.abs()));
                assert!(largest > 0.0, "{}: {name}", path.display());
            }
        }
    }
}

/// Before training nothing is NaN, a seed gives the same numbers, and what is saved is what is opened.
#[test]
fn fresh_networks_of_every_kind_survive_their_files() {
    let text = "process = { name = \"edm\", sigma_max = 80.0 }\nprediction = \"epsilon\"\n\
                label = \"c-noise\"\nshape = [3, 8, 8]\nt_min = 0.01";
    for path in all() {
        let architecture = Architecture::read(&path.join("config.json")).unwrap();
        let description = Description::parse(text).unwrap();
        let model = Model::fresh(architecture, description, 3).unwrap();
        let finite =
            model.parameters.tensors().iter().all(|t| numbers(t).iter().all(|x| x.is_finite()));
        assert!(finite);
        let folder = TempDir::new().unwrap();
        model.save(folder.path()).unwrap();
        let opened = Model::open(folder.path(), Device::Cpu).unwrap();
        assert_eq!(opened.architecture, model.architecture);
        for ((name, a), (other, b)) in opened.parameters.iter().zip(model.parameters.iter()) {
            assert_eq!((name, numbers(a)), (other, numbers(b)));
        }
    }
}

/// What was done to an image enters where it can, and is nothing where it is not told.
#[test]
fn augmentation_is_told_to_networks_that_have_a_place_for_it() {
    let plane = "process = { name = \"edm\", sigma_max = 80.0 }\nprediction = \"epsilon\"\n\
                 label = \"c-noise\"\nshape = [1, 8, 8]\nt_min = 0.01";
    let forward = |model: &Model, augmented: Option<&[f64]>| {
        let x = Tensor::f_ones([2, 1, 8, 8], (Kind::Float, Device::Cpu)).unwrap();
        let train = Some(Training { augmented, ..Training::new(&[1, 2]) });
        model.network.forward(Input { x: &x, label: &[0.2, 0.9], class: None, train })
    };
    let rest = r#""img_resolution": 8, "in_channels": 1, "out_channels": 1, "model_channels": 8, "channel_mult": [1],
                  "num_blocks": 1, "attn_resolutions": [], "dropout": 0"#;
    for name in ["SongUNet", "DhariwalUNet"] {
        let of = |width: u32| {
            let text = format!(r#"{{"_class_name": "{name}", "augment_dim": {width}, {rest}}}"#);
            let architecture = Architecture::parse(&text).unwrap();
            let model = Model::fresh(architecture, Description::parse(plane).unwrap(), 4).unwrap();
            for (_, t) in model.parameters.trainable() {
                let _ = t.shallow_clone().f_normal_(0.0, 0.3).unwrap(); // the last layer began at 0
            }
            model
        };
        let model = of(3);
        let value = |done| numbers(&forward(&model, done).unwrap());
        let (untold, nothing, turned) =
            (value(None), value(Some(&[0.0; 6])), value(Some(&[0.0, 0.0, 0.0, 0.0, 1.0, 0.0])));
        assert_eq!(untold, nothing);
        assert_eq!(untold[..64], turned[..64], "the other sample");
        assert!(apart(&untold[64..], &turned[64..]) > 1e-3);
        let said = sentence(forward(&model, Some(&[0.0; 4])).unwrap_err());
        assert!(said.contains("what was done to the images") && said.contains("[2, 3]"), "{said}");
        assert!(forward(&of(0), Some(&[0.0; 6])).is_err());
        let x = Tensor::f_ones([2, 1, 8, 8], (Kind::Float, Device::Cpu)).unwrap();
        let train = Some(Training::new(&[1]));
        let input = Input { x: &x, label: &[0.2, 0.9], class: None, train };
        let said = sentence(model.network.forward(input).unwrap_err());
        assert!(said.contains("the keys of dropout"), "{said}");
    }
}

#[test]
fn a_perceptron_in_f64_is_the_one_in_f32() {
    let config = MlpConfig { width: 16, classes: Some(3), ..MlpConfig::new(2) };
    let model = Model::fresh(config, Description::parse(PLANE).unwrap(), 4).unwrap();
    for (_, t) in model.parameters.trainable() {
        let _ = t.shallow_clone().f_normal_(0.0, 0.3).unwrap(); // the last layer began at 0
    }
    let double = model.placed(Place { kind: Kind::Double, ..Place::FILE }).unwrap();
    let of = |model: &Model| {
        let x = Tensor::f_from_slice(&[0.3, -0.8, 1.1, 0.2]).unwrap().f_reshape([2, 2]).unwrap();
        let x = x.f_to_kind(model.network.kind()).unwrap();
        let class = Some(Classes::Labels(&[0, 2]));
        numbers(
            &model
                .network
                .forward(Input { x: &x, label: &[0.2, 0.9], class, train: None })
                .unwrap(),
        )
    };
    let off = apart(&of(&model), &of(&double));
    assert!(off > 0.0 && off < 1e-5, "{off:e}");
    assert_eq!(double.network.kind(), Kind::Double);
}

/// The parameters of the published networks, counted by running the original code with its own configuration.
#[test]
fn published_networks_have_their_number_of_parameters() {
    for (config, expected) in [
        (r#"{"_class_name": "NCSNpp"}"#, 62_758_915),
        (
            r#"{"_class_name": "NCSNpp", "fir": false, "progressive_input": "none",
                "embedding_type": "positional", "scale_by_sigma": false, "centered": true}"#,
            61_804_419,
        ),
        (r#"{"_class_name": "SongUNet", "augment_dim": 9}"#, 61_805_571),
        (r#"{"_class_name": "DhariwalUNet", "label_dim": 1000}"#, 295_899_267),
    ] {
        let layout = Architecture::parse(config).unwrap().layout().unwrap();
        let count: usize = layout.iter().map(|e| e.shape.iter().product::<usize>()).sum();
        assert_eq!(count, expected, "{config}");
    }
}

#[test]
fn wrong_configurations_are_one_sentence() {
    for (config, expected) in [
        (
            r#"{"_class_name": "NCSNpp", "resblock_type": "ddpm"}"#,
            "fir: found true, expected false",
        ),
        (r#"{"_class_name": "NCSNpp", "progressive": "residual"}"#, "fir: found true"),
        (
            r#"{"_class_name": "NCSNpp", "image_size": 30}"#,
            "image_size: found 30, expected a positive multiple of 8",
        ),
        (r#"{"_class_name": "NCSNpp", "ch_mult": []}"#, "ch_mult: found 0 levels"),
        (r#"{"_class_name": "NCSNpp", "nf": 6}"#, "of the network: found 18 channels in 4 groups"),
        (r#"{"_class_name": "NCSNpp", "nff": 64}"#, "unknown field `nff`"),
        (
            r#"{"_class_name": "SongUNet", "decoder_type": "residual"}"#,
            "decoder_type: found residual",
        ),
        (
            r#"{"_class_name": "SongUNet", "resample_filter": [1, -1]}"#,
            "the filter: found [1.0, -1.0]",
        ),
        (
            r#"{"_class_name": "DhariwalUNet", "model_channels": 0}"#,
            "model_channels: found 0, expected an even number from 4",
        ),
        (
            r#"{"_class_name": "DiT", "patch_size": 5}"#,
            "input_size: found 32, expected a multiple of patch_size = 5",
        ),
        (r#"{"_class_name": "DiT", "hidden_size": 10}"#, "hidden_size: found 10"),
        (
            r#"{"_class_name": "Mlp", "dimension": 0}"#,
            "dimension: found 0, expected a positive number",
        ),
        (r#"{"_class_name": "VQ"}"#, "_class_name: found \"VQ\", expected one of"),
        (r#"{"_class_name": 3}"#, "_class_name: found 3, expected one of"),
    ] {
        let text = sentence(Architecture::parse(config).unwrap_err());
        assert!(text.contains(expected), "{text}");
    }
}

/// A TorchScript file needs a description, and is refused where it does not fit.
#[test]
fn a_script_that_does_not_fit_is_named() {
    let (folder, from) = (TempDir::new().unwrap(), fixtures("torchscript"));
    let net = folder.path().join("net.ts");
    fs::copy(from.join("net.ts"), &net).unwrap();
    let text = sentence(Model::open(&net, Device::Cpu).unwrap_err());
    assert!(text.contains("found no sde.toml beside it"), "{text}");
    fs::copy(from.join("sde.toml"), folder.path().join("sde.toml")).unwrap();
    let model = Model::open(&net, Device::Cpu).unwrap();
    let x = Tensor::f_zeros([2, 3], (Kind::Float, Device::Cpu)).unwrap();
    let class = Some(Classes::Labels(&[0, 1]));
    let input = Input { x: &x, label: &[0.1, 0.2], class, train: None };
    let text = sentence(model.network.forward(input).unwrap_err());
    assert!(text.contains("has the shape [2, 3], expected [B, …] of the sample [2]"), "{text}");
    let text = sentence(model.save(folder.path()).unwrap_err());
    assert!(text.contains("a TorchScript network is saved where it was made"), "{text}");
    fs::write(&net, "no script").unwrap();
    let text = sentence(Model::open(&net, Device::Cpu).unwrap_err());
    assert!(text.contains("net.ts: "), "{text}");
}

const PLANE: &str = "process = { name = \"vp-linear\", beta_min = 0.1, beta_max = 20.0 }\n\
                     prediction = \"epsilon\"\nlabel = \"t\"\nshape = [2]\nt_min = 0.001";

/// ε = σ x is the noise of standard normal data, whose score is −x under variance preserved: D = α x, div D = 2 α.
#[test]
fn a_function_is_a_score() {
    let description = Description::parse(PLANE).unwrap();
    let process = &description.process;
    let network = FromFn(|input: Input<'_>| {
        let sigma: Vec<f32> =
            input.label.iter().map(|&t| process.coefficients(t).sigma as f32).collect();
        let sigma = Tensor::f_from_slice(&sigma)?.f_unsqueeze(1)?;
        Ok(input.x.f_mul(&sigma)?)
    });
    let mut score = NetworkScore::new(&network, &description);
    let x = Batch::from_host(&[0.3, -1.0, 2.0, 0.5], &[2, 2], Device::Cpu).unwrap();
    let (mut out, mut divergence) = (Field::like(&x), Divergence::default());
    let t = [0.2, 0.7];
    score.evaluate_with_divergence(&x, lanes(&t, &[0, 1]), &mut out, &mut divergence).unwrap();
    assert!(apart(&numbers(out.score.tensor()), &[-0.3, 1.0, -2.0, -0.5]) < 1e-6);
    for (i, &t) in t.iter().enumerate() {
        assert!((divergence.denoised[i] - 2.0 * process.coefficients(t).alpha).abs() < 1e-6);
    }
}

/// A perceptron takes vectors, says 0 before training, and its divergence is that of differences.
#[test]
fn a_perceptron_is_a_score_of_vectors() {
    let config = MlpConfig { width: 16, classes: Some(3), ..MlpConfig::new(2) };
    let model = Model::fresh(config, Description::parse(PLANE).unwrap(), 1).unwrap();
    let x = Tensor::f_from_slice(&[0.3_f32, -1.0, 2.0, 0.5]).unwrap().f_reshape([2, 2]).unwrap();
    let class = Some(Classes::Labels(&[0, 2]));
    let input = |x| Input { x, label: &[0.1, 0.2], class, train: None };
    assert_eq!(numbers(&model.network.forward(input(&x)).unwrap()), [0.0; 4]);
    assert_eq!(model.network.classes(), Some(3));
    let flat = x.f_reshape([1, 4]).unwrap();
    let text =
        sentence(model.network.forward(Input { label: &[0.1], ..input(&flat) }).unwrap_err());
    assert!(text.contains("has the shape [1, 4], expected [B, 2]"), "{text}");
}

/// Saves every checkpoint of `fixtures/unet2d` again, for `tools/reference/reads_ours.py`, which opens them with diffusers.
#[test]
#[ignore = "writes to the folder that SAVE_TO names"]
fn checkpoints_are_saved_for_the_reference() {
    let to = PathBuf::from(std::env::var_os("SAVE_TO").expect("SAVE_TO names a folder"));
    for entry in fs::read_dir(fixtures("../unet2d")).unwrap() {
        let path = entry.unwrap().path();
        let folder = to.join(path.file_name().unwrap());
        Model::open(&path, Device::Cpu).unwrap().save(&folder).unwrap();
        fs::copy(path.join("reference.safetensors"), folder.join("reference.safetensors")).unwrap();
    }
}
