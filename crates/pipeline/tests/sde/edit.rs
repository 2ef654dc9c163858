//! `sde edit`, `sde inpaint`, and guidance by classes.

#![allow(clippy::float_cmp, reason = "what is kept is kept bit for bit")]

use super::likelihood::points;
use super::*;

const DRAWN: &str = "n shape sampler grid steps rtol atol eta seed nfe nfe_per_sample accepted rejected status \
                     images_per_second out";

/// A folder with a model of four classes.
fn folder_of_classes() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let config =
        CONFIG.replace("\"layers_per_block\"", "\"num_class_embeds\": 4, \"layers_per_block\"");
    let config = UNetConfig::parse(&config).unwrap();
    let model = Model::fresh(config, Description::parse(MEANING).unwrap(), 3).unwrap();
    model.save(folder.path().join("net")).unwrap();
    folder
}

#[test]
fn the_strength_says_how_much_is_left() {
    let folder = folder();
    let x = points(&folder, 3);
    let args = "edit --model net --data x.npy --seed 2";
    let mut moved = vec![0.0];
    for strength in ["0.01", "0.1", "0.6"] {
        let flags = format!("--strength {strength} --sampler euler-maruyama --steps 8 --out a.npy");
        let said = json(&folder, &format!("{args} {flags}"));
        expect_keys(&said, &format!("{HEAD} {DRAWN} strength t"));
        assert_eq!((&said["t"], &said["nfe"]), (&said["strength"], &8.into())); // t_max is 1
        let distance = (&samples(&folder, "a.npy") - &x).mapv(|e| e * e).sum().sqrt();
        assert!(distance > 1.2 * moved.last().unwrap(), "{strength}: {distance} {moved:?}");
        moved.push(distance);
    }
    let adaptive = "--strength 0.1 --sampler rk23 --rtol 1e-2 --atol 1e-2";
    json(&folder, &format!("{args} {adaptive} --out a.npy"));
    json(&folder, &format!("{args} {adaptive} --batch 2 --out b.npy"));
    let apart = largest_difference(&samples(&folder, "a.npy"), &samples(&folder, "b.npy"));
    assert!(apart < 1e-3, "{apart}");
    json(
        &folder,
        &format!("{args} --strength 0.2 --sampler dpm++2m --grid karras --steps 4 --out a.png"),
    );
}

/// Where α = 0 at the end nothing of the data is left at strength 1: the same start as that of `sample`.
#[test]
fn a_full_edit_is_a_sample() {
    let folder = folder();
    points(&folder, 2);
    let flags = "--model net --process rectified --prediction x0 --sampler ddim --eta 0.5 --steps 4 --seed 8";
    json(&folder, &format!("edit {flags} --data x.npy --strength 1 --out a.npy"));
    json(&folder, &format!("sample {flags} --num 2 --out b.npy"));
    assert_eq!(samples(&folder, "a.npy"), samples(&folder, "b.npy"));
}

#[test]
fn known_pixels_are_kept_and_the_others_are_drawn() {
    let folder = folder();
    let x = points(&folder, 2);
    let mask = ArrayD::from_shape_fn(vec![8, 8], |i| if i[0] < 4 { 1.0 } else { 0.0 });
    write_npy(folder.path().join("mask.npy"), &mask).unwrap();
    let whole = mask.broadcast(x.raw_dim()).unwrap().to_owned();
    write_safetensors(folder.path().join("mask.safetensors"), "mask", &whole).unwrap();
    let args = "inpaint --model net --data x.npy --steps 4 --resample 2 --num 2 --seed 4";
    let said = json(&folder, &format!("{args} --mask mask.npy --out a.npy"));
    expect_keys(&said, &format!("{HEAD} {DRAWN} num resample known"));
    assert_eq!((&said["n"], &said["num"], &said["nfe"]), (&4.into(), &2.into(), &7.into()));
    assert_eq!((&said["known"], &said["sampler"]), (&0.5.into(), &"ddpm".into()));
    let found = samples(&folder, "a.npy");
    for (i, (row, full)) in found.outer_iter().zip([0, 0, 1, 1]).enumerate() {
        let kept = row.iter().zip(x.index_axis(Axis(0), full)).zip(&mask);
        assert!(kept.clone().all(|((a, b), m)| *m == 0.0 || a == b), "{i}");
        assert!(kept.clone().all(|((a, b), m)| *m == 1.0 || a != b), "{i}");
    }
    let row = |i: usize| found.select(Axis(0), &[i]);
    assert!(largest_difference(&row(0), &row(1)) > 0.1); // two samples of one image
    json(&folder, &format!("{args} --mask mask.safetensors --batch 3 --out b.npy"));
    let apart = largest_difference(&found, &samples(&folder, "b.npy"));
    assert!(apart < 1e-3, "{apart}");
    json(&folder, &format!("{args} --mask mask.npy --sampler edm-heun --out a.png"));
}

#[test]
fn guidance_goes_from_no_class_through_the_class() {
    let folder = folder_of_classes();
    let args = "sample --model net --sampler heun --t-max 0.5 --steps 3 --num 2 --seed 1";
    let draw = |flags: &str| {
        json(&folder, &format!("{args} {flags} --out a.npy"));
        samples(&folder, "a.npy")
    };
    let (class, none) = (draw("--class 1"), draw("--class 3"));
    assert!(largest_difference(&class, &none) > 1e-2);
    assert_eq!(draw("--class 1 --guidance 1"), class);
    let forgotten = largest_difference(&draw("--class 1 --guidance 0"), &none);
    assert!(forgotten < 1e-3, "{forgotten}");
    assert!(largest_difference(&draw("--class 1 --guidance 4"), &class) > 1e-2);
    points(&folder, 2);
    let edit = "edit --model net --data x.npy --strength 0.3 --steps 3 --sampler heun";
    json(&folder, &format!("{edit} --class 1 --guidance 2 --out a.npy"));
    let found = complaint(&folder, &format!("{args} --class 3 --guidance 2 --out b.npy"), 2);
    assert!(
        found.contains("found --class 3 with --guidance, expected a class before 3"),
        "{found}"
    );
    let found = complaint(&folder, &format!("{args} --guidance 2 --out b.npy"), 2);
    assert!(found.contains("--class is missing: the model has the classes 0 to 3"), "{found}");
}

/// log p(x | c) is that of the flow of the class.
#[test]
fn likelihoods_are_those_of_the_class() {
    let folder = folder_of_classes();
    points(&folder, 2);
    let args =
        "likelihood --model net --data x.npy --t-max 0.5 --solver rk23 --rtol 1e-2 --atol 1e-2";
    let nats = |flags: &str| -> Vec<f64> {
        let report = json(&folder, &format!("{args} {flags}"));
        let samples = report["samples"].as_array().unwrap();
        samples.iter().map(|s| s["log_likelihood"].as_f64().unwrap()).collect()
    };
    let (zero, one) = (nats("--class 0"), nats("--class 1"));
    assert!(zero.iter().zip(&one).all(|(a, b)| (a - b).abs() > 1e-2), "{zero:?} {one:?}");
    let cut = nats("--class 1 --batch 1");
    assert!(one.iter().zip(&cut).all(|(a, b)| (a - b).abs() < 1e-2), "{one:?} {cut:?}");
    let found = complaint(&folder, &format!("{args} --class 4"), 2);
    assert!(found.contains("found --class 4, expected a class from 0 to 3"), "{found}");
}

#[test]
fn what_cannot_be_edited_is_refused() {
    let folder = folder();
    points(&folder, 2);
    fs::write(folder.path().join("grid.txt"), "1\n0.5\n0.001\n").unwrap();
    let odd = ArrayD::from_elem(vec![8, 8], 0.5);
    write_npy(folder.path().join("odd.npy"), &odd).unwrap();
    write_npy(folder.path().join("wide.npy"), &ArrayD::<f64>::ones(vec![8, 9])).unwrap();
    let edit = "edit --model net --data x.npy";
    let inpaint = "inpaint --model net --data x.npy --steps 2";
    for (args, code, want) in [
        (format!("{edit} --strength 0.5 --num 3"), 2, "found --num with edit, expected none"),
        (format!("{edit} --strength 0.5 --noise x.npy"), 2, "found --noise with edit"),
        (format!("{edit} --strength 0.5 --guidance 2"), 2, "found --guidance 2, expected none"),
        (format!("{edit} --strength 0"), 2, "invalid value '0' for '--strength"),
        (format!("{edit} --strength 0.0005"), 2, "expected one above 0.001"),
        (
            format!("{edit} --strength 0.5 --sampler heun --grid grid.txt"),
            2,
            "found --grid grid.txt, expected uniform",
        ),
        (
            format!("{inpaint} --mask x.npy --sampler rk45"),
            2,
            "found --sampler rk45, expected ddim",
        ),
        (format!("{inpaint} --mask x.npy --sampler dpm++2m"), 2, "found --sampler dpm++2m"),
        (format!("{inpaint} --mask odd.npy"), 1, "odd.npy: found 0.5, expected zeros and ones"),
        (format!("{inpaint} --mask wide.npy"), 1, "has the shape [8, 9], expected [2, 1, 8, 8]"),
    ] {
        let found = complaint(&folder, &format!("{args} --out z.npy"), code);
        assert!(found.contains(want), "{args}: {found}");
    }
    assert!(!folder.path().join("z.npy").exists());
}
