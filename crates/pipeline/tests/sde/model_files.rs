//! Where a model and its meaning come from, and what `sde info` and `--help` say.

use super::*;

#[test]
fn the_safetensors_file_alone_is_a_model() {
    let folder = folder();
    json(&folder, "sample --model net --sampler euler --steps 3 --num 2 --out a.npy");
    let file = "net/diffusion_pytorch_model.safetensors";
    json(&folder, &format!("sample --model {file} --sampler euler --steps 3 --num 2 --out b.npy"));
    assert_eq!(samples(&folder, "a.npy"), samples(&folder, "b.npy"));
}

#[test]
fn a_schedulers_file_says_what_a_network_means() {
    let folder = folder();
    let net = folder.path().join("net");
    fs::remove_file(net.join("sde.toml")).unwrap();
    fs::write(
        folder.path().join("scheduler_config.json"),
        r#"{"_class_name": "DDPMScheduler", "beta_schedule": "linear", "beta_start": 0.0001, "beta_end": 0.02,
            "num_train_timesteps": 500, "prediction_type": "v_prediction", "clip_sample": true}"#,
    )
    .unwrap();
    let info = json(&folder, "info --model net --beta-max 0.03");
    let model = &info["model"];
    assert_eq!(model["process"]["name"], "ddpm-linear");
    assert_eq!(
        (&model["process"]["T"], &model["process"]["beta_end"]),
        (&500.into(), &0.03.into())
    );
    assert_eq!((&model["prediction"], &model["label"]), (&"v".into(), &"index".into()));
    assert_eq!((&model["t_min"], &model["shape"]), (&0.002.into(), &serde_json::json!([1, 8, 8])));
    let said = sde(&folder, "sample --model net --sampler euler --steps 3 --num 2 --out a.npy");
    assert!(said.status.success() && text(&said.stderr).contains("ddpm-linear"));
    let info = json(&folder, "info --model net --process vp-linear --label 999t");
    assert_eq!(info["model"]["process"]["name"], "vp-linear");
}

#[test]
fn info_says_what_there_is() {
    let folder = folder();
    let info = json(&folder, "info");
    expect_keys(&info, &format!("{HEAD} libtorch cuda speed model"));
    assert!(info["model"].is_null());
    let info = json(&folder, "info --model net");
    let model = &info["model"];
    assert_eq!((&model["class"], &model["label"]), (&"UNet2DModel".into(), &"999t".into()));
    assert_eq!((&model["levels"], &model["t_min"]), (&17.into(), &1e-3.into()));
    let bare = json(&folder, &format!("info --model {}", fixture("ddpm-micro").display()));
    assert!(
        bare["model"]["process"].is_null() && bare["model"]["parameters"].as_u64() > Some(1000)
    );
}

#[test]
fn help_ends_with_an_example() {
    let folder = folder();
    for command in [
        "sample",
        "likelihood",
        "encode",
        "decode",
        "interpolate",
        "edit",
        "inpaint",
        "eval",
        "train",
        "info",
        "verify",
        "bench",
        "compare",
    ] {
        let output =
            Command::new(env!("CARGO_BIN_EXE_sde")).args([command, "--help"]).output().unwrap();
        let help = text(&output.stdout);
        let last = help.lines().last().unwrap();
        assert!(
            output.status.success() && last.starts_with(&format!("Example: sde {command} ")),
            "{last}"
        );
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}
