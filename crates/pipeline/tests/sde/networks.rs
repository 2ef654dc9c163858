//! Models of every kind through the program, its arithmetics and layouts, and what they cost.

use super::*;

/// A copy of a fixture as the model `net2`, with a file beside it.
fn with_file(folder: &TempDir, fixture: &Path, name: &str, text: &str) {
    let net = folder.path().join("net2");
    fs::create_dir_all(&net).unwrap();
    for entry in fs::read_dir(fixture).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), net.join(entry.file_name())).unwrap();
    }
    if !name.is_empty() {
        fs::write(net.join(name), text).unwrap();
    }
}

/// The scheduler of variance exploding says the noise levels; its networks are scores that are told σ.
#[test]
fn a_scheduler_of_variance_exploding_describes_its_network() {
    let folder = folder();
    let scheduler = r#"{"_class_name": "ScoreSdeVeScheduler", "num_train_timesteps": 2000, "snr": 0.15,
        "sigma_min": 0.01, "sigma_max": 380.0, "sampling_eps": 1e-5, "correct_steps": 1}"#;
    with_file(&folder, &fixture("ncsnpp-micro"), "scheduler_config.json", scheduler);
    let info = json(&folder, "info --model net2");
    let model = &info["model"];
    assert_eq!(
        (&model["process"]["name"], &model["process"]["sigma_max"]),
        (&"ve".into(), &380.0.into())
    );
    assert_eq!((&model["prediction"], &model["label"]), (&"score".into(), &"sigma".into()));
    let drawn = json(
        &folder,
        "sample --model net2 --sampler edm-heun --grid karras --steps 3 --num 2 --out a.npy",
    );
    assert_eq!((&drawn["n"], &drawn["shape"]), (&2.into(), &model["shape"]));
    assert!(samples(&folder, "a.npy").iter().all(|x| x.is_finite()));
}

/// A TorchScript file with its description, of vectors, with classes.
#[test]
fn a_script_is_a_model() {
    let folder = folder();
    with_file(&folder, &fixture("../networks/torchscript"), "", "");
    let info = json(&folder, "info --model net2");
    assert_eq!(
        (&info["model"]["class"], &info["model"]["classes"]),
        (&"TorchScript".into(), &2.into())
    );
    let draw = "--class 1 --sampler heun --steps 5 --num 4 --out";
    json(&folder, &format!("sample --model net2 {draw} a.npy"));
    json(&folder, &format!("sample --model net2/net.ts {draw} b.npy"));
    assert_eq!(samples(&folder, "a.npy").shape(), [4, 2]);
    assert_eq!(samples(&folder, "a.npy"), samples(&folder, "b.npy"));
    let said = complaint(&folder, &format!("sample --model net2 --dtype bf16 {draw} c.npy"), 1);
    assert!(said.contains("expected those in which the TorchScript network was saved"), "{said}");
}

/// Layouts differ by rounding, bf16 by more, and the report says which it was.
#[test]
fn arithmetic_and_layout_are_a_choice() {
    let folder = folder();
    let draw = |flags: &str, out: &str| {
        let args =
            format!("sample --model net --sampler heun --steps 4 --num 3 {flags} --out {out}");
        (json(&folder, &args), samples(&folder, out))
    };
    let (_, plain) = draw("--layout nchw", "a.npy");
    for layout in ["nhwc", "packed", "auto"] {
        let (report, found) = draw(&format!("--layout {layout}"), "b.npy");
        assert_eq!(report["dtype"], "f32");
        assert!(largest_difference(&found, &plain) < 1e-4, "{layout}");
    }
    let (report, half) = draw("--dtype bf16", "c.npy");
    assert_eq!(report["dtype"], "bf16");
    let off = largest_difference(&half, &plain);
    let size = plain.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
    assert!(off > 1e-5 * size && off < 0.2 * size, "{off} of {size}");
    let speed = |flags: &str| json(&folder, &format!("info --model net {flags}"))["speed"].clone();
    assert_eq!(speed(""), "f32, strict: no TF32; channels last, weights packed for oneDNN");
    assert!(speed("--dtype bf16 --layout nhwc").as_str().unwrap().starts_with("bf16, "));
    let said = complaint(&folder, "info --dtype f16", 2);
    assert!(said.contains("f16") && said.contains("bf16"), "{said}");
}

#[test]
fn a_bench_has_times() {
    let folder = folder();
    let bench = json(&folder, "bench --model net --batch 2 --repeat 3 --sampler ddim --steps 2");
    expect_keys(&bench, &format!("{HEAD} batch repeat eval_ms vjp_ms run_ms nfe overhead_percent"));
    for key in ["eval_ms", "vjp_ms", "run_ms"] {
        let (median, min) = (bench[key]["median"].as_f64(), bench[key]["min"].as_f64());
        assert!(min > Some(0.0) && median >= min, "{bench}");
    }
    assert_eq!(
        (&bench["batch"], &bench["repeat"], &bench["nfe"]),
        (&2.into(), &3.into(), &2.into())
    );
    let bare =
        json(&folder, &format!("bench --model {} --repeat 1", fixture("ddpm-micro").display()));
    assert!(
        bare["run_ms"].is_null() && bare["nfe"].is_null() && bare["overhead_percent"].is_null()
    );
    let said = complaint(&folder, "bench --model net --sampler adaptive-sde", 2);
    assert!(said.contains("expected one that goes by steps"), "{said}");
}
