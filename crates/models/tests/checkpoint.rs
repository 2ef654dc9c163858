//! A model as files: what is saved is what is opened, whole or not at all, and each way to be wrong is one sentence.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp)]
#![allow(clippy::cast_possible_wrap, clippy::cast_sign_loss)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use common::{CASES, PREDICTIONS, VP, describe, model, numbers, sentence};
use models::Model;
use models::tch::{Device, Kind, Tensor};
use models::torch_ext::{Weights, write_weights};
use sde_core::Prediction;
use tempfile::TempDir;

const WEIGHTS: &str = "diffusion_pytorch_model.safetensors";
const FILES: [&str; 3] = ["config.json", WEIGHTS, "sde.toml"];

/// A saved model.
fn saved() -> (TempDir, Model) {
    let folder = TempDir::new().unwrap();
    let model = model(&[], describe(&VP, Prediction::V));
    model.save(folder.path()).unwrap();
    (folder, model)
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> =
        entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn open(path: impl AsRef<Path>) -> models::Result<Model> {
    Model::open(path, Device::Cpu)
}

fn same(a: &Model, b: &Model) {
    assert_eq!(a.architecture, b.architecture);
    let toml = |m: &Model| m.description.as_ref().map(|d| d.to_toml().unwrap());
    assert_eq!(toml(a), toml(b));
    let tensors = |m: &Model| -> BTreeMap<String, (Vec<i64>, Vec<f64>)> {
        m.parameters.iter().map(|(n, t)| (n.to_owned(), (t.size(), numbers(t)))).collect()
    };
    assert!(tensors(a) == tensors(b), "the tensors differ");
}

/// The error of opening a model after a change of its folder.
fn broken(change: impl FnOnce(&Path)) -> String {
    let (folder, _) = saved();
    change(folder.path());
    sentence(open(folder.path()).unwrap_err())
}

/// Writes the weights again, changed.
fn rewrite(folder: &Path, change: impl FnOnce(&mut BTreeMap<String, Tensor>)) {
    let path = folder.join(WEIGHTS);
    let weights = Weights::open(&path).unwrap();
    let read = |name: String| {
        let tensor = weights.tensor(&name, None, Device::Cpu).unwrap();
        (name, tensor)
    };
    let mut tensors = weights.shapes().into_keys().map(read).collect();
    change(&mut tensors);
    let tensors = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor));
    write_weights(&path, tensors, &BTreeMap::new()).unwrap();
}

fn edit(folder: &Path, file: &str, from: &str, to: &str) {
    let text = fs::read_to_string(folder.join(file)).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(folder.join(file), text.replace(from, to)).unwrap();
}

#[test]
fn a_saved_model_opens_as_it_was() {
    for case in &CASES {
        for prediction in PREDICTIONS {
            let folder = TempDir::new().unwrap();
            let place = folder.path().join("a/new/folder");
            let model = model(&[], describe(case, prediction));
            model.save(&place).unwrap();
            assert_eq!(names(&place), FILES);
            same(&open(&place).unwrap(), &model);
            same(&open(place.join(WEIGHTS)).unwrap(), &model);
        }
    }
}

#[test]
fn the_file_of_weights_alone_is_a_model() {
    let (folder, model) = saved();
    let elsewhere = TempDir::new().unwrap();
    let file = elsewhere.path().join("alone.safetensors");
    fs::copy(folder.path().join(WEIGHTS), &file).unwrap();
    same(&open(&file).unwrap(), &model);
    rewrite(folder.path(), |_| ()); // without its metadata
    let text = sentence(open(folder.path().join(WEIGHTS)).unwrap_err());
    assert!(text.contains("is no model: its metadata have no config.json"), "{text}");
    same(&open(folder.path()).unwrap(), &model);
}

#[test]
fn a_model_saved_twice_is_the_same_bytes() {
    let (first, model) = saved();
    let second = TempDir::new().unwrap();
    open(first.path()).unwrap().save(second.path()).unwrap();
    model.save(first.path()).unwrap(); // over itself
    for file in FILES {
        let bytes = |folder: &TempDir| fs::read(folder.path().join(file)).unwrap();
        assert!(bytes(&first) == bytes(&second), "{file}");
    }
    let other = common::model(
        &[("\"attention_head_dim\": 4", "\"attention_head_dim\": 2")],
        describe(&VP, Prediction::V),
    );
    other.save(second.path()).unwrap();
    assert!(
        fs::read(first.path().join(WEIGHTS)).unwrap()
            != fs::read(second.path().join(WEIGHTS)).unwrap()
    );
}

#[test]
fn a_folder_of_diffusers_opens_without_a_description() {
    let (folder, model) = saved();
    fs::remove_file(folder.path().join("sde.toml")).unwrap();
    let opened = open(folder.path()).unwrap();
    assert!(opened.description.is_none());
    let pipeline = TempDir::new().unwrap();
    opened.save(pipeline.path().join("unet")).unwrap();
    assert_eq!(names(&pipeline.path().join("unet")), FILES[..2]);
    let text = model.description.as_ref().unwrap().to_toml().unwrap();
    fs::write(pipeline.path().join("sde.toml"), text).unwrap();
    same(&open(pipeline.path()).unwrap(), &model);
}

/// Weights in two files with an index, or under the name of half precision alone.
#[test]
fn weights_may_have_other_files() {
    let (folder, model) = saved();
    let one = folder.path().join(WEIGHTS);
    let fp16 = folder.path().join("diffusion_pytorch_model.fp16.safetensors");
    fs::rename(&one, &fp16).unwrap();
    same(&open(folder.path()).unwrap(), &model);
    let whole = Weights::open(&fp16).unwrap();
    let names: Vec<String> = whole.shapes().into_keys().collect();
    let mut map = BTreeMap::new();
    for (i, part) in names.chunks(names.len() / 2 + 1).enumerate() {
        let file = format!("part-{i}.safetensors");
        let tensor = |name: &String| whole.tensor(name, None, Device::Cpu).unwrap();
        let tensors: Vec<_> = part.iter().map(|name| (name, tensor(name))).collect();
        let tensors = tensors.iter().map(|(name, t)| (name.as_str(), t));
        write_weights(folder.path().join(&file), tensors, &BTreeMap::new()).unwrap();
        map.extend(part.iter().map(|name| (name.clone(), file.clone())));
    }
    fs::remove_file(fp16).unwrap();
    let index = serde_json::json!({"metadata": {}, "weight_map": map}).to_string();
    fs::write(folder.path().join(format!("{WEIGHTS}.index.json")), index).unwrap();
    same(&open(folder.path()).unwrap(), &model);
    fs::remove_file(folder.path().join("part-1.safetensors")).unwrap();
    let text = sentence(open(folder.path()).unwrap_err());
    assert!(text.contains("part-1.safetensors: No such file"), "{text}");
}

/// Pickled weights are code, and are not run.
#[test]
fn pickled_weights_are_refused() {
    let (folder, _) = saved();
    let bin = folder.path().join("diffusion_pytorch_model.bin");
    fs::rename(folder.path().join(WEIGHTS), bin).unwrap();
    let text = sentence(open(folder.path()).unwrap_err());
    assert!(text.contains("found diffusion_pytorch_model.bin, which is code"), "{text}");
}

#[test]
fn half_precision_is_read_as_f32() {
    for (kind, eps) in [(Kind::Half, 5e-4), (Kind::BFloat16, 4e-3), (Kind::Double, 0.0)] {
        let (folder, model) = saved();
        rewrite(folder.path(), |map| {
            map.values_mut().for_each(|t| *t = t.f_to_kind(kind).unwrap());
        });
        let opened = open(folder.path()).unwrap();
        let pairs = opened.parameters.tensors().into_iter().zip(model.parameters.tensors());
        let off = pairs.map(|(a, b)| {
            assert_eq!(a.kind(), Kind::Float);
            common::apart(&numbers(a), &numbers(b))
        });
        let off = off.fold(0.0, f64::max);
        assert!(off <= eps && (eps == 0.0 || off > eps / 100.0), "{kind:?} {off}");
    }
}

#[test]
fn integers_are_no_weights() {
    for kind in [Kind::Int64, Kind::Int8, Kind::Bool] {
        let text = broken(|folder| {
            rewrite(folder, |map| {
                let bias = map.get_mut("conv_out.bias").unwrap();
                *bias = bias.f_to_kind(kind).unwrap();
            });
        });
        assert!(
            text.contains("tensor `conv_out.bias` of ")
                && text.contains("expected F64, F32, F16 or BF16"),
            "{text}"
        );
    }
}

#[test]
fn old_names_are_read_as_todays() {
    let (folder, model) = saved();
    rewrite(folder.path(), |tensors| {
        let new =
            [("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn")];
        let old = std::mem::take(tensors).into_iter().map(|(name, tensor)| {
            let name = new.iter().fold(name, |name, (new, old)| name.replace(new, old));
            (format!("module.{name}"), tensor)
        });
        tensors.extend(old);
        assert!(tensors.keys().any(|name| name.contains(".proj_attn.weight")));
    });
    same(&model, &open(folder.path()).unwrap());
}

#[test]
fn what_is_not_there_is_named() {
    let nowhere = TempDir::new().unwrap();
    let text = sentence(open(nowhere.path().join("gone")).unwrap_err());
    assert!(text.contains("gone: No such file"), "{text}");
    let text = sentence(open(nowhere.path()).unwrap_err());
    assert!(text.contains("is no model: found no config.json in it"), "{text}");
    let text = broken(|folder| fs::remove_file(folder.join("config.json")).unwrap());
    assert!(text.contains("is no model: found no config.json in it"), "{text}");
    let text = broken(|folder| fs::remove_file(folder.join(WEIGHTS)).unwrap());
    assert!(text.contains(&format!("found no {WEIGHTS} in it")), "{text}");
}

#[test]
fn weights_that_are_no_whole_file_are_named() {
    let text = broken(|folder| {
        let bytes = fs::read(folder.join(WEIGHTS)).unwrap();
        fs::write(folder.join(WEIGHTS), &bytes[..bytes.len() - 1000]).unwrap();
    });
    assert!(text.contains("is not a whole safetensors file: found"), "{text}");
    for junk in
        ["<!DOCTYPE html><html>404</html>", "", "version https://git-lfs.github.com/spec/v1\n"]
    {
        let text = broken(|folder| fs::write(folder.join(WEIGHTS), junk).unwrap());
        assert!(text.contains("is not a whole safetensors file"), "{text}");
    }
}

#[test]
fn all_wrong_tensors_are_listed_at_once() {
    let text = broken(|folder| {
        rewrite(folder, |map| {
            drop(map.remove("conv_norm_out.bias").unwrap());
            drop(map.remove("mid_block.attentions.0.to_q.weight").unwrap());
            let old = map.remove("conv_in.weight").unwrap();
            map.insert("conv_in.wieght".into(), old);
            map.insert("ema.decay".into(), Tensor::from(0.5));
            let bias = map.get_mut("conv_out.bias").unwrap();
            *bias = bias.f_reshape([1, 1]).unwrap();
        });
    });
    for part in [
        "3 missing (conv_in.weight: did you mean conv_in.wieght?, conv_norm_out.bias, mid_block",
        "2 unexpected (conv_in.wieght, ema.decay)",
        "1 of another shape (conv_out.bias: found [1, 1], expected [1])",
    ] {
        assert!(text.contains(part), "{text}");
    }
    let text = broken(|folder| {
        edit(folder, "config.json", "\"layers_per_block\": 1", "\"layers_per_block\": 2");
    });
    assert!(text.contains(" missing (") && text.contains(", …)"), "{text}");
}

#[test]
fn an_entry_of_a_file_that_cannot_be_used_is_named_with_the_file() {
    let text = broken(|folder| edit(folder, "config.json", "AttnDownBlock2D", "Nothing"));
    assert!(text.contains("config.json: unknown variant `Nothing`"), "{text}");
    let text = broken(|folder| edit(folder, "sde.toml", "t_min", "tmin"));
    assert!(text.contains("sde.toml: unknown field `tmin`"), "{text}");
    let text = broken(|folder| {
        edit(folder, "sde.toml", "beta_min = 0.1", "beta_min = 0.1\nbeta_mid = 1.0");
    });
    assert!(text.contains("sde.toml: ") && text.contains("beta_mid"), "{text}");
    let text = broken(|folder| fs::write(folder.join("sde.toml"), "process = {").unwrap());
    assert!(text.contains("sde.toml: "), "{text}");
    let text = broken(|folder| fs::write(folder.join("sde.toml"), [0xff, 0xfe]).unwrap());
    assert!(text.contains("sde.toml: ") && text.contains("UTF-8"), "{text}");
}

#[test]
fn a_failed_save_leaves_no_part_of_a_file() {
    let (folder, model) = saved();
    let before: Vec<_> = FILES.map(|f| fs::read(folder.path().join(f)).unwrap()).to_vec();
    let text = sentence(model.save(folder.path().join("config.json")).unwrap_err());
    assert!(text.contains("config.json: "), "{text}");
    let blocked = TempDir::new().unwrap();
    fs::create_dir(blocked.path().join(WEIGHTS)).unwrap();
    let text = sentence(model.save(blocked.path()).unwrap_err());
    assert!(text.contains(WEIGHTS), "{text}");
    assert_eq!(names(blocked.path()), FILES);
    assert_eq!(names(&blocked.path().join(WEIGHTS)), [""; 0]);
    let weights = model.parameters.iter().map(|(n, t)| (n.to_owned(), t.shallow_clone()));
    let mut weights: BTreeMap<_, _> = weights.collect();
    let complex = Tensor::from(1.0).f_to_kind(Kind::ComplexDouble).unwrap();
    weights.insert("conv_in.bias".into(), complex);
    let config = model.architecture.as_ref().unwrap();
    let parameters = models::Parameters::from_map(weights, &config.layout().unwrap());
    models::model::save(folder.path(), config, model.description.as_ref(), &parameters)
        .unwrap_err();
    assert_eq!(names(folder.path()), FILES);
    let after: Vec<_> = FILES.map(|f| fs::read(folder.path().join(f)).unwrap()).to_vec();
    assert!(before == after, "the old files are as they were");
    same(&open(folder.path()).unwrap(), &model);
}
