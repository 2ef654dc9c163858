//! Checkpoints with reference outputs: value and product with the Jacobian, as the reference libraries have them. Those of
//! diffusers are in `fixtures/unet2d`, those of other repositories in `fixtures/networks`.
//!
//! `UNET2D_CASES` names a directory of model directories, each with a `reference.safetensors`: `sample`, `timestep`,
//! optional `class_labels` and `vjp_vector`; expected `output` and `vjp`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use models::parameters::Place;
use models::tch::{Device, Kind, Tensor};
use models::torch_ext::{Weights, catch};
use models::{Classes, Error, Input, Model, vjp};

/// How a case is computed, and how far its output may be off: in the reference's own arithmetic in each layout, in f64, where
/// what differs is the reference's rounding of angles such as 999 rad to f32, and in bf16.
const RUNS: [(&str, f64, Place); 4] = [
    ("f32", 2e-5, Place::FILE),
    ("f64", 1e-3, Place { kind: Kind::Double, ..Place::FILE }),
    ("packed", 2e-5, Place { channels_last: true, packed: true, ..Place::FILE }),
    (
        "bf16",
        2e-2,
        Place { kind: Kind::BFloat16, channels_last: true, packed: true, ..Place::FILE },
    ),
];

/// The cases whose products are held to the tolerance of outputs in bf16 too. Those of other small networks with random
/// weights are steeper: diffusers in bf16 is off by 0.05 for attn-resnet-micro, 0.08 for class-identity-micro and 0.7 for
/// attn-skip-small-micro, where this library is off by 0.04, 0.1 and 0.03.
const PUBLIC: [&str; 3] = ["ddpm-micro", "ncsnpp-micro", "train-default-micro"];
const STEEP: f64 = 0.12;

fn main() -> ExitCode {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures");
    let folders = match std::env::var_os("UNET2D_CASES") {
        Some(folder) => vec![PathBuf::from(folder)],
        None => ["unet2d", "networks"].map(|name| fixtures.join(name)).to_vec(),
    };
    let entries = folders.iter().flat_map(|folder| {
        std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
    });
    let mut cases: Vec<_> = entries.map(|e| e.unwrap().path()).filter(|p| p.is_dir()).collect();
    cases.sort();
    let mut failed = 0;
    for case in &cases {
        let name = case.file_name().unwrap().to_string_lossy();
        match run(case) {
            Ok(report) => println!("ok      {name}: {report}"),
            Err(why) => {
                println!("FAILED  {name}: {why}");
                failed += 1;
            }
        }
    }
    println!("unet2d_cases: {} passed, {failed} failed", cases.len() - failed);
    if failed == 0 && !cases.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run(case: &Path) -> Result<String, String> {
    catch(|| compare(case)).map_err(|e: Error| e.to_string())?
}

fn compare(case: &Path) -> Result<Result<String, String>, Error> {
    let mut report = Vec::new();
    for (name, tolerance, place) in RUNS {
        let model = Model::open(case, Device::Cpu)?;
        if place != Place::FILE && model.architecture.is_none() {
            continue; // a TorchScript file keeps its arithmetic
        }
        let model = if place == Place::FILE { model } else { model.placed(place)? };
        match compare_in(case, &model, tolerance)? {
            Ok(found) => report.push(format!("{name} {found}")),
            Err(why) => return Ok(Err(format!("in {name} {why}"))),
        }
    }
    Ok(Ok(report.join("; ")))
}

fn compare_in(case: &Path, model: &Model, tolerance: f64) -> Result<Result<String, String>, Error> {
    let file = Weights::open(case.join("reference.safetensors"))?;
    let shapes = file.shapes();
    let tensor = |name: &str, kind| file.tensor(name, Some(kind), Device::Cpu);
    let label = numbers(&tensor("timestep", Kind::Double)?)?;
    let classes =
        shapes.contains_key("class_labels").then(|| class_labels(&file, model.network.kind()));
    let classes = classes.transpose()?;
    let whole = classes.as_ref().filter(|c| c.kind() == Kind::Int64).map(numbers).transpose()?;
    let whole: Option<Vec<i64>> = whole.map(|labels| labels.iter().map(|&c| c as i64).collect());
    let class = match (&whole, &classes) {
        (Some(labels), _) => Some(Classes::Labels(labels)),
        (None, vectors) => vectors.as_ref().map(Classes::Vectors),
    };
    let forward =
        |x: &Tensor| model.network.forward(Input { x, label: &label, class, train: None });
    let kind = model.network.kind();
    let x = tensor("sample", kind)?;
    let plain = models::tch::no_grad(|| forward(&x))?;
    let (y, product) = if shapes.contains_key("vjp_vector") {
        let (y, product) = vjp(forward, &x, &tensor("vjp_vector", kind)?)?;
        (y, Some(product))
    } else {
        (forward(&x)?, None)
    };
    let mut report = Vec::new();
    for (name, found) in [("output", Some(plain)), ("output", Some(y)), ("vjp", product)] {
        let Some(found) = found else { continue };
        let expected = tensor(name, Kind::Float)?;
        if found.size() != expected.size() {
            return Ok(Err(format!("{name}: {:?} for {:?}", found.size(), expected.size())));
        }
        let rows = expected.size().first().map_or(1, |&n| usize::try_from(n).unwrap().max(1));
        let mean = tolerance > 1e-3;
        let is_public = PUBLIC.iter().any(|public| case.ends_with(public));
        let tolerance = if mean && name == "vjp" && !is_public { STEEP } else { tolerance };
        let off = apart(&numbers(&found)?, &numbers(&expected)?, rows, mean);
        if off.is_nan() || off > tolerance {
            return Ok(Err(format!("{name} is off by {off:.1e}, expected at most {tolerance:e}")));
        }
        report.push(format!("{off:.0e}"));
    }
    Ok(Ok(report.join(" ")))
}

/// Whole numbers, or vectors of the network's kind.
fn class_labels(file: &Weights, kind: Kind) -> Result<Tensor, Error> {
    let classes = file.tensor("class_labels", None, Device::Cpu)?;
    Ok(if classes.kind() == Kind::Int64 { classes } else { classes.f_to_kind(kind)? })
}

/// The largest of the samples' differences. In f32 a difference is that of the entry which is off most, in units of the
/// sample's largest: what the reference itself differs by between one thread and two is below 1e-6 of that, and is 5e-5 of
/// small numbers beside large ones. In bf16, whose roundings are many and independent, it is the root of the mean square.
fn apart(found: &[f64], expected: &[f64], rows: usize, mean: bool) -> f64 {
    let width = (expected.len() / rows).max(1);
    let worst = |values: &mut dyn Iterator<Item = f64>| {
        values.fold(0.0, |m: f64, d| if d.is_nan() || d > m { d } else { m })
    };
    let norm = |values: &[f64]| values.iter().map(|x| x * x).sum::<f64>().sqrt();
    let of_row = |(found, expected): (&[f64], &[f64])| {
        let off: Vec<f64> = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).collect();
        if mean {
            norm(&off) / norm(expected)
        } else {
            let size = expected.iter().fold(1.0, |m: f64, b| m.max(b.abs()));
            worst(&mut off.iter().map(|d| d / size))
        }
    };
    worst(&mut found.chunks(width).zip(expected.chunks(width)).map(of_row))
}

fn numbers(tensor: &Tensor) -> Result<Vec<f64>, Error> {
    let tensor = tensor.f_to_kind(Kind::Double)?.f_contiguous()?;
    let mut values = vec![0.0; tensor.numel()];
    tensor.f_copy_data(&mut values, tensor.numel())?;
    Ok(values)
}
