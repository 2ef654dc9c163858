//! `sde encode`, `sde decode` and `sde interpolate`; up to t = 0.3, since a fresh network stretches what is beyond.

use super::likelihood::points;
use super::*;

#[test]
fn a_round_trip_returns_the_data() {
    let folder = folder();
    let x = points(&folder, 2);
    let keys = format!("{HEAD} n nfe nfe_per_sample round_trip_max round_trip_rms out");
    let args = "encode --model net --data x.npy --t-max 0.3 --rtol 1e-6 --atol 1e-6";
    let there = json(&folder, &format!("{args} --check --out z.safetensors"));
    expect_keys(&there, &keys);
    assert_eq!((&there["n"], &there["out"]), (&2.into(), &"z.safetensors".into()));
    let [max, rms] = ["round_trip_max", "round_trip_rms"].map(|key| there[key].as_f64().unwrap());
    assert!(max < 5e-3 && rms <= max && rms > 0.0, "{max} {rms}");
    let args = "decode --model net --latents z.safetensors --t-max 0.3 --rtol 1e-6 --atol 1e-6";
    let back = json(&folder, &format!("{args} --out y.npy"));
    expect_keys(&back, &keys);
    assert!(back["round_trip_max"].is_null());
    let apart = largest_difference(&samples(&folder, "y.npy"), &x);
    assert!((apart - max).abs() < 1e-6, "{apart} {max}");
    assert!(there["nfe_per_sample"][0].as_u64().unwrap() > 12);
}

/// `decode` is what `sample` does with noise from a file.
#[test]
fn decoding_is_sampling_from_given_noise() {
    let folder = folder();
    points(&folder, 2);
    json(&folder, "encode --model net --data x.npy --solver heun --steps 5 --out z.npy");
    let decoded =
        json(&folder, "decode --model net --latents z.npy --solver heun --steps 5 --out a.npy");
    json(&folder, "sample --model net --noise z.npy --sampler heun --steps 5 --out b.npy");
    assert_eq!(samples(&folder, "a.npy"), samples(&folder, "b.npy"));
    assert_eq!(
        (&decoded["nfe"], &decoded["nfe_per_sample"]),
        (&10.into(), &serde_json::json!([10, 10]))
    );
}

#[test]
fn frames_lead_from_one_sample_to_the_other() {
    let folder = folder();
    let x = points(&folder, 4);
    let args =
        "interpolate --model net --data x.npy --t-max 0.3 --solver rk23 --rtol 1e-3 --atol 1e-3";
    let all = json(&folder, &format!("{args} --steps 3 --out f.npy"));
    expect_keys(&all, &format!("{HEAD} n pairs frames mode nfe nfe_per_sample out"));
    assert_eq!((&all["n"], &all["pairs"], &all["frames"]), (&6.into(), &2.into(), &3.into()));
    let frames = samples(&folder, "f.npy");
    assert_eq!(frames.shape(), [6, 1, 8, 8]);
    let pick = |array: &ArrayD<f64>, rows: &[usize]| array.select(Axis(0), rows);
    let apart = largest_difference(&pick(&frames, &[0, 2, 3, 5]), &x);
    assert!(apart < 0.1, "{apart}"); // the ends come back
    let straight = format!("{args} --steps 3 --mode linear --between 2,3");
    json(&folder, &format!("{straight} --out g.npy"));
    let line = samples(&folder, "g.npy");
    assert!(largest_difference(&pick(&line, &[0, 2]), &pick(&x, &[2, 3])) < 0.1);
    assert!(largest_difference(&pick(&line, &[1]), &pick(&frames, &[4])) > 0.01);
    json(&folder, &format!("{straight} --out g.png"));
    assert!(fs::read(folder.path().join("g.png")).unwrap().starts_with(b"\x89PNG"));
}

#[test]
fn what_the_flow_cannot_carry_is_refused() {
    let folder = folder();
    points(&folder, 3);
    for (args, code, want) in [
        ("encode --data x.npy --solver heun", 2, "found --solver heun, expected one that chooses"),
        ("encode --data x.npy --steps 3 --rtol 1e-3", 2, "found --steps beside --rtol or --atol"),
        ("decode --latents x.npy --solver magic", 2, "invalid value 'magic' for '--solver"),
        ("interpolate --data x.npy --steps 3", 2, "found 3 samples in --data, expected pairs"),
        ("interpolate --data x.npy --steps 3 --between 0,3", 2, "expected rows from 0 to 2"),
        ("interpolate --data x.npy --steps 3 --between 1,1", 2, "two different rows"),
        ("interpolate --data x.npy --steps 1", 2, "expected a whole number from 2"),
    ] {
        let found = complaint(&folder, &format!("{args} --model net --out z.npy"), code);
        assert!(found.contains(want), "{args}: {found}");
    }
    write_npy(folder.path().join("flat.npy"), &ArrayD::<f64>::zeros(vec![2, 64])).unwrap();
    let found = complaint(&folder, "decode --model net --latents flat.npy --out z.npy", 1);
    assert!(found.contains("the latents has the shape [2, 64], expected [N, 1, 8, 8]"), "{found}");
    assert!(!folder.path().join("z.npy").exists());
}
