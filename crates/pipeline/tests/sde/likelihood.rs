//! `sde likelihood`: reports, traces, dequantisation.

use super::*;

/// Float data of the shape [n, 1, 8, 8], so many test digits.
pub(super) fn points(folder: &TempDir, n: usize) -> ArrayD<f64> {
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
    let number = |key: &str| s[key].as_f64().unwrap();
    let sum = number("ode_error") + number("quadrature_error"); // the trace is exact
    assert!((number("half_width_95") - sum).abs() < 1e-12 && number("se") == 0.0);
    assert!(
        report["mean"]["half_width_95"].as_f64().unwrap() > report["mean"]["se"].as_f64().unwrap()
    );
    let people = sde(&folder, args);
    assert!(text(&people.stdout).contains("bits/dim") && people.status.success());
    assert!(text(&people.stdout).contains("most of it is from the "));
}

/// The same solve in f64, for as many samples as were asked for: part of the bias of their intervals.
#[test]
fn rounding_is_measured_where_it_is_asked_for() {
    let folder = folder();
    points(&folder, 3);
    let args = "likelihood --model net --data x.npy --trace exact --rtol 0.2 --atol 0.2 --batch 2";
    let report = json(&folder, &format!("{args} --float-check 1"));
    let of = |i: usize, key: &str| report["samples"][i][key].as_f64();
    let float = of(0, "float_error").unwrap();
    assert!(float > 0.0 && float < 1e-2, "{float}");
    let bias = of(0, "ode_error").unwrap() + of(0, "quadrature_error").unwrap() + float;
    assert!((of(0, "half_width_95").unwrap() - bias).abs() < 1e-12 * bias);
    assert_eq!((of(1, "float_error"), of(2, "float_error")), (None, None));
    let people = sde(&folder, &format!("{args} --float-check 3"));
    assert!(text(&people.stdout).contains(", rounding "));
}

/// The default: fresh probes at each node, and an interval that holds the exact value.
#[test]
fn intervals_hold_the_exact_value() {
    let folder = folder();
    points(&folder, 2);
    let args = "likelihood --model net --data x.npy";
    let tight = format!("{args} --trace exact --rtol 1e-3 --atol 1e-3");
    let exact = nats(&json(&folder, &tight));
    let report = json(&folder, &format!("{args} --probes 4 --rtol 1e-3 --atol 1e-3 --seed 3"));
    assert_eq!((&report["method"], &report["trace"]), (&"two-phase".into(), &"hutchinson".into()));
    for (exact, s) in exact.iter().zip(report["samples"].as_array().unwrap()) {
        let [value, half, se, dof] =
            ["log_likelihood", "half_width_95", "se", "dof"].map(|key| s[key].as_f64().unwrap());
        assert!((value - exact).abs() < half, "{value} ± {half} for {exact}");
        assert!(se > 0.0 && dof > 1.0 && half < 6.0 * se, "{half} {se}");
    }
    let one = json(&folder, &format!("{args} --probes 1 --rtol 1e-3 --atol 1e-3"));
    assert!(one["samples"][0]["half_width_95"].is_null() && one["samples"][0]["se"].is_null());
    let classical = json(&folder, &format!("{args} --method augmented --rtol 1e-3 --atol 1e-3"));
    assert!(classical["samples"][0]["ode_error"].is_null());
    assert!(classical["mean"]["half_width_95"].is_null());
    let refused = complaint(&folder, &format!("{args} --probe-file p.npy"), 2);
    assert!(refused.contains("expected --method augmented"), "{refused}");
}

#[test]
fn a_full_set_of_probes_is_the_exact_trace_and_random_ones_agree_with_it() {
    let folder = folder();
    points(&folder, 3);
    let args = "likelihood --model net --data x.npy --method augmented --solver rk23 --rtol 1e-2 --atol 1e-2";
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
fn dequantisations_of_the_command_line() {
    let folder = folder();
    let images = data::digits().test.images;
    let bytes: Vec<u8> = images.pixels().iter().take(64).copied().collect();
    let pixels = Tensor::from_slice(&bytes).reshape([1, 1, 8, 8]);
    let none = std::collections::BTreeMap::default();
    write_weights(folder.path().join("x.safetensors"), [("data", &pixels)], &none).unwrap();
    let args = "likelihood --model net --data x.safetensors --solver rk23 --rtol 1e-2 --atol 1e-2";
    let run = |noise: &str| json(&folder, &format!("{args} --dequantise {noise}"));
    let (uniform, normal, two) = (run("uniform"), run("truncated-normal"), run("importance:2"));
    for report in [&uniform, &normal, &two] {
        assert_eq!((&report["meaning"], &report["n"]), (&"discrete_lower_bound".into(), &1.into()));
    }
    // the mean of two ratios is at least half of the first, which is that of the uniform noise
    let [one, both] = [&uniform, &two].map(|report| nats(report)[0]);
    assert!(both > one - std::f64::consts::LN_2 - 1e-6, "{both} {one}");
    assert!((nats(&normal)[0] - one).abs() > 1.0); // narrow noise: another point, and its density
    let s = &two["samples"][0];
    assert!(s["se"].as_f64().unwrap() > 0.0 && s["dof"] == 1.0 && s["log_prior"].is_null());
    assert!(uniform["samples"][0]["int_div"].is_f64());
    for (flags, expected) in [
        ("importance:1", "importance:K with K from 2"),
        ("importance:2 --probes 1", "expected the exact trace"),
        ("importance:2 --trace hutchinson", "expected the exact trace"),
    ] {
        let found = complaint(&folder, &format!("{args} --dequantise {flags}"), 2);
        assert!(found.contains(expected), "{found}");
    }
}
