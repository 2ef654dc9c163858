//! `sde eval`: a network's output, and its product with a cotangent, for arrays from a file.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use pipeline::models::tch::{Kind, Tensor, no_grad};
use pipeline::models::torch_ext::{Weights, write_weights};
use pipeline::models::{Classes, Input, Model, vjp};
use pipeline::output::prepare;
use serde::Serialize;

use crate::flags::Common;
use crate::session::Session;

/// Flags of `eval`.
#[derive(Debug, Args)]
#[command(after_help = "\
The input holds `sample` F32 [B, C, H, W], `timestep` F32 or I64 [B], for models with classes `class_labels` I64 [B], and
for a product with the Jacobian `vjp_vector` F32 of the output's shape. The output file has `output`, and
`vjp` = ∂⟨output, vjp_vector⟩/∂sample. The model needs no sde.toml.

Example: sde eval --model google/ddpm-cifar10-32 --input in.safetensors --out out.safetensors --json")]
pub(crate) struct EvalFlags {
    /// A model's directory, or its safetensors file as `sde train` writes it.
    #[arg(long, value_name = "DIR|FILE")]
    model: PathBuf,
    /// The arrays to evaluate on.
    #[arg(long, value_name = "FILE.safetensors")]
    input: PathBuf,
    /// Where the results go.
    #[arg(long, value_name = "FILE.safetensors", value_parser = safetensors)]
    out: PathBuf,
}

fn safetensors(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    match path.extension() {
        Some(e) if e.eq_ignore_ascii_case("safetensors") => Ok(path),
        _ => Err("expected a file name ending in .safetensors".into()),
    }
}

/// The JSON of `eval`.
#[derive(Serialize)]
struct Evaluated<'a> {
    n: i64,
    shape: Vec<i64>,
    has_vjp: bool,
    milliseconds: f64,
    out: &'a Path,
}

/// The classes of the rows, as the network takes them.
enum ClassArray {
    Labels(Vec<i64>),
    Vectors(Tensor),
}

/// What the network is evaluated on.
struct Arrays {
    sample: Tensor,
    labels: Vec<f64>,
    classes: Option<ClassArray>,
    cotangent: Option<Tensor>,
}

/// Evaluates a network.
///
/// # Errors
/// A model or file that cannot be used.
pub(crate) fn run(flags: &EvalFlags, common: &Common) -> Result<(), Box<dyn Error>> {
    let session = Session::open("eval", common)?;
    let model = session.model(&flags.model)?;
    let arrays = Arrays::read(&flags.input, &session)?;
    prepare(&flags.out)?;
    let begun = Instant::now();
    let (output, product) = arrays.evaluate(&model, &flags.input, &session)?;
    let milliseconds = 1e3 * begun.elapsed().as_secs_f64();

    let mut tensors = vec![("output", &output)];
    tensors.extend(product.as_ref().map(|product| ("vjp", product)));
    write_weights(&flags.out, tensors, &BTreeMap::new())?;
    let shape = output.size();
    let report = Evaluated {
        n: shape[0],
        shape: shape[1..].to_vec(),
        has_vjp: product.is_some(),
        milliseconds,
        out: &flags.out,
    };
    let what = if report.has_vjp { "output and vjp" } else { "output" };
    let text = format!("{what} {shape:?} in {milliseconds:.1} ms to {}\n", flags.out.display());
    session.report(&report, &text)
}

impl Arrays {
    fn read(path: &Path, session: &Session<'_>) -> Result<Self, Box<dyn Error>> {
        let file = File { weights: Weights::open(path)?, path, session };
        let sample = file.tensor("sample", &[Kind::Float])?;
        let shape = sample.size();
        if shape.len() != 4 || shape.contains(&0) {
            return Err(file
                .wrong("sample", &shape, "[B, C, H, W] without an axis of length 0")
                .into());
        }
        let n = shape[0];
        let labels = file.rows("timestep", n, &[Kind::Float, Kind::Double, Kind::Int64])?;
        let classes = match file.optional("class_labels", &[Kind::Int64, Kind::Float])? {
            Some(vectors) if vectors.kind() == Kind::Float => Some(ClassArray::Vectors(vectors)),
            Some(_) => {
                let labels = file.rows("class_labels", n, &[Kind::Int64])?;
                let labels = labels.iter().map(|&k| k as i64); // whole numbers, read as such
                Some(ClassArray::Labels(labels.collect()))
            }
            None => None,
        };
        let cotangent = file.optional("vjp_vector", &[Kind::Float])?;
        Ok(Self { sample, labels, classes, cotangent })
    }

    /// Output and product, computed in batches on the device, on the host.
    fn evaluate(
        &self,
        model: &Model,
        path: &Path,
        session: &Session<'_>,
    ) -> Result<(Tensor, Option<Tensor>), Box<dyn Error>> {
        let cotangent = self.cotangent(model, path, session)?;
        let n = self.labels.len();
        let batch = session.common.batch_or(n);
        let (mut outputs, mut products) = (Vec::new(), Vec::new());
        for first in (0..n).step_by(batch) {
            let rows = first..(first + batch).min(n);
            let [start, len] =
                [rows.start, rows.len()].map(|n| i64::try_from(n).unwrap_or(i64::MAX));
            let part = |t: &Tensor| t.f_narrow(0, start, len);
            let label = &self.labels[rows.clone()];
            let vectors = match &self.classes {
                Some(ClassArray::Vectors(vectors)) => Some(part(vectors)?),
                _ => None,
            };
            let class = match &self.classes {
                Some(ClassArray::Labels(labels)) => Some(Classes::Labels(&labels[rows.clone()])),
                _ => vectors.as_ref().map(Classes::Vectors),
            };
            let forward =
                |x: &Tensor| model.network.forward(Input { x, label, class, train: None });
            let x = part(&self.sample)?;
            let output = if let Some(u) = cotangent {
                let (output, product) = vjp(forward, &x, &part(u)?)?;
                products.push(on_host(&product)?);
                output
            } else {
                no_grad(|| forward(&x))?
            };
            outputs.push(on_host(&output)?);
        }
        let product = (!products.is_empty()).then(|| Tensor::f_cat(&products, 0)).transpose();
        let product = product.map_err(pipeline::models::torch_ext::Error::from)?;
        Ok((Tensor::f_cat(&outputs, 0)?, product))
    }

    /// The cotangent, if it has the shape of the output. One that has only the sample's belongs to another network.
    fn cotangent(
        &self,
        model: &Model,
        path: &Path,
        session: &Session<'_>,
    ) -> Result<Option<&Tensor>, Box<dyn Error>> {
        let Some(u) = &self.cotangent else { return Ok(None) };
        let sample = self.sample.size();
        let mut output = sample.clone();
        output[1] = model.channels().1;
        let found = u.size();
        if found == output {
            return Ok(Some(u));
        }
        if found != sample {
            let path = path.display();
            return Err(format!(
                "{path}: `vjp_vector` has the shape {found:?}, expected {output:?} as the output"
            )
            .into());
        }
        session
            .say(&format!("no vjp: `vjp_vector` has the shape {found:?}, the output {output:?}"));
        Ok(None)
    }
}

fn on_host(tensor: &Tensor) -> Result<Tensor, pipeline::models::torch_ext::Error> {
    Ok(tensor.f_detach()?.f_to_device(pipeline::models::tch::Device::Cpu)?)
}

/// The input file.
struct File<'a> {
    weights: Weights,
    path: &'a Path,
    session: &'a Session<'a>,
}

impl File<'_> {
    fn wrong(&self, name: &str, found: &dyn std::fmt::Debug, expected: &str) -> String {
        format!("{}: `{name}` has the shape {found:?}, expected {expected}", self.path.display())
    }

    /// A tensor on the device, its elements of one of these kinds.
    fn tensor(&self, name: &str, kinds: &[Kind]) -> Result<Tensor, Box<dyn Error>> {
        let tensor = self.weights.tensor(name, None, self.session.device)?;
        let found = tensor.f_kind().map_err(pipeline::models::torch_ext::Error::from)?;
        if kinds.contains(&found) {
            return Ok(tensor);
        }
        let expected: Vec<_> = kinds.iter().map(|kind| format!("{kind:?}")).collect();
        let (path, expected) = (self.path.display(), expected.join(" or "));
        Err(format!("{path}: `{name}` has elements of type {found:?}, expected {expected}").into())
    }

    fn optional(&self, name: &str, kinds: &[Kind]) -> Result<Option<Tensor>, Box<dyn Error>> {
        let there = self.weights.shapes().contains_key(name);
        there.then(|| self.tensor(name, kinds)).transpose()
    }

    /// One number for each sample, never rounded.
    fn rows(&self, name: &str, n: i64, kinds: &[Kind]) -> Result<Vec<f64>, Box<dyn Error>> {
        let tensor = self.tensor(name, kinds)?;
        if tensor.size() != [n] {
            return Err(self
                .wrong(name, &tensor.size(), &format!("[{n}], one for each sample"))
                .into());
        }
        let tensor = on_host(&tensor)?.f_to_kind(Kind::Double);
        let tensor = tensor.map_err(pipeline::models::torch_ext::Error::from)?;
        let mut values = vec![0.0; tensor.numel()];
        tensor
            .f_copy_data(&mut values, tensor.numel())
            .map_err(pipeline::models::torch_ext::Error::from)?;
        Ok(values)
    }
}
