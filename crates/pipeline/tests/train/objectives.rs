//! The loss is score-match's in every prediction, reaches every weight and can be brought to nothing.

use std::fs;

use pipeline::models::tch::{Kind, Tensor};
use pipeline::models::{Batch, Description, NetworkScore};
use pipeline::train::augment::LABEL;
use pipeline::train::batches::{Batches, Drawn};
use pipeline::train::examples::Examples;
use pipeline::train::objective::loss;
use pipeline::train::state::Run;
use pipeline::train::step::step;
use pipeline::train::validation::batch;
use pipeline::train::{Progress, TrainConfig};
use score_match::{Weighting, residual};
use sde_core::{Lanes, Noise, Prediction, Purpose, State};
use tempfile::TempDir;

use crate::CONFIG;

/// Predictions with the weight that makes the loss their plain square.
const PREDICTIONS: [&str; 6] =
    ["'epsilon'", "'x0'", "'score'", "'v'", "'velocity'", "{edm={sigma_data=0.8}}"];

struct Setup {
    _folder: TempDir,
    config: TrainConfig,
    description: Description,
    examples: Examples,
}

/// A run without dropout on 8 digits a step; `set` has the entries that differ.
fn setup(set: &[String]) -> Setup {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("train.toml");
    fs::write(&path, CONFIG.replace("dropout = 0.1", "dropout = 0.0")).unwrap();
    let out = format!("out={}", folder.path().join("run").display());
    let first = [out, "training.batch=8".into(), "model.label=t".into(), "model.t_min=0.01".into()];
    let config = TrainConfig::read(&path, &[&first[..], set].concat()).unwrap();
    let (examples, _) = Examples::load(&config, &mut |_| panic!()).unwrap();
    let description = config.description(&examples).unwrap();
    Setup { _folder: folder, config, description, examples }
}

fn set(entries: &[&str]) -> Vec<String> {
    entries.iter().map(|&entry| entry.to_owned()).collect()
}

impl Setup {
    fn run(&self) -> Run {
        Run::start(&self.config, &self.description, &mut |_| panic!()).unwrap()
    }

    fn batch(&self, k: u64) -> Drawn {
        let mut batches = Batches::new(&self.config, &self.description, &self.examples).unwrap();
        batches.draw(k).unwrap()
    }

    /// The squared residual (M1) of each sample of step k, by score-match and the network as a score.
    fn squares(&self, run: &Run, batch_of: &Drawn, k: u64) -> Vec<f64> {
        let n = self.config.training.batch as u64;
        let samples: Vec<u64> = ((k - 1) * n..k * n).collect();
        let noise = Noise::new(self.config.seed, Purpose::Training);
        let points = self.examples.points(&noise, &batch_of.rows, &samples).unwrap();
        let to_batch = |x| -> Batch { batch(x, self.examples.shape()).unwrap() };
        let (x0, eps) = (to_batch(&points), to_batch(&self.examples.noise(&noise, &samples)));
        let mut score = NetworkScore::new(&*run.network, &self.description);
        let mut r = x0.zeros_like();
        let at = Lanes { t: &batch_of.label, sample: &samples }; // the label is the time
        residual(&*self.description.process, &mut score, &x0, &eps, at, &mut r).unwrap();
        let mut squares = vec![0.0; samples.len()];
        r.add_squared_norm(&mut squares);
        squares.iter().map(|square| square / self.examples.dim() as f64).collect()
    }
}

fn number(t: &Tensor) -> f64 {
    t.f_double_value(&[]).unwrap()
}

/// Every prediction, weighting, process and law makes the loss (M2) of the residual.
#[test]
fn the_loss_is_the_weighted_residual_in_every_prediction() {
    let weightings = [
        ("'noise'", Weighting::Noise),
        ("'likelihood'", Weighting::Likelihood),
        ("{plain='x0'}", Weighting::Plain(Prediction::X0)),
        ("{min-snr={gamma=5.0}}", Weighting::MinSnr { gamma: 5.0 }),
    ];
    let processes = [
        "{name='vp-cosine',s=0.008}",
        "{name='rectified'}",
        "{name='ve',sigma_min=0.01,sigma_max=50.0}",
    ];
    for (i, prediction) in PREDICTIONS.iter().enumerate() {
        for (j, (name, weighting)) in weightings.iter().enumerate() {
            let process = processes[(i + j) % processes.len()];
            let setup = setup(&[
                format!("model.prediction={prediction}"),
                format!("model.process={process}"),
                format!("training.weighting={name}"),
                "training.times='uniform'".into(),
                "training.divide_by_law=false".into(),
            ]);
            let (run, drawn) = (setup.run(), setup.batch(3));
            let shape = setup.examples.shape();
            let found =
                number(&loss(&*run.network, &drawn, 0..8, (shape, false), None).unwrap().value);
            let squares = setup.squares(&run, &drawn, 3);
            let weights =
                drawn.label.iter().map(|&t| weighting.weight(&*setup.description.process, t));
            let want = squares.iter().zip(weights).map(|(s, w)| s * w).sum::<f64>() / 8.0;
            let what = format!("{prediction} {name} {process}: {found} {want}");
            assert!((found - want).abs() < 1e-3 * want && want > 0.0, "{what}");
        }
    }
}

/// With the density of the times divided out, the mean over many batches does not depend on the law.
#[test]
fn dividing_by_the_law_makes_one_mean_of_all_laws() {
    let mean = |law: &str, divide: bool| {
        let setup = setup(&[
            format!("training.times={law}"),
            format!("training.divide_by_law={divide}"),
            "training.weighting='noise'".into(),
            "model.prediction='epsilon'".into(),
            "training.batch=64".into(),
        ]);
        // the loss of a network that always says 0, in expectation over ε: the weight itself
        let weights = (1..50).flat_map(|k| setup.batch(k).weight);
        let all: Vec<f64> = weights.collect();
        all.iter().sum::<f64>() / all.len() as f64
    };
    let laws = ["'uniform'", "'log-snr'", "'importance'", "{log-normal={mean=-0.5,std=3.0}}"];
    for law in laws {
        let found = mean(law, true);
        assert!((found - 0.5 * 0.99).abs() < 0.01, "{law}: {found}"); // ½ ∫ dt over [0.01, 1]
        assert!((mean(law, false) - 1.0).abs() < 1e-12, "{law}");
    }
}

/// Softmax does not change when all its entries move alike: the bias of the keys alone has no gradient.
#[test]
fn the_gradient_reaches_every_parameter() {
    for prediction in PREDICTIONS {
        let setup = setup(&[
            format!("model.prediction={prediction}"),
            "network.num_class_embeds=11".into(),
            "training.label_dropout=0.2".into(),
            "training.learned_weight=true".into(),
            "training.batch=64".into(),
        ]);
        let (run, drawn) = (setup.run(), setup.batch(1));
        let v = run.learned.as_ref();
        let loss = loss(&*run.network, &drawn, 0..64, (setup.examples.shape(), false), v).unwrap();
        loss.minimised.f_backward().unwrap();
        for (name, tensor) in run.parameters.iter() {
            let largest = number(&tensor.grad().f_abs().unwrap().f_max().unwrap());
            let reached = largest > 0.0 && largest.is_finite();
            assert!(reached || name.ends_with("to_k.bias"), "{prediction} {name}: {largest}");
        }
        let classes = run.parameters.iter().find(|(name, _)| *name == "class_embedding.weight");
        let rows = classes.unwrap().1.grad().f_abs().unwrap().f_sum_dim_intlist(
            [1].as_slice(),
            false,
            None,
        );
        assert!(number(&rows.unwrap().f_min().unwrap()) > 0.0, "a class that is never told");
        let learned = run.learned.unwrap().grad();
        assert!(number(&learned.f_abs().unwrap().f_sum(None).unwrap()) > 0.0);
    }
}

/// A batch that never changes can be learnt by heart.
#[test]
fn one_batch_is_brought_to_nothing_in_every_prediction() {
    for prediction in PREDICTIONS {
        let setup = setup(&[
            format!("model.prediction={prediction}"),
            format!("training.weighting={{plain={prediction}}}"),
            "training.divide_by_law=false".into(),
            "training.times='uniform'".into(),
            "training.schedule='constant'".into(),
            "training.batch=4".into(),
            "training.learning_rate=4e-3".into(),
            "network.block_out_channels=[16,16]".into(),
        ]);
        let (mut run, drawn) = (setup.run(), setup.batch(1));
        let first = step(&setup.config, &mut run, &drawn).unwrap().loss;
        let mut last = first;
        let mut steps = 1;
        while last > 0.02 * first && steps < 1500 {
            last = step(&setup.config, &mut run, &drawn).unwrap().loss;
            steps += 1;
        }
        assert!(last <= 0.02 * first, "{prediction}: {last} of {first} after {steps} steps");
    }
}

/// (M7): with u = ln L of each sample, what is minimised is their mean of 1 + ln L.
#[test]
fn the_learned_weight_divides_by_its_exponential() {
    let setup = setup(&set(&["training.learned_weight=true", "model.prediction='v'"]));
    let (run, drawn) = (setup.run(), setup.batch(2));
    let v = Tensor::f_from_slice(&[0.75_f32; pipeline::train::objective::KNOTS]).unwrap();
    let shape = setup.examples.shape();
    let found = loss(&*run.network, &drawn, 0..8, (shape, false), Some(&v)).unwrap();
    let plain = number(&loss(&*run.network, &drawn, 0..8, (shape, false), None).unwrap().minimised);
    let want = score_match::weighting::with_log_variance(plain, 0.75);
    assert!((number(&found.minimised) - want).abs() < 1e-5 * want.abs());
    assert!((number(&found.value) - plain).abs() < 1e-6 * plain);
}

fn weights(run: &Run) -> Vec<f32> {
    run.parameters
        .tensors()
        .iter()
        .flat_map(|t| Vec::<f32>::try_from(t.flatten(0, -1)).unwrap())
        .collect()
}

fn after(steps: u64, entries: &[&str]) -> Vec<f32> {
    let setup = setup(&set(entries));
    let mut run = setup.run();
    for k in 1..=steps {
        step(&setup.config, &mut run, &setup.batch(k)).unwrap();
    }
    weights(&run)
}

/// The mean distance: a gradient that is rounding alone has no sign, and Adam's first steps are signs.
fn apart(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).sum::<f32>() / a.len() as f32
}

#[test]
fn parts_of_a_batch_are_the_batch_and_optimisers_differ_by_their_decay() {
    let whole = after(3, &[]);
    let parts = after(3, &["training.accumulate=4"]);
    assert!(apart(&whole, &parts) < 3e-6, "{}", apart(&whole, &parts));
    // what drops belongs to the sample, and not to its place in a part
    let dropped = after(3, &["network.dropout=0.3"]);
    let parts = after(3, &["network.dropout=0.3", "training.accumulate=4"]);
    assert!(apart(&dropped, &parts) < 3e-6, "{}", apart(&dropped, &parts));
    assert!(apart(&dropped, &whole) > 1e-4, "{}", apart(&dropped, &whole));
    // and is the same where a pass is done again; in bf16 to its rounding
    let again = after(3, &["network.dropout=0.3", "training.gradient_checkpointing=true"]);
    assert!(apart(&dropped, &again) < 3e-6, "{}", apart(&dropped, &again));
    let half =
        ["network.dropout=0.3", "training.dtype=bf16", "training.gradient_checkpointing=true"];
    let [kept, again] = [after(3, &half[..2]), after(3, &half)];
    assert!(apart(&kept, &again) < apart(&kept, &dropped), "{}", apart(&kept, &again));
    assert_eq!(whole, after(3, &["training.optimiser=adam"]));
    let decay = ["training.weight_decay=0.1", "training.optimiser=adam"];
    let [adam, adamw] = [after(3, &decay), after(3, &decay[..1])];
    assert!(apart(&adam, &adamw) > 1e-4, "{}", apart(&adam, &adamw));
    assert!(apart(&adamw, &whole) > 1e-5, "{}", apart(&adamw, &whole));
}

/// In bf16 the first loss is the same to its rounding, weights stay f32, and a batch is learnt as well.
#[test]
fn bf16_learns_too() {
    let losses = |dtype: &str| {
        let setup = setup(&set(&[&format!("training.dtype={dtype}"), "training.warmup=1"]));
        let (mut run, drawn) = (setup.run(), setup.batch(1));
        let losses: Vec<f64> =
            (0..40).map(|_| step(&setup.config, &mut run, &drawn).unwrap().loss).collect();
        assert_eq!(run.parameters.tensors()[0].f_kind().unwrap(), Kind::Float);
        losses
    };
    let (exact, rounded) = (losses("f32"), losses("bf16"));
    let off = (rounded[0] - exact[0]).abs() / exact[0];
    assert!(off > 0.0 && off < 1e-2, "{off}");
    assert!(rounded[39] < 0.9 * rounded[0], "{rounded:?}");
    assert!((rounded[39] - exact[39]).abs() < 0.1 * exact[0], "{} {}", rounded[39], exact[39]);
}

#[test]
fn some_labels_are_hidden_and_half_of_the_images_turned() {
    let entries =
        ["network.num_class_embeds=11", "training.label_dropout=0.2", "training.batch=500"];
    let setup = setup(&set(&entries));
    let (mut hidden, mut n) = (0.0_f64, 0.0_f64);
    for k in 1..=4 {
        let drawn = setup.batch(k);
        for (&class, &row) in drawn.class.as_ref().unwrap().iter().zip(&drawn.rows) {
            assert!(class == 10 || Some(class) == setup.examples.class(row));
            hidden += f64::from(u8::from(class == 10));
            n += 1.0;
        }
    }
    let error = (0.16 / n).sqrt();
    assert!((hidden / n - 0.2).abs() < 4.0 * error, "{hidden} of {n}");
    let seen = |flip: &str| {
        let setup = self::setup(&set(&[flip]));
        let noise = Noise::new(3, Purpose::Training);
        let rows: Vec<usize> = (0..400).collect();
        let samples: Vec<u64> = (0..400).collect();
        setup.examples.points(&noise, &rows, &samples).unwrap()
    };
    let (plain, turned) = (seen("data.flip=false"), seen("data.flip=true"));
    let mut count = 0.0_f64;
    for (a, b) in plain.outer_iter().zip(turned.outer_iter()) {
        let mirrored = (0..64).all(|i| a[i] == b[i / 8 * 8 + 7 - i % 8]);
        assert!(mirrored || a == b);
        count += f64::from(u8::from(mirrored));
    }
    assert!((count - 200.0).abs() < 4.0 * 10.0, "{count}");
}

/// The network is told what was done, and learns what to make of it.
#[test]
fn augmented_images_come_with_what_was_done_to_them() {
    let network = "network={_class_name='DhariwalUNet',img_resolution=8,in_channels=1,\
        out_channels=1,augment_dim=9,model_channels=8,channel_mult=[1],num_blocks=1,attn_resolutions=[]}";
    let setup = setup(&set(&[network, "data.augment=0.3", "training.batch=200"]));
    let drawn = setup.batch(1);
    let labels = drawn.augmented.as_ref().unwrap();
    assert_eq!(labels.len(), 200 * LABEL);
    // those to which nothing was done are the digits, the others are not
    let mut plain = setup.batch(1);
    let bare = self::setup(&set(&[network, "training.batch=200"]));
    let digits = bare.batch(1);
    assert!(digits.augmented.is_none());
    let image = |drawn: &Drawn, i: usize| drawn.input[64 * i..64 * (i + 1)].to_vec();
    let mut untouched = 0;
    for (i, label) in labels.chunks(LABEL).enumerate() {
        let same = image(&drawn, i) == image(&digits, i);
        assert_eq!(same, label.iter().all(|&x| x == 0.0), "{label:?}");
        untouched += usize::from(same);
    }
    assert!((5..=70).contains(&untouched), "{untouched}"); // half of 0.7⁵ of 200 is 17
    let again = self::setup(&set(&[
        network,
        "data.augment=0.3",
        "training.batch=200",
        "training.gradient_checkpointing=true",
    ]));
    let (mut run, mut other) = (setup.run(), again.run());
    let map = |run: &Run| {
        let mut found =
            run.parameters.iter().filter(|(name, _)| name.ends_with("map_augment.weight"));
        Vec::<f32>::try_from(found.next().unwrap().1.flatten(0, -1)).unwrap()
    };
    let before = map(&run);
    step(&setup.config, &mut run, &drawn).unwrap(); // the last layer begins at 0
    step(&setup.config, &mut run, &drawn).unwrap();
    assert!(apart(&before, &map(&run)) > 1e-6);
    step(&again.config, &mut other, &drawn).unwrap();
    step(&again.config, &mut other, &drawn).unwrap();
    assert!(apart(&weights(&other), &weights(&run)) < 3e-6);
    step(&bare.config, &mut bare.run(), &digits).unwrap(); // the map is not asked for, and stays
    plain.augmented = None;
    let shape = setup.examples.shape();
    let value =
        |drawn| number(&loss(&*run.network, drawn, 0..200, (shape, false), None).unwrap().value);
    assert!((value(&drawn) - value(&plain)).abs() > 1e-9);
}

#[test]
fn a_power_average_is_chosen_in_the_end() {
    let run = crate::folder(
        &CONFIG.replace("ema = 0.9", "ema = { power = [0.05, 0.1], post_hoc = [0.05, 0.2] }"),
    );
    let args = ["--set", "training.learning_rate=2e-2", "--json"];
    let output = crate::train(&run, &args);
    assert_eq!(crate::began(&output), 0);
    let text = String::from_utf8(output.stderr).unwrap();
    let bound = |width: &str| -> f64 {
        let line = text.lines().find(|line| line.contains(&format!("width {width} has"))).unwrap();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    let record = String::from_utf8(crate::file(&run, "metrics.jsonl")).unwrap();
    let last: Progress = serde_json::from_str(record.lines().last().unwrap()).unwrap();
    // of width 0.05 one is kept all along, and the sum of saved ones is the same
    assert!((bound("0.05") - last.validation.unwrap().0).abs() < 2e-3, "{text}");
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let best = json["best_bound"].as_f64().unwrap();
    assert!(best <= bound("0.2") + 1e-4 && best <= bound("0.05") + 1e-4, "{best} {text}");
}
