//! Every public function with tensors of the wrong shape, kind and place: an error each, and no panic.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp)]
#![allow(clippy::cast_possible_wrap, clippy::cast_sign_loss)]

mod common;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use common::{VP, describe, lanes, model, sentence};
use models::parameters::{Place, layout};
use models::tch::{Device, Kind, Tensor};
use models::torch_ext::adamw::AdamW;
use models::torch_ext::packed::PackedConvolution;
use models::torch_ext::{Weights, rows, runtime, write_weights};
use models::{
    Architecture, Batch, Classes, Decay, Description, Ema, Input, Model, NetworkScore, Parameters,
    vjp,
};
use sde_core::score::Field;
use sde_core::{Divergence, Prediction, Score};
use tempfile::TempDir;

/// The error of `work`, which is one sentence; a panic or a success fails.
fn refused<T, E: Display>(what: &str, work: impl FnOnce() -> Result<T, E>) {
    let result = catch_unwind(AssertUnwindSafe(work));
    match result.unwrap_or_else(|_| panic!("{what}: a panic")) {
        Ok(_) => panic!("{what}: accepted"),
        Err(error) => drop(sentence(error)),
    }
}

/// No panic, whatever the result.
fn survives<T, E: Display>(what: &str, work: impl FnOnce() -> Result<T, E>) {
    let result = catch_unwind(AssertUnwindSafe(work));
    if let Err(error) = result.unwrap_or_else(|_| panic!("{what}: a panic")) {
        sentence(error);
    }
}

fn zeros(size: &[i64], kind: Kind) -> Tensor {
    Tensor::f_zeros(size, (kind, Device::Cpu)).unwrap()
}

/// Tensors that no network takes.
fn wrong_inputs() -> Vec<(&'static str, Tensor)> {
    vec![
        ("undefined", Tensor::new()),
        ("scalar", zeros(&[], Kind::Float)),
        ("vector", zeros(&[2], Kind::Float)),
        ("five axes", zeros(&[2, 3, 4, 5, 6], Kind::Float)),
        ("17 channels", zeros(&[2, 17, 8, 8], Kind::Float)),
        ("no pixels", zeros(&[2, 3, 0, 8], Kind::Float)),
        ("odd pixels", zeros(&[2, 3, 7, 5], Kind::Float)),
        ("double", zeros(&[2, 3, 8, 8], Kind::Double)),
        ("integers", zeros(&[2, 3, 8, 8], Kind::Int64)),
        ("truth values", zeros(&[2, 3, 8, 8], Kind::Bool)),
        ("complex", zeros(&[2, 3, 8, 8], Kind::ComplexFloat)),
        ("half", zeros(&[2, 3, 8, 8], Kind::Half)),
    ]
}

fn networks() -> Vec<(PathBuf, Model)> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures");
    let folders = ["unet2d", "networks"].map(|name| fs::read_dir(fixtures.join(name)).unwrap());
    let paths = folders.into_iter().flatten().map(|e| e.unwrap().path()).filter(|p| p.is_dir());
    paths.map(|path| (path.clone(), Model::open(&path, Device::Cpu).unwrap())).collect()
}

#[test]
fn networks_refuse_what_they_do_not_take() {
    runtime::set_threads(1);
    for (path, model) in networks() {
        let name = path.display();
        let forward = |x: &Tensor, label: &[f64], class| {
            model.network.forward(Input { x, label, class, train: None })
        };
        let zero = [0, 0];
        let class = model.network.classes().map(|_| Classes::Labels(&zero[..]));
        for (what, x) in wrong_inputs() {
            refused(&format!("{name}: {what}"), || forward(&x, &[1.0, 1.0], class));
        }
        let mut shape = vec![2];
        shape.extend(model.sample_shape().unwrap_or_else(|| vec![3, 16, 16]));
        let (channels, _) = model.channels();
        shape[1] = channels;
        let x = zeros(&shape, Kind::Float);
        refused(&format!("{name}: one label"), || forward(&x, &[1.0], class));
        refused(&format!("{name}: no labels"), || forward(&x, &[], class));
        for label in [f64::NAN, f64::INFINITY, -1.0, 1e300] {
            survives(&format!("{name}: label {label}"), || forward(&x, &[label; 2], class));
        }
        let vector = zeros(&[3, 5], Kind::Float);
        for (what, class) in [
            ("a class", Classes::Labels(&[1 << 40, 0])),
            ("a negative class", Classes::Labels(&[-1, 0])),
            ("three classes", Classes::Labels(&[0, 0, 0])),
            ("vectors", Classes::Vectors(&vector)),
        ] {
            refused(&format!("{name}: {what}"), || forward(&x, &[1.0, 1.0], Some(class)));
        }
        refused(&format!("{name}: a device that is not there"), || {
            Model::open(&path, Device::Cuda(31))
        });
    }
}

#[test]
fn scores_refuse_what_they_do_not_take() {
    let model = model(&[], describe(&VP, Prediction::Epsilon));
    let description = model.description.as_ref().unwrap();
    let good = Batch::new(&zeros(&[2, 1, 8, 8], Kind::Double)).unwrap();
    let samples = [0, 1];
    for (what, t) in [("one time", vec![0.5]), ("three", vec![0.5; 3])] {
        refused(what, || {
            let mut out = Field::like(&good);
            let mut score = NetworkScore::new(&*model.network, description);
            score.evaluate(&good, lanes(&t, &samples), &mut out)
        });
    }
    for t in [f64::NAN, -1.0, 2.0, f64::INFINITY] {
        survives("a time outside", || {
            let (mut out, mut divergence) = (Field::like(&good), Divergence::default());
            let mut score = NetworkScore::new(&*model.network, description);
            let at = [t; 2];
            score.evaluate_with_divergence(&good, lanes(&at, &samples), &mut out, &mut divergence)
        });
    }
    let other = Batch::new(&zeros(&[3, 1, 8, 8], Kind::Double)).unwrap();
    refused("probes of another batch", || {
        let (mut out, mut forms) = (Field::like(&good), [Divergence::default()]);
        let mut score = NetworkScore::new(&*model.network, description);
        let at = lanes(&[0.5; 2], &samples);
        score.evaluate_with_forms(&good, at, std::slice::from_ref(&other), &mut out, &mut forms)
    });
    for class in [-1, 0, 1 << 40] {
        refused("a class", || {
            let mut out = Field::like(&good);
            let mut score = NetworkScore::new(&*model.network, description).of_class(Some(class));
            score.evaluate(&good, lanes(&[0.5; 2], &samples), &mut out)
        });
    }
    refused("guidance", || {
        let mut out = Field::like(&good);
        let mut score = NetworkScore::new(&*model.network, description).guided(Some(2.0));
        score.evaluate(&good, lanes(&[0.5; 2], &samples), &mut out)
    });
}

#[test]
fn batches_and_products_refuse_what_they_do_not_take() {
    for (what, x) in wrong_inputs() {
        survives(what, || Batch::new(&x).and_then(|batch| batch.to_host()));
        survives(what, || vjp(|x| Ok(x.f_mul(x)?), &x, &x));
    }
    let x = zeros(&[2, 3], Kind::Float);
    refused("a cotangent", || vjp(|x| Ok(x.f_mul(x)?), &x, &zeros(&[3, 2], Kind::Float)));
    refused("an undefined cotangent", || vjp(|x| Ok(x.f_mul(x)?), &x, &Tensor::new()));
    refused("an undefined value", || vjp(|_| Ok(Tensor::new()), &x, &x));
    for shape in [&[2, 3][..], &[-1, 5], &[i64::MAX, 2], &[]] {
        refused("numbers of another count", || Batch::from_host(&[0.0; 5], shape, Device::Cpu));
    }
    refused("a device", || Batch::from_host(&[0.0; 4], &[2, 2], Device::Cuda(31)));
}

#[test]
fn parameters_refuse_what_they_do_not_have() {
    let model = model(&[], describe(&VP, Prediction::Epsilon));
    let architecture = model.architecture.as_ref().unwrap();
    let list = architecture.layout().unwrap();
    refused("no tensors", || {
        Parameters::from_map(BTreeMap::new(), &list).connect(|b| architecture.build(b))
    });
    refused("a device", || Parameters::fresh(&list, 0, Device::Cuda(31)));
    refused("a device", || {
        model.parameters.placed(&list, Place { device: Device::Cuda(31), ..Place::FILE })
    });
    survives("integers", || {
        model.parameters.placed(&list, Place { kind: Kind::Int64, ..Place::FILE })
    });
    refused("a failing network", || layout(|_| Err::<(), _>(models::Error::Text("none".into()))));
    let undefined = BTreeMap::from([("a".to_owned(), Tensor::new())]);
    let undefined = Parameters::from_map(undefined, &Vec::new());
    survives("undefined parameters", || undefined.copy());
    survives("undefined parameters", || undefined.track_gradients());
    survives("an average of undefined parameters", || {
        Ema::new(&undefined, Decay::Exponential(0.9)).map(drop)
    });
    refused("a decay", || Ema::new(&model.parameters, Decay::Exponential(1.0)));
    refused("another network's parameters", || {
        Ema::new(&model.parameters, Decay::Exponential(0.5))?.update(&undefined, 1)
    });
}

#[test]
fn the_layer_below_refuses_what_it_does_not_take() {
    for (what, x) in wrong_inputs() {
        survives(what, || PackedConvolution::new(&x, &x, 1, 1).map(drop));
        survives(what, || AdamW::new(&[&x], (0.9, 0.99), 0.0).map(drop));
        survives(what, || {
            let folder = TempDir::new().unwrap();
            write_weights(folder.path().join("x.safetensors"), [("x", &x)], &BTreeMap::new())
        });
        let _ = catch_unwind(AssertUnwindSafe(|| rows::takes(&x))).expect(what);
    }
    let conv =
        PackedConvolution::new(&zeros(&[4, 3, 3, 3], Kind::Float), &zeros(&[4], Kind::Float), 1, 1);
    let conv = conv.unwrap();
    for (what, x) in wrong_inputs() {
        if what != "odd pixels" {
            survives(what, || conv.forward(&x, None));
        }
    }
    survives("another shape", || {
        conv.forward(&zeros(&[1, 3, 8, 8], Kind::Float), Some(&zeros(&[2, 2], Kind::Float)))
    });
    for name in ["", "tpu", "cuda:", "cuda:-1", "cuda:99999999999999999999"] {
        refused(name, || runtime::device(name));
    }
    for path in ["", "/", "/nonexistent/x", "."] {
        refused(path, || Weights::open(path));
        refused(path, || Model::open(path, Device::Cpu));
        refused(path, || Architecture::read(Path::new(path)));
        refused(path, || Description::read(Path::new(path)));
    }
    for text in ["", "[]", "null", "3", "{\"_class_name\": null}", "\u{0}"] {
        refused(text, || Architecture::parse(text));
    }
    for text in ["=", "process = 3", "\u{0}"] {
        refused(text, || Description::parse(text));
    }
}

/// Configurations made by hand, which no file was read for.
#[test]
fn configurations_by_hand_are_checked() {
    use models::UNetConfig;
    let usual = UNetConfig::default;
    let description = || describe(&VP, Prediction::Epsilon);
    for (what, config) in [
        ("five levels", UNetConfig { block_out_channels: vec![8; 5], ..usual() }),
        ("no level", UNetConfig { block_out_channels: vec![], ..usual() }),
        ("no head", UNetConfig { attention_head_dim: Some(0), ..usual() }),
        ("no group", UNetConfig { norm_num_groups: Some(0), ..usual() }),
        ("wide", UNetConfig { block_out_channels: vec![1 << 40; 4], ..usual() }),
        ("wide embedding", UNetConfig { time_embedding_dim: Some(i64::MAX), ..usual() }),
        ("deep", UNetConfig { layers_per_block: usize::MAX, ..usual() }),
        ("huge table", UNetConfig { num_class_embeds: Some(1 << 62), ..usual() }),
    ] {
        refused(what, || Model::fresh(config, description(), 0));
    }
    for text in [
        r#"{"_class_name": "NCSNpp", "nf": 1099511627776}"#,
        r#"{"_class_name": "NCSNpp", "num_res_blocks": 1000000000000}"#,
        r#"{"_class_name": "NCSNpp", "ch_mult": [1, 1099511627776]}"#,
        r#"{"_class_name": "NCSNpp", "nf": 33}"#,
        r#"{"_class_name": "NCSNpp", "fir_kernel": [1, 2, 3, 4]}"#,
        r#"{"_class_name": "SongUNet", "channel_mult_emb": -1}"#,
        r#"{"_class_name": "SongUNet", "label_dim": -1}"#,
        r#"{"_class_name": "DhariwalUNet", "model_channels": 112, "channel_mult": [1, 2]}"#,
        r#"{"_class_name": "DiT", "depth": 1000000000000}"#,
        r#"{"_class_name": "DiT", "mlp_ratio": 1e300}"#,
        r#"{"_class_name": "Mlp", "dimension": 2, "blocks": 1000000000000}"#,
        r#"{"_class_name": "Mlp", "dimension": 1099511627776}"#,
    ] {
        refused(text, || Architecture::parse(text));
    }
}
