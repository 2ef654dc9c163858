//! Runs in chunks: killed and resumed, done apart and put together, and what is refused.

use super::likelihood::points;
use super::*;
use std::process::Stdio;
use std::time::{Duration, Instant};

const LIKELIHOOD: &str =
    "likelihood --model net --data x.npy --rtol 1e-2 --atol 1e-2 --probes 2 --seed 4 --batch 2";

/// The report but for the time that it took.
fn timeless(mut report: Value) -> Value {
    for key in ["seconds", "images_per_second"] {
        report.as_object_mut().unwrap().remove(key);
    }
    report
}

fn file(folder: &TempDir, name: &str) -> Value {
    timeless(serde_json::from_slice(&fs::read(folder.path().join(name)).unwrap()).unwrap())
}

/// Kills the run as soon as so many chunks are there. Whether that was before its end.
fn killed(folder: &TempDir, args: &str, parts: &str, chunks: usize) -> bool {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sde"));
    command.current_dir(folder.path()).args(args.split_whitespace());
    command.args(["--device", "cpu", "--threads", "1", "--quiet"]);
    let mut child = command.stdout(Stdio::null()).spawn().unwrap();
    let there = || {
        let done = |c: &usize| folder.path().join(parts).join(format!("{c}.npy")).exists();
        (0..64).filter(done).count()
    };
    let begun = Instant::now();
    while there() < chunks && child.try_wait().unwrap().is_none() {
        assert!(begun.elapsed() < Duration::from_secs(120), "{args} makes no progress");
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap(); // SIGKILL: nothing is tidied up
    child.wait().unwrap();
    folder.path().join(parts).exists()
}

#[test]
fn a_likelihood_killed_twice_is_that_of_one_run() {
    let folder = folder();
    points(&folder, 7);
    json(&folder, &format!("{LIKELIHOOD} --out whole.json"));
    let cut = format!("{LIKELIHOOD} --out cut.json");
    assert!(killed(&folder, &cut, "cut.json.parts", 1), "the run was never interrupted");
    assert!(killed(&folder, &format!("{cut} --resume"), "cut.json.parts", 2));
    assert!(!folder.path().join("cut.json").exists());
    let kept = fs::metadata(folder.path().join("cut.json.parts/0.npy")).unwrap().modified();
    let unasked = complaint(&folder, &cut, 1);
    assert!(unasked.contains("of 4 chunks of a run that did not finish"), "{unasked}");
    let again = fs::metadata(folder.path().join("cut.json.parts/0.npy")).unwrap().modified();
    assert_eq!(kept.unwrap(), again.unwrap());
    let report = json(&folder, &format!("{cut} --resume --html cut.html"));
    assert_eq!(file(&folder, "whole.json"), file(&folder, "cut.json"));
    assert_eq!(timeless(report), file(&folder, "cut.json"));
    assert!(!folder.path().join("cut.json.parts").exists());
}

#[test]
fn chunks_done_apart_are_those_of_the_whole() {
    let folder = folder();
    points(&folder, 7);
    let whole = json(&folder, &format!("{LIKELIHOOD} --out whole.json"));
    let apart = json(&folder, &format!("{LIKELIHOOD} --chunks 1..3"));
    let samples = whole["samples"].as_array().unwrap();
    assert_eq!(apart["samples"].as_array().unwrap()[..], samples[2..6]);
    assert_eq!(apart["n"], 4);
    // two that share a folder, the second after the first, and one that puts them together
    json(&folder, &format!("{LIKELIHOOD} --chunks 2..4 --out both.json"));
    assert_eq!(file(&folder, "both.json")["samples"].as_array().unwrap()[..], samples[4..]);
    json(&folder, &format!("{LIKELIHOOD} --chunks 0..2 --out both.json"));
    assert_eq!(file(&folder, "both.json"), file(&folder, "whole.json"));
    assert!(folder.path().join("both.json.parts").exists());
    json(&folder, &format!("{LIKELIHOOD} --resume --out both.json"));
    assert_eq!(file(&folder, "both.json"), file(&folder, "whole.json"));
    assert!(!folder.path().join("both.json.parts").exists());
    // a sample of several draws is never cut
    let pixels = data::digits().test.images.pixels().iter().take(192).copied().collect::<Vec<u8>>();
    let pixels = Tensor::from_slice(&pixels).reshape([3, 1, 8, 8]);
    let none = std::collections::BTreeMap::default();
    write_weights(folder.path().join("i.safetensors"), [("data", &pixels)], &none).unwrap();
    let args = "likelihood --model net --data i.safetensors --solver rk23 --rtol 1e-1 --atol 1e-1 \
                --batch 2 --dequantise importance:2";
    let whole = json(&folder, args);
    let last = json(&folder, &format!("{args} --chunks 1..2"));
    assert_eq!(last["samples"].as_array().unwrap()[..], whole["samples"].as_array().unwrap()[2..]);
}

#[test]
fn chunks_of_another_run_are_refused_by_name() {
    let folder = folder();
    points(&folder, 5);
    let run = |args: &str| format!("{args} --out l.json --chunks 0..1");
    json(&folder, &run(LIKELIHOOD));
    let net = folder.path().join("net");
    let copy = |x: &ArrayD<f64>, name: &str| write_npy(folder.path().join(name), x).unwrap();
    copy(&(points(&folder, 5) * 0.5), "other.npy");
    for (from, to, name) in [
        ("--rtol 1e-2", "--rtol 1e-3", "rtol 0.01, expected 0.001"),
        ("--atol 1e-2", "--atol 1e-3", "atol 0.01, expected 0.001"),
        ("--seed 4", "--seed 5", "seed 4, expected 5"),
        ("--batch 2", "--batch 3", "batch 2, expected 3"),
        ("--probes 2", "--probes 3", "trace 2 probes, expected 3 probes"),
        ("--probes 2", "--probes 2 --solver rk23", "solver rk45, expected rk23"),
        ("--probes 2", "--probes 2 --t-min 0.01", "t_min 0.001, expected 0.01"),
        ("x.npy", "other.npy", "data "),
    ] {
        let found = complaint(&folder, &run(&LIKELIHOOD.replace(from, to)), 1);
        let expected = format!("l.json.parts belongs to another run: found {name}");
        assert!(found.contains(&expected), "{found}");
    }
    let config = UNetConfig::parse(CONFIG).unwrap();
    Model::fresh(config, Description::parse(MEANING).unwrap(), 4).unwrap().save(net).unwrap();
    let found = complaint(&folder, &run(LIKELIHOOD), 1);
    assert!(found.contains("belongs to another run: found model "), "{found}");
    for (flags, expected) in [
        ("--resume", "found --resume without --out"),
        ("--chunks 2..4", "found --chunks 2..4, expected 3 at most: 5 samples in chunks of 2"),
        ("--chunks 2..2", "expected A..B with whole numbers A < B"),
    ] {
        let found = complaint(&folder, &format!("{LIKELIHOOD} {flags}"), 2);
        assert!(found.contains(expected), "{found}");
    }
}

#[test]
fn samples_killed_or_drawn_apart_are_those_of_one_run() {
    let folder = folder();
    for sampler in ["rk45 --rtol 1e-3 --atol 1e-3", "dpm++2m-sde --eta 0.5 --steps 40"] {
        let args = format!("sample --model net --sampler {sampler} --num 13 --batch 2 --seed 5");
        let report = json(&folder, &format!("{args} --out whole.npy"));
        let cut = format!("{args} --out cut.npy");
        assert!(killed(&folder, &cut, "cut.npy.parts", 2), "the run was never interrupted");
        let resumed = timeless(json(&folder, &format!("{cut} --resume")));
        let whole = samples(&folder, "whole.npy");
        assert_eq!(largest_difference(&whole, &samples(&folder, "cut.npy")).to_bits(), 0);
        for key in ["n", "nfe", "nfe_per_sample", "accepted", "rejected", "status"] {
            assert_eq!(report[key], resumed[key], "{sampler}: {key}");
        }
        json(&folder, &format!("{args} --chunks 5..7 --out last.npy"));
        let last = whole.slice_axis(Axis(0), Slice::from(10..)).to_owned();
        assert_eq!(largest_difference(&last, &samples(&folder, "last.npy")).to_bits(), 0);
        let other = complaint(&folder, &format!("{args} --num 12 --chunks 0..1 --out last.npy"), 2);
        assert!(other.contains("--num"), "{other}");
        let other = args.replace("--num 13", "--num 12");
        let other = complaint(&folder, &format!("{other} --chunks 0..1 --out last.npy"), 1);
        assert!(other.contains("found samples 13, expected 12"), "{other}");
        fs::remove_dir_all(folder.path().join("last.npy.parts")).unwrap();
    }
}

#[test]
fn the_page_of_a_likelihood_stands_by_itself() {
    let folder = folder();
    points(&folder, 5);
    let report = json(&folder, &format!("{LIKELIHOOD} --html l.html"));
    let page = fs::read_to_string(folder.path().join("l.html")).unwrap();
    assert!(page.starts_with("<!doctype html>") && !page.contains("http"));
    assert_eq!(page.matches("<svg").count(), 1);
    assert!(page.matches("<rect").count() > 1);
    assert_eq!(page.matches("<td>done").count(), 5);
    for sample in report["samples"].as_array().unwrap() {
        let nats = format!("<td>{:.4}<td>", sample["log_likelihood"].as_f64().unwrap());
        assert!(page.contains(&nats), "{nats}");
    }
    for part in ["its parts", "its own error", "bits/dim", "log prior"] {
        assert!(page.contains(part), "{part}");
    }
}

/// On stderr where the table for people is not printed.
#[test]
fn the_largest_part_of_an_error_says_what_helps() {
    let folder = folder();
    points(&folder, 2);
    let args = "likelihood --model net --data x.npy --trace exact --rtol 1e-1";
    for (flags, expected) in [
        ("--atol 1e-3", "from the solver: lower --rtol to"),
        ("--atol 1e-1", "from the solver: lower --rtol and --atol to"),
    ] {
        let output = sde(&folder, &format!("{args} {flags} --json --html l.html"));
        let (said, page) = (text(&output.stderr), fs::read_to_string(folder.path().join("l.html")));
        assert!(said.contains(expected), "{flags}: {said}");
        assert!(page.unwrap().contains(expected), "{flags}");
    }
}
