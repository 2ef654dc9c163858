//! `sde sample`: independence of the batch, reports, grids, samplers.

use super::*;

#[test]
fn a_sample_does_not_depend_on_its_company() {
    let folder = folder();
    for sampler in [
        "heun --grid log-snr --steps 10",
        "euler-maruyama --eta 0.7 --steps 10",
        "rk45 --rtol 1e-3 --atol 1e-3",
        "dpm++2m --grid log-snr --steps 8",
        "ddim --eta 0.5 --steps 8",
        "edm-heun --churn 4,0,1e3,1 --steps 5",
        "dpm++2m-sde --eta 0.5 --grid log-snr --steps 8",
        "seeds-2 --grid log-snr --steps 5",
        "pc --snr 0.1 --corrector-steps 2 --steps 5",
    ] {
        let args = format!("sample --model net --sampler {sampler} --seed 5");
        json(&folder, &format!("{args} --num 1 --out one.npy"));
        json(&folder, &format!("{args} --num 64 --out many.safetensors"));
        json(&folder, &format!("{args} --num 64 --batch 5 --out cut.npy"));
        let (one, many) = (samples(&folder, "one.npy"), samples(&folder, "many.safetensors"));
        assert_eq!(many.shape(), [64, 1, 8, 8]);
        let first = many.slice_axis(Axis(0), Slice::from(..1)).to_owned();
        let (a, b) = (
            largest_difference(&one, &first),
            largest_difference(&many, &samples(&folder, "cut.npy")),
        );
        assert!(a <= 1e-3 && b <= 1e-3, "{sampler}: {a:e} {b:e}");
        let second = many.slice_axis(Axis(0), Slice::from(1..2)).to_owned();
        assert!(largest_difference(&one, &second) > 0.1); // the control
    }
}

#[test]
fn sample_reports_what_it_did() {
    let folder = folder();
    let keys = format!(
        "{HEAD} n shape sampler grid steps rtol atol eta seed nfe nfe_per_sample accepted rejected status \
         images_per_second out"
    );
    let fixed =
        json(&folder, "sample --model net --sampler heun --steps 6 --num 3 --batch 2 --out a.npy");
    expect_keys(&fixed, &keys);
    assert_eq!(
        (&fixed["grid"], &fixed["steps"], &fixed["nfe"]),
        (&"uniform".into(), &6.into(), &24.into())
    );
    assert_eq!(fixed["nfe_per_sample"], serde_json::json!([12, 12, 12]));
    assert_eq!(fixed["status"], serde_json::json!(["done", "done", "done"]));
    for null in ["rtol", "atol", "eta"] {
        assert!(fixed[null].is_null());
    }
    let adaptive =
        json(&folder, "sample --model net --sampler rk23 --rtol 1e-2 --num 2 --out a.png");
    expect_keys(&adaptive, &keys);
    assert_eq!((&adaptive["rtol"], &adaptive["atol"]), (&0.01.into(), &1e-5.into()));
    assert!(adaptive["steps"].is_null() && adaptive["grid"].is_null());
    assert!(fs::read(folder.path().join("a.png")).unwrap().starts_with(b"\x89PNG"));
    let noisy =
        json(&folder, "sample --model net --sampler euler-maruyama --steps 4 --num 2 --out a.npy");
    assert_eq!((&noisy["eta"], &noisy["nfe"]), (&1.0.into(), &4.into()));
}

#[test]
fn noise_and_grids_come_from_files() {
    let folder = folder();
    let noise =
        ArrayD::from_shape_fn(vec![3, 1, 8, 8], |i| (i[0] + i[2]) as f64 / 8.0 - i[3] as f64 / 4.0);
    write_safetensors(folder.path().join("noise.safetensors"), "noise", &noise).unwrap();
    write_npy(folder.path().join("noise.npy"), &noise).unwrap();
    fs::write(folder.path().join("grid.txt"), "1\n0.5\n\n0.001\n").unwrap();
    let args = "sample --model net --sampler euler";
    let a = json(&folder, &format!("{args} --grid grid.txt --noise noise.safetensors --out a.npy"));
    assert_eq!((&a["n"], &a["steps"], &a["grid"]), (&3.into(), &2.into(), &"grid.txt".into()));
    json(&folder, &format!("{args} --grid grid.txt --noise noise.npy --clip unit --out b.npy"));
    let (a, b) = (samples(&folder, "a.npy"), samples(&folder, "b.npy"));
    assert!(a.iter().any(|y| y.abs() > 1.0));
    assert!(largest_difference(&a.mapv(|y| y.clamp(-1.0, 1.0)), &b) == 0.0);

    let refused = |args: &str, code, want: &str| {
        let found = complaint(&folder, &format!("sample --model net {args} --out c.npy"), code);
        assert!(found.contains(want), "{found}");
    };
    refused("--noise noise.npy --num 2", 2, "found --num 2, expected 3");
    refused("--noise grid.txt", 1, "expected .npy or .safetensors");
    write_npy(folder.path().join("flat.npy"), &ArrayD::<f64>::zeros(vec![3, 64])).unwrap();
    refused("--noise flat.npy", 1, "the noise has the shape [3, 64], expected [N, 1, 8, 8]");
    fs::write(folder.path().join("grid.txt"), "1\n0.5\n0.6\n").unwrap();
    refused("--grid grid.txt", 1, "found \"0.6\" in line 3, expected a time from 0 to below 0.5");
    assert!(!folder.path().join("c.npy").exists());
}

/// Steps along a path: the same in any batch, unless rounding decides whether one is accepted.
#[test]
fn adaptive_steps_do_not_depend_on_their_company() {
    let folder = folder();
    let args = "sample --model net --sampler adaptive-sde --rtol 0.1 --atol 0.3 --eta 0.5 --seed 5";
    json(&folder, &format!("{args} --num 8 --out whole.npy"));
    json(&folder, &format!("{args} --num 8 --batch 3 --out cut.npy"));
    let off = largest_difference(&samples(&folder, "whole.npy"), &samples(&folder, "cut.npy"));
    assert!(off <= 1e-3, "{off:e}");
}

/// An adaptive solve of the reverse SDE reports tolerances and the steps of each sample; η = 0 is the deterministic sampler.
#[test]
fn samplers_of_the_reverse_sde() {
    let folder = folder();
    let said = json(
        &folder,
        "sample --model net --sampler adaptive-sde --rtol 0.1 --atol 0.1 --num 3 --out a.npy",
    );
    assert_eq!((&said["eta"], &said["rtol"]), (&1.0.into(), &0.1.into()));
    assert!(said["steps"].is_null() && said["grid"].is_null());
    assert_eq!(said["status"], serde_json::json!(["done", "done", "done"]));
    for i in 0..3 {
        let count = |key: &str| said[key][i].as_u64().unwrap();
        assert_eq!(count("nfe_per_sample"), 2 * (count("accepted") + count("rejected")));
    }
    let draw = |sampler: &str, out: &str| {
        json(
            &folder,
            &format!("sample --model net --num 2 --steps 6 --out {out} --sampler {sampler}"),
        );
        samples(&folder, out)
    };
    for (noisy, plain) in [
        ("dpm++2m-sde --eta 0", "dpm++2m"),
        ("seeds-2 --eta 0", "dpm++2s"),
        ("stochastic-heun --eta 0", "heun"),
        ("euler-maruyama --eta 0", "euler"),
        ("pc --corrector-steps 0", "reverse-diffusion"),
    ] {
        let off = largest_difference(&draw(noisy, "a.npy"), &draw(plain, "b.npy"));
        assert!(off <= 1e-4, "{noisy}: {off:e}");
    }
    let off = largest_difference(&draw("seeds-2", "a.npy"), &draw("dpm++2s", "b.npy"));
    assert!(off > 0.1); // the control
}

/// N steps of a sampler are N evaluations for those that need one each, whatever the grid.
#[test]
fn samplers_on_noise_levels_count_their_steps() {
    let folder = folder();
    for (flags, nfe) in [
        ("--sampler ddim --steps 6", 6),
        ("--sampler ddim --steps 1", 1),
        ("--sampler ddpm --variance large --steps 6 --grid quadratic", 6),
        ("--sampler dpm++3m --steps 6 --grid karras", 6),
        ("--sampler unipc --steps 6 --grid log-snr", 6),
        ("--sampler edm-heun --steps 6", 11),
        ("--sampler ddim --steps 5 --grid leading --process ddpm-linear --label index", 5),
        ("--sampler ddim --steps 5 --grid trailing --process ddpm-linear --label index", 5),
        ("--sampler dpm++2m-sde --steps 6 --eta 0.5", 6),
        ("--sampler dpm++2m-sde --steps 5 --grid leading --process ddpm-linear --label index", 5),
        ("--sampler seeds-2 --steps 6", 11),
        ("--sampler reverse-diffusion --steps 6", 6),
        ("--sampler stochastic-heun --steps 6 --grid log-snr", 12),
        ("--sampler pc --steps 6", 12),
        ("--sampler pc --steps 6 --corrector-steps 0", 6),
        ("--sampler pc --steps 6 --corrector-steps 3 --corrector ald --snr 0.05", 24),
    ] {
        let said = json(&folder, &format!("sample --model net --num 3 --out a.npy {flags}"));
        assert_eq!(said["nfe"], nfe, "{flags}");
        assert_eq!(said["status"], serde_json::json!(["done", "done", "done"]), "{flags}");
    }
    for (flags, want) in [
        (
            "--sampler heun --steps 4 --eta 0.5",
            "found --eta with heun, expected it with ddim, dpm++2m-sde, seeds-2, euler-maruyama, reverse-diffusion, \
             stochastic-heun, pc and adaptive-sde only",
        ),
        ("--sampler dpm++2m --steps 4 --eta 0.5", "found --eta with dpm++2m"),
        (
            "--sampler seeds-2 --steps 4 --snr 0.1",
            "found --snr with seeds-2, expected it with pc only",
        ),
        ("--sampler heun --steps 4 --corrector-steps 2", "found --corrector-steps with heun"),
        ("--sampler heun --steps 4 --predictor euler-maruyama", "found --predictor with heun"),
        ("--sampler heun --steps 4 --corrector ald", "found --corrector with heun"),
        (
            "--sampler adaptive-sde --steps 4",
            "found --steps with adaptive-sde, expected --rtol and --atol",
        ),
        ("--sampler adaptive-sde --grid log-snr", "found --grid with adaptive-sde"),
        ("--sampler reverse-diffusion --steps 4 --grid leading", "reverse-diffusion has no labels"),
        (
            "--sampler ddpm --steps 4 --variance optimal",
            "the optimal variance needs the mean square of the score over data",
        ),
        (
            "--sampler ddim --steps 4 --variance large",
            "found --variance with ddim, expected it with ddpm only",
        ),
        (
            "--sampler ddim --steps 4 --churn 1,0,1,1",
            "found --churn with ddim, expected it with edm-euler and edm-heun only",
        ),
        ("--sampler edm-heun --steps 4 --churn 1,2", "expected S_churn,S_min,S_max,S_noise"),
        ("--sampler ddim --steps 4 --grid leading", "the process is no ddpm-* chain"),
        ("--sampler heun --steps 4 --grid leading", "heun has no labels"),
    ] {
        let args = format!("sample --model net --num 1 --out a.npy {flags}");
        let output = sde(&folder, &args);
        assert_eq!(output.status.code(), Some(2), "{flags}");
        assert!(text(&output.stderr).contains(want), "{flags}: {}", text(&output.stderr));
    }
}
