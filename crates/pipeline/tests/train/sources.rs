//! Data from files: streamed or not, a run is the same; laws in the plane and folders of pictures are read.

use std::fs;
use std::path::Path;

use image::{Rgb, RgbImage};
use pipeline::data::digits;
use pipeline::train::TrainConfig;
use pipeline::train::batches::Batches;
use pipeline::train::examples::Examples;

use crate::{CONFIG, complaint, folder, state, train};

/// The digits as an `.npy` file of bytes.
fn write_npy(path: &Path) {
    let pixels = digits().train.images.pixels().to_owned();
    let (n, c, h, w) = pixels.dim();
    let text =
        format!("{{'descr': '|u1', 'fortran_order': False, 'shape': ({n}, {c}, {h}, {w}), }}\n");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((text.len() as u16).to_le_bytes());
    bytes.extend(text.bytes());
    bytes.extend(pixels.iter());
    fs::write(path, bytes).unwrap();
}

/// From memory or from the file, with one thread that makes batches or with three: the same bits.
#[test]
fn a_streamed_run_is_the_same_run() {
    let config = CONFIG.replace("\"digits:train\"", "\"digits.npy\"\nlevels = 17");
    let of = |args: &[&str]| {
        let run = folder(&config);
        write_npy(&run.path().join("digits.npy"));
        let output = train(&run, &[&["--set", "training.steps=3"], args].concat());
        assert!(output.status.success(), "{output:?}");
        let (_, bytes) = state(&run);
        // the configuration in the header says how the data are read; the tensors follow it
        let header = u64::from_le_bytes(*bytes.first_chunk().unwrap()) as usize;
        bytes[8 + header..].to_vec()
    };
    let memory = of(&[]);
    // the validation digits are in memory in any case: the program has them compiled in
    assert!(memory == of(&["--set", "data.stream=true"]));
    assert!(memory == of(&["--set", "data.stream=true", "--set", "keep.threads=3"]));
    assert!(memory != of(&["--set", "data.stream=true", "--set", "data.flip=true"]));
}

fn examples(folder: &Path, text: &str) -> (TrainConfig, Examples, Vec<String>) {
    let path = folder.join("train.toml");
    fs::write(&path, text).unwrap();
    let config = TrainConfig::read(&path, &[]).unwrap();
    let mut notes = Vec::new();
    let (examples, _) = Examples::load(&config, &mut |note| notes.push(note)).unwrap();
    (config, examples, notes)
}

#[test]
fn a_folder_of_pictures_has_classes_and_names_what_it_leaves_out() {
    let run = folder("");
    for (class, value) in [("cat", 10), ("dog", 200)] {
        fs::create_dir_all(run.path().join("pets").join(class)).unwrap();
        for i in 0..3 {
            let path = run.path().join("pets").join(class).join(format!("{i}.png"));
            RgbImage::from_pixel(9 + i, 12, Rgb([value; 3])).save(path).unwrap();
        }
    }
    fs::write(run.path().join("pets/cat/3.png"), "no picture").unwrap();
    let pets = run.path().join("pets").display().to_string();
    let text = CONFIG.replace("digits:train", &pets).replace("digits:validation", &pets);
    let pictures =
        "pictures = { size = 8, channels = 1, broken = \"skip\" }\nstream = true\n\n[model]";
    let text = text.replace("[model]", pictures).replace("dropout = 0.1", "num_class_embeds = 2");
    let (config, examples, notes) = examples(run.path(), &text);
    assert_eq!(
        (examples.len(), examples.shape(), examples.levels()),
        (6, &[1, 8, 8][..], Some(256))
    );
    assert_eq!((0..6).map(|i| examples.class(i).unwrap()).collect::<Vec<_>>(), [0, 0, 0, 1, 1, 1]);
    assert!(
        notes.len() == 2 && notes[0].contains("left out: ") && notes[0].contains("3.png"),
        "{notes:?}"
    );
    let description = config.description(&examples).unwrap();
    let drawn = Batches::new(&config, &description, &examples).unwrap().draw(1).unwrap();
    assert_eq!(
        drawn.class.unwrap(),
        drawn.rows.iter().map(|row| i64::from(*row >= 3)).collect::<Vec<_>>()
    );
    let refused = text.replace("broken = \"skip\"", "broken = \"refuse\"");
    fs::write(run.path().join("train.toml"), refused).unwrap();
    assert!(complaint(&train(&run, &[])).contains("3.png is not a readable picture"));
}

#[test]
fn laws_never_repeat_and_have_held_out_points() {
    let run = folder("");
    let text =
        CONFIG.replace("digits:train", "toy:moons").replace("digits:validation", "toy:moons");
    let (config, examples, _) = examples(run.path(), &text);
    assert!(examples.is_endless() && examples.levels().is_none());
    let description = config.description(&examples).unwrap();
    let mut batches = Batches::new(&config, &description, &examples).unwrap();
    let mut rows: Vec<usize> = (1..=3).flat_map(|k| batches.draw(k).unwrap().rows).collect();
    rows.dedup();
    assert_eq!(rows, (0..48).collect::<Vec<_>>());
    let wrong = text.replace("toy:moons", "toy:moon");
    fs::write(run.path().join("train.toml"), wrong).unwrap();
    let text = complaint(&train(&run, &[]));
    assert!(text.contains("toy:moon: found moon, expected one of moons, swiss-roll"), "{text}");
}

#[test]
fn classes_are_checked() {
    for (from, to, want) in [
        (
            "dropout = 0.1",
            "num_class_embeds = 9",
            "data.train_labels: found 9, expected classes from 0 to 8",
        ),
        (
            "[model]",
            "augment = 0.1\n[model]",
            "data.augment: found 0.1, expected 0, or a SongUNet or DhariwalUNet with network.augment_dim = 9",
        ),
        ("clip = 6.0", "clip = 6.0\nlabel_dropout = 0.1", "training.label_dropout: found 0.1"),
        (
            "clip = 6.0",
            "clip = 6.0\naccumulate = 3",
            "training.accumulate: found 3, expected a divisor",
        ),
        ("ema = 0.9", "ema = { power = [0.05, 0.5], post_hoc = [0.1] }", "training.ema: found 0.5"),
        ("\"digits:train\"", "\"cifar-10:train:gone\"", "data_batch_1.bin does not exist"),
    ] {
        let text = complaint(&train(&folder(&CONFIG.replace(from, to)), &[]));
        assert!(text.contains(want), "{text}");
    }
    let text =
        complaint(&train(&folder(CONFIG), &["--set", "network={_class_name='Mlp',dimension=2}"]));
    assert!(
        text.contains("an Mlp for samples of the shape [1, 8, 8], expected samples of"),
        "{text}"
    );
}
