//! What the tests of this crate share: a small network, processes with the labels of their networks, and batches of
//! fixed numbers.

#![allow(dead_code, reason = "each test uses a part")]
#![allow(clippy::unwrap_used, clippy::float_cmp)]
#![allow(clippy::cast_possible_wrap, clippy::cast_sign_loss)]

use models::sde_core::sde::Coefficients;
use models::sde_core::{Lanes, Noise, Prediction, Purpose};
use models::tch::{Device, Kind, Tensor};
use models::{Batch, Description, Model, UNetConfig};

/// Two levels, attention on the coarser one and in the middle, every kind of layer.
pub(crate) const CONFIG: &str = r#"{
    "in_channels": 1, "out_channels": 1, "block_out_channels": [8, 16], "norm_num_groups": 4,
    "layers_per_block": 1, "attention_head_dim": 4,
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "UpBlock2D"]
}"#;

/// A process as a file has it, and the label that its networks are told.
pub(crate) struct Case {
    pub(crate) process: &'static str,
    pub(crate) label: &'static str,
    /// The label of t, α, σ.
    pub(crate) told: fn(f64, f64, f64) -> f64,
}

pub(crate) const VP: Case = Case {
    process: r#"{ name = "vp-linear", beta_min = 0.1, beta_max = 20.0 }"#,
    label: "999t",
    told: |t, _, _| 999.0 * t,
};

pub(crate) const CASES: [Case; 7] = [
    VP,
    Case {
        process: r#"{ name = "sub-vp", beta_min = 0.1, beta_max = 20.0 }"#,
        label: "999t",
        told: |t, _, _| 999.0 * t,
    },
    Case {
        process: r#"{ name = "vp-cosine", s = 0.008 }"#,
        label: "c-noise",
        told: |_, alpha, sigma| 0.25 * (sigma / alpha).ln(),
    },
    Case { process: r#"{ name = "rectified" }"#, label: "t", told: |t, _, _| t },
    Case {
        process: r#"{ name = "ve", sigma_min = 0.01, sigma_max = 50.0 }"#,
        label: "sigma",
        told: |_, _, sigma| sigma,
    },
    Case {
        process: r#"{ name = "edm", sigma_max = 80.0 }"#,
        label: "c-noise",
        told: |_, _, sigma| 0.25 * sigma.ln(),
    },
    Case {
        process: r#"{ name = "ddpm-linear", T = 1000, beta_start = 1e-4, beta_end = 0.02 }"#,
        label: "index",
        told: |t, _, _| 1000.0 * t - 1.0,
    },
];

/// σ of the data in EDM's prediction.
pub(crate) const SIGMA_DATA: f64 = 0.8;

pub(crate) const PREDICTIONS: [Prediction; 6] = [
    Prediction::X0,
    Prediction::Epsilon,
    Prediction::Score,
    Prediction::V,
    Prediction::Velocity,
    Prediction::Edm { sigma_data: SIGMA_DATA },
];

pub(crate) fn describe(case: &Case, prediction: Prediction) -> Description {
    let text = format!(
        "process = {}\nprediction = \"epsilon\"\nlabel = \"{}\"\nshape = [1, 8, 8]\nt_min = 0.001",
        case.process, case.label
    );
    Description { prediction, ..Description::parse(&text).unwrap() }
}

/// The network of [`CONFIG`] with the changes `(from, to)` of its text.
pub(crate) fn model(changes: &[(&str, &str)], description: Description) -> Model {
    models::torch_ext::runtime::set_threads(1); // tests run beside each other
    let text = changes.iter().fold(CONFIG.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replace(from, to)
    });
    Model::fresh(UNetConfig::parse(&text).unwrap(), description, 5).unwrap()
}

pub(crate) fn normals(seed: u64, n: usize) -> Vec<f64> {
    let mut values = vec![0.0; n];
    Noise::new(seed, Purpose::Prior).normal(0, 0, &mut values);
    values
}

/// Row i is of the size of a noised sample under `k[i]`.
pub(crate) fn noised(seed: u64, k: &[Coefficients]) -> Batch {
    let mut x = normals(seed, 64 * k.len());
    for (row, k) in x.chunks_exact_mut(64).zip(k) {
        row.iter_mut().for_each(|x| *x *= k.sigma.hypot(SIGMA_DATA * k.alpha));
    }
    Batch::from_host(&x, &[k.len() as i64, 1, 8, 8], Device::Cpu).unwrap()
}

/// Times from the first to near the last, in no order.
pub(crate) fn times(description: &Description) -> Vec<f64> {
    [0.4, 0.05, 0.9, 0.65].map(|u| u * description.process.end()).to_vec()
}

pub(crate) fn coefficients(description: &Description, t: &[f64]) -> Vec<Coefficients> {
    t.iter().map(|&t| description.process.coefficients(t)).collect()
}

pub(crate) fn lanes<'a>(t: &'a [f64], sample: &'a [u64]) -> Lanes<'a> {
    Lanes { t, sample }
}

pub(crate) fn numbers(tensor: &Tensor) -> Vec<f64> {
    let tensor = tensor.f_detach().unwrap().f_to_kind(Kind::Double).unwrap();
    let tensor = tensor.f_contiguous().unwrap();
    let mut values = vec![0.0; tensor.numel()];
    tensor.f_copy_data(&mut values, tensor.numel()).unwrap();
    values
}

/// The largest difference.
pub(crate) fn apart(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let differences = a.iter().zip(b).map(|(a, b)| (a - b).abs());
    differences.fold(0.0, |a, b| if b.is_nan() || b > a { b } else { a })
}

/// An error's text, after checking that it is one sentence.
pub(crate) fn sentence(error: impl std::fmt::Display) -> String {
    let text = error.to_string();
    assert!(!text.is_empty() && !text.contains('\n') && text.len() < 1500, "{text}");
    text
}
