//! A run that is killed, stopped, out of disk or damaged ends with the weights of one that was not.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::{CONFIG, WEIGHTS, began, complaint, file, folder, sde, state, states, train};

/// Starts the run, lets `until` decide when it is killed (SIGKILL: nothing is tidied up).
fn kill(folder: &Path, until: &mut dyn FnMut(Duration) -> bool) {
    let mut command = sde(folder, &["--quiet"]);
    let mut child = command.stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    let started = Instant::now();
    while !until(started.elapsed()) {
        assert!(child.try_wait().unwrap().is_none(), "the run ended before it was killed");
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Twenty kills: some while the program starts, the others at a random time after it has saved another state.
#[test]
fn a_run_killed_at_random_moments_ends_with_the_same_weights() {
    let config = CONFIG.replace("steps = 40", "steps = 240");
    let (whole, cut) = (folder(&config), folder(&config));
    let timed = || {
        let started = Instant::now();
        assert!(train(&whole, &[]).status.success());
        started.elapsed()
    };
    let (all, start) = (timed(), timed()); // the second one finds nothing to do
    let between = all.saturating_sub(start) / 80; // two saved states
    let mut lot = 12_345_u64;
    for i in 0..20 {
        lot = lot.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let part = (lot >> 40) as f64 / (1_u64 << 24) as f64;
        if i % 4 == 0 {
            kill(cut.path(), &mut |time| time > start.mul_f64(part));
            continue;
        }
        let before = latest(&cut);
        let mut saved = None;
        kill(cut.path(), &mut |time| {
            saved = saved.or_else(|| (latest(&cut) != before).then_some(time));
            saved.is_some_and(|saved| time > saved + between.mul_f64(2.0 * part))
        });
    }
    assert!(began(&train(&cut, &["--json"])) >= 15 * 3, "a start went on from nothing");
    assert!(state(&whole) == state(&cut), "the state differs");
    for name in [WEIGHTS, "model/sde.toml", "model/config.json"] {
        assert!(file(&whole, name) == file(&cut, name), "{name} differs");
    }
    let steps = |name: &str, folder| -> Vec<u64> {
        let text = String::from_utf8(file(folder, name)).unwrap();
        let step =
            |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["step"].as_u64();
        text.lines().map(|line| step(line).unwrap()).collect()
    };
    assert_eq!(steps("metrics.jsonl", &whole), steps("metrics.jsonl", &cut));
    assert_eq!(steps("metrics.jsonl", &whole).len(), 24);
}

/// The name of the latest state, if there is one.
fn latest(folder: &TempDir) -> Option<PathBuf> {
    fs::read_dir(folder.path().join("run/states")).ok()?;
    states(folder).pop()
}

type Damage<'a> = &'a dyn Fn(&mut Vec<u8>);

const SHORT: [&str; 2] = ["--set", "training.steps=9"];

/// Each kind of damage to the latest state, and to all of them.
#[test]
fn a_damaged_state_is_named_and_the_one_before_it_serves() {
    let run = folder(CONFIG);
    assert!(train(&run, &SHORT).status.success());
    let before = state(&run);
    assert_eq!(states(&run).len(), 2, "the last two are kept");
    let middle = before.1.len() / 2;
    let damages: [Damage<'_>; 4] = [
        &|bytes| bytes.truncate(middle),
        &|bytes| bytes[middle] ^= 1,
        &|bytes| bytes[20] ^= 4, // in the header
        &Vec::clear,
    ];
    for damage in damages {
        let latest = states(&run).pop().unwrap();
        let mut bytes = fs::read(&latest).unwrap();
        damage(&mut bytes);
        fs::write(&latest, bytes).unwrap();
        let output = train(&run, &[&SHORT[..], &["--json"]].concat());
        assert_eq!(began(&output), 6);
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.contains("is damaged: found the checksum"), "{text}");
        assert!(text.contains("going on from the state of step 6"), "{text}");
        assert!(state(&run) == before);
    }
    for path in states(&run) {
        fs::write(path, "nothing").unwrap();
    }
    let text = complaint(&train(&run, &SHORT));
    assert!(
        text.contains("no state that can be loaded") && text.contains("to begin anew"),
        "{text}"
    );
}

#[test]
fn a_stopped_run_saves_its_state_and_goes_on() {
    let config = CONFIG.replace("checkpoint_every = 3", "checkpoint_every = 1000");
    let whole = folder(&config);
    assert!(train(&whole, &["--set", "training.steps=60"]).status.success());
    for signal in ["-TERM", "-INT"] {
        let run = folder(&config);
        let args = ["--set", "training.steps=60", "--json"];
        let child =
            sde(run.path(), &args).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let started = Instant::now();
        while !run.path().join("run/metrics.jsonl").exists()
            || fs::read(run.path().join("run/metrics.jsonl")).unwrap().is_empty()
        {
            assert!(started.elapsed() < Duration::from_secs(60), "no report came");
            std::thread::sleep(Duration::from_millis(5));
        }
        let sent = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
        assert!(sent.success());
        let output = child.wait_with_output().unwrap();
        assert_eq!(began(&output), 0);
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let step = json["step"].as_u64().unwrap();
        assert!((10..60).contains(&step), "{step}");
        assert_eq!(began(&train(&run, &args)), step);
        assert!(state(&run) == state(&whole), "{signal}");
    }
}

/// A limit on the size of files stands for a disk that is full.
#[test]
fn a_full_disk_is_one_sentence_and_loses_nothing() {
    let run = folder(CONFIG);
    assert!(train(&run, &["--set", "training.steps=6"]).status.success());
    let before = state(&run);
    let program = env!("CARGO_BIN_EXE_sde");
    let script =
        format!("trap '' XFSZ; ulimit -f 20; exec {program} train train.toml --threads 1 --resume");
    let output =
        Command::new("bash").args(["-c", &script]).current_dir(run.path()).output().unwrap();
    assert!(complaint(&output).to_lowercase().contains("file too large"), "{output:?}");
    assert!(state(&run) == before, "the state that was there is gone");
    let left = fs::read_dir(run.path().join("run/states")).unwrap().count();
    let whole = folder(CONFIG);
    assert!(train(&whole, &["--set", "training.steps=6"]).status.success());
    for folder in [&run, &whole] {
        assert_eq!(began(&train(folder, &["--resume", "--json"])), 6, "{left} files");
    }
    assert!(state(&run) == state(&whole));
}

#[test]
fn a_folder_that_cannot_be_written_ends_the_run_before_it_begins() {
    let run = folder(CONFIG);
    fs::write(run.path().join("taken"), "a file").unwrap();
    for out in ["taken/run", "/proc/run"] {
        let output = train(&run, &["--set", &format!("out={out}"), "--set", "data.train=gone.npy"]);
        let text = complaint(&output);
        assert!(text.contains(out) && !text.contains("gone.npy"), "{text}");
    }
}

/// A step size without bound makes numbers that are none; the state before them is saved.
#[test]
fn a_loss_that_is_not_finite_names_step_and_samples() {
    let run = folder(CONFIG);
    let args = ["--set", "training.learning_rate=1e30", "--set", "training.checkpoint_every=1000"];
    let text = complaint(&train(&run, &args));
    for part in
        ["step ", "expected finite numbers", "the batch were the samples [", "is saved in run"]
    {
        assert!(text.contains(part), "{text}");
    }
    let step: u64 = text.split("step ").nth(1).unwrap().split(':').next().unwrap().parse().unwrap();
    let name = state(&run).0;
    assert!(name.starts_with(&format!("step-{:010}", step - 1)), "{name} {text}");
}

#[test]
fn milestones_stay() {
    let run = folder(CONFIG);
    let args =
        ["--set", "training.steps=20", "--set", "keep.milestone_every=6", "--set", "keep.states=1"];
    assert!(train(&run, &args).status.success());
    let steps: Vec<_> = states(&run)
        .iter()
        .map(|path| path.file_name().unwrap().to_string_lossy()[5..15].parse::<u64>().unwrap())
        .collect();
    assert_eq!(steps, [6, 12, 18, 20]);
}

/// A perceptron with frozen frequencies, two averages and a learned weight: all of it is in a state.
#[test]
fn a_run_of_another_network_goes_on_too() {
    let network = CONFIG.split("[network]").next().unwrap().replace("digits:train", "toy:moons");
    let network = network.replace("digits:validation", "toy:moons").replace("0.8", "0.65");
    let training = CONFIG.split("[training]").nth(1).unwrap();
    let training = training.replace("ema = 0.9", "ema = { power = [0.05, 0.1], post_hoc = [0.1] }");
    let mlp = "[network]\n_class_name = \"Mlp\"\ndimension = 2\nwidth = 16\nblocks = 1\n";
    let config = format!("{network}{mlp}[training]\nlearned_weight = true{training}");
    let run = folder(&config);
    assert!(train(&run, &SHORT).status.success());
    let (whole, model) = (state(&run), file(&run, WEIGHTS));
    fs::remove_file(states(&run).pop().unwrap()).unwrap();
    assert_eq!(began(&train(&run, &[&SHORT[..], &["--json"]].concat())), 6);
    assert!(state(&run) == whole && file(&run, WEIGHTS) == model);
}
