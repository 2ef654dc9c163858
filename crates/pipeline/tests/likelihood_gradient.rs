//! The gradient of a network's likelihood: closed form for a network that says nothing, differences for one that does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use ndarray::{ArrayD, Axis, Slice};
use ode_solvers::{RK4, RK45, Trace};
use pipeline::models::tch::{Device, Tensor, no_grad};
use pipeline::models::torch_ext::runtime;
use pipeline::models::{Batch, Description, Model, UNetConfig};
use pipeline::network::{Gradient, GradientSettings, NetworkRun};
use sde_core::{Noise, Purpose, grid};

const CONFIG: &str = r#"{
    "sample_size": 8, "in_channels": 1, "out_channels": 1, "block_out_channels": [8, 16],
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D"], "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
    "layers_per_block": 1, "norm_num_groups": 4, "attention_head_dim": 8
}"#;

const MEANING: &str = r#"
    process = { name = "vp-linear", beta_min = 0.1, beta_max = 20.0 }
    prediction = "epsilon"
    label = "999t"
    shape = [1, 8, 8]
    t_min = 0.1
"#;

fn model() -> Model {
    runtime::set_threads(1);
    let config = UNetConfig::parse(CONFIG).unwrap();
    Model::fresh(config, Description::parse(MEANING).unwrap(), 3).unwrap()
}

fn normals(seed: u64, n: usize) -> ArrayD<f64> {
    let mut x = ArrayD::zeros(vec![n, 1, 8, 8]);
    let numbers: Vec<u64> = (0..n as u64).collect();
    Noise::new(seed, Purpose::Training).fill(&numbers, 0, &mut x).unwrap();
    x
}

fn run(model: &Model, batch: usize) -> NetworkRun<'_> {
    let description = model.description.as_ref().unwrap();
    NetworkRun {
        network: &*model.network,
        description,
        class: None,
        guidance: None,
        device: Device::Cpu,
        seed: 0,
        batch,
        t_min: description.t_min,
        t_max: 1.0,
        on_progress: &|_| (),
    }
}

fn gradient(
    model: &Model,
    (x, batch): (&ArrayD<f64>, usize),
    steps: u32,
    trace: Trace<'_, Batch>,
) -> Gradient {
    let run = run(model, batch);
    let grid = grid::log_snr(&*run.description.process, steps, run.t_min, run.t_max).unwrap();
    let settings = GradientSettings { method: &RK4, grid: &grid, trace };
    run.likelihood_gradient(&x.view(), &settings, Some(&model.parameters)).unwrap()
}

/// Sets a weight to something else.
fn set(model: &Model, name: &str, change: impl FnOnce(&Tensor) -> Tensor) {
    let (_, weight) = model.parameters.iter().find(|(other, _)| *other == name).unwrap();
    no_grad(|| weight.shallow_clone().f_copy_(&change(weight)).unwrap());
}

/// Without output ε = 0 and `v = (α'/α) x`: `log p = log N(r x; σ_T² I) + d ln r` with `r = α_T/α_0`, whatever the trace.
#[test]
fn a_network_that_says_nothing_has_a_normal_density() {
    let (model, x) = (model(), normals(2, 3));
    for name in ["conv_out.weight", "conv_out.bias"] {
        set(&model, name, |weight| weight.f_zeros_like().unwrap());
    }
    let process = &model.description.as_ref().unwrap().process;
    let (r, sigma) = (process.alpha(1.0) / process.alpha(0.1), process.sigma(1.0));
    let found = gradient(&model, (&x, 3), 60, Trace::signs(1, 4));
    let want = x.mapv(|x| -x * (r / sigma).powi(2));
    let size = want.iter().fold(0.0_f64, |m, g| m.max(g.abs()));
    let apart = (&found.data - &want).iter().fold(0.0_f64, |m, d| m.max(d.abs()));
    assert!(apart < 1e-4 * size, "{apart} {size}");
    for (found, x) in found.log_likelihood.iter().zip(x.outer_iter()) {
        let square: f64 = x.iter().map(|x| (r * x / sigma).powi(2)).sum();
        let normal = -0.5 * square - 32.0 * (std::f64::consts::TAU * sigma * sigma).ln();
        let want = normal + 64.0 * r.ln();
        assert!((found - want).abs() < 1e-2, "{found} {want}");
    }
    let bias = &found.weights["conv_out.bias"];
    assert!(bias.f_abs().unwrap().f_double_value(&[0]).unwrap() > 0.0); // it has a gradient all the same
}

#[test]
fn gradients_are_differences_of_the_number_that_they_belong_to() {
    let (model, x, trace) = (model(), normals(2, 2), Trace::signs(1, 4));
    let value = |x: &ArrayD<f64>| gradient(&model, (x, 2), 3, trace).log_likelihood;
    let found = gradient(&model, (&x, 2), 3, trace);
    let r = normals(6, 2);
    // exact to fourth order in h
    let slope = |f: &dyn Fn(f64) -> f64, h: f64| {
        (8.0 * (f(h) - f(-h)) - (f(2.0 * h) - f(-2.0 * h))) / (12.0 * h)
    };
    for i in 0..2 {
        let row = |x: &ArrayD<f64>| x.index_axis(Axis(0), i).to_owned();
        let (g, r_i) = (row(&found.data), row(&r));
        let (along, norm) = ((&g * &r_i).sum(), (&g * &g).sum().sqrt());
        let slope = slope(&|h| value(&(&x + &(&r * h)))[i], 1.6e-3); // f32 noise falls as 1/h
        assert!((along - slope).abs() < 2e-3 * norm, "{along} {slope} of {norm}");
    }
    for name in ["conv_in.weight", "mid_block.attentions.0.to_k.weight"] {
        let g = &found.weights[name];
        let norm = g.f_norm().unwrap().f_double_value(&[]).unwrap();
        let unit = g.f_div(&Tensor::from(norm)).unwrap();
        let moved = |h: f64| {
            let (_, weight) = model.parameters.iter().find(|(n, _)| *n == name).unwrap();
            let before = weight.f_detach().unwrap().f_mul(&Tensor::from(1.0)).unwrap();
            let step = unit.f_mul(&Tensor::from(h)).unwrap();
            set(&model, name, |weight| weight.f_add(&step).unwrap());
            let sum = value(&x).iter().sum::<f64>();
            set(&model, name, |_| before);
            sum
        };
        let slope = slope(&moved, 1.6e-3); // along the gradient itself: its norm
        assert!((norm - slope).abs() < 5e-3 * norm, "{name}: {norm} {slope}");
    }
}

/// In batches as together, and exact traces as the mean of all axes.
#[test]
fn batches_change_a_gradient_by_rounding() {
    let (model, x, trace) = (model(), normals(2, 3), Trace::signs(2, 4));
    let (together, cut) =
        (gradient(&model, (&x, 3), 3, trace), gradient(&model, (&x, 2), 3, trace));
    let size = together.data.iter().fold(0.0_f64, |m, g| m.max(g.abs()));
    let apart = (&together.data - &cut.data).iter().fold(0.0_f64, |m, d| m.max(d.abs()));
    assert!(apart < 1e-4 * size, "{apart} {size}");
    let a = &together.weights["conv_in.weight"];
    let norm = |t: &Tensor| t.f_norm().unwrap().f_double_value(&[]).unwrap();
    let apart = norm(&a.f_sub(&cut.weights["conv_in.weight"]).unwrap());
    assert!(apart < 1e-4 * norm(a), "{apart}");
    let one = x.slice_axis(Axis(0), Slice::from(..1)).to_owned();
    let one = gradient(&model, (&one, 1), 3, trace);
    assert!((one.log_likelihood[0] - together.log_likelihood[0]).abs() < 1e-3);
    // without weights, there are none; a grid of another interval is refused
    let run = run(&model, 3);
    let settings = GradientSettings { method: &RK45, grid: &[0.1, 0.5, 1.0], trace };
    assert!(run.likelihood_gradient(&x.view(), &settings, None).unwrap().weights.is_empty());
    let other = GradientSettings { grid: &[1e-3, 1.0], ..settings };
    let refused = run.likelihood_gradient(&x.view(), &other, None).unwrap_err().to_string();
    assert!(refused.contains("the grid's start"), "{refused}");
}
