//! Files that were damaged in every way that chance finds: an error or a network, never a panic, never a crash.
//!
//! The default run is short. `FUZZ_SECONDS=600 cargo test -p models --test mutations -- --ignored` goes on for as long as it says.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp)]
#![allow(clippy::cast_possible_wrap, clippy::cast_sign_loss)]

mod common;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use common::{VP, describe, model};
use models::Model;
use models::tch::Device;
use models::torch_ext::Weights;
use sde_core::{Noise, Prediction, Purpose};
use tempfile::TempDir;

const WEIGHTS: &str = "diffusion_pytorch_model.safetensors";

/// Numbers below a bound, from the keyed noise.
struct Chance {
    noise: Noise,
    sample: u64,
    drawn: u32,
}

impl Chance {
    fn of(sample: u64) -> Self {
        Self { noise: Noise::new(9, Purpose::Probe), sample, drawn: 0 }
    }

    fn below(&mut self, n: usize) -> usize {
        let mut u = [0.0];
        self.noise.uniform(self.sample, self.drawn, &mut u);
        self.drawn += 1;
        ((u[0] * n as f64) as usize).min(n.saturating_sub(1))
    }
}

/// Damage of one kind.
fn damage(bytes: &mut Vec<u8>, chance: &mut Chance) {
    let n = bytes.len().max(1);
    let head = n.min(4096); // where the meaning is
    match chance.below(8) {
        0 => bytes.truncate(chance.below(n)),
        1 => bytes.extend(vec![chance.below(256) as u8; 1 + chance.below(64)]),
        2 => bytes.clear(),
        3 if n >= 8 => bytes[..8]
            .copy_from_slice(&(chance.below(1 << 30) as u64 * 0x1_0000_0001).to_le_bytes()),
        4 => {
            let (from, to) = (chance.below(head), chance.below(head));
            let copied: Vec<u8> = bytes.iter().skip(from).take(16).copied().collect();
            bytes.splice(to.min(bytes.len())..(to + 16).min(bytes.len()), copied);
        }
        5 => {
            // A digit of the header: shapes and offsets.
            let digits: Vec<usize> =
                (0..head.min(bytes.len())).filter(|&i| bytes[i].is_ascii_digit()).collect();
            if let Some(&i) = digits.get(chance.below(digits.len().max(1))) {
                bytes[i] = b'0' + chance.below(10) as u8;
            }
        }
        _ => {
            let within = if chance.below(2) == 0 { head } else { n };
            let i = chance.below(within);
            if let Some(byte) = bytes.get_mut(i) {
                *byte ^= 1 << chance.below(8);
            }
        }
    }
}

/// Whether the damaged model was refused.
fn try_one(folder: &Path, original: &[(String, Vec<u8>)], case: u64) -> bool {
    let mut chance = Chance::of(case);
    let which = [WEIGHTS, WEIGHTS, "config.json", "sde.toml"][chance.below(4)];
    for (name, bytes) in original {
        let mut bytes = bytes.clone();
        if name == which {
            (0..=chance.below(3)).for_each(|_| damage(&mut bytes, &mut chance));
        }
        fs::write(folder.join(name), bytes).unwrap();
    }
    let work = || {
        if let Ok(weights) = Weights::open(folder.join(WEIGHTS)) {
            for name in weights.shapes().into_keys() {
                let _ = weights.tensor(&name, None, Device::Cpu);
            }
        }
        Model::open(folder, Device::Cpu).map(drop)
    };
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(())) => false,
        Ok(Err(error)) => {
            let text = error.to_string();
            assert!(!text.is_empty() && !text.contains('\n'), "case {case}: {text}");
            true
        }
        Err(_) => panic!("case {case} panicked"),
    }
}

fn run(time: Duration) {
    let folder = TempDir::new().unwrap();
    model(&[], describe(&VP, Prediction::V)).save(folder.path()).unwrap();
    let read = |name: &str| (name.to_owned(), fs::read(folder.path().join(name)).unwrap());
    let original = [WEIGHTS, "config.json", "sde.toml"].map(read);
    let (begun, mut cases, mut refused) = (Instant::now(), 0, 0);
    while begun.elapsed() < time {
        refused += u64::from(try_one(folder.path(), &original, cases));
        cases += 1;
    }
    println!("mutations: {cases} files, {refused} refused");
    assert!(
        2 * refused > cases && refused < cases,
        "damage that is seen, and some that is none: {refused} of {cases}"
    );
}

#[test]
fn damaged_files_are_errors() {
    run(Duration::from_secs(3));
}

#[test]
#[ignore = "as long as FUZZ_SECONDS says"]
fn damaged_files_are_errors_for_long() {
    let seconds = std::env::var("FUZZ_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(600);
    run(Duration::from_secs(seconds));
}
