//! The tensors of a configuration have the names and shapes of the public checkpoints, those lists being made by another
//! program from the format's definition.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp)]
#![allow(clippy::cast_possible_wrap, clippy::cast_sign_loss)]

use std::collections::BTreeMap;
use std::path::Path;

use models::Architecture;

/// `name [shape]` on each line.
fn listed(name: &str) -> BTreeMap<String, Vec<usize>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/unet2d_keys");
    let text = std::fs::read_to_string(folder.join(format!("{name}.txt"))).unwrap();
    let entry = |line: &str| {
        let (name, shape) = line.split_once(' ').unwrap();
        (name.to_owned(), serde_json::from_str(shape).unwrap())
    };
    text.lines().map(entry).collect()
}

fn layout(config: &str) -> BTreeMap<String, Vec<usize>> {
    let layout = Architecture::parse(config).unwrap().layout().unwrap();
    let n = layout.len();
    let map: BTreeMap<_, _> = layout.into_iter().map(|e| (e.name, e.shape)).collect();
    assert_eq!(map.len(), n, "a name stands twice");
    map
}

const TINY: &str = r#"{
    "block_out_channels": [4, 8], "norm_num_groups": 2, "attention_head_dim": 3,
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "UpBlock2D"]
}"#;

/// Their configurations by name, what stands at its default left out.
fn configurations() -> BTreeMap<String, serde_json::Value> {
    let file =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/unet2d_keys/configs.json");
    serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
}

#[test]
fn public_families_have_their_tensors() {
    let families = [
        ("ddpm-cifar10-32", 328, 35_746_307),
        ("ddpm-256", 450, 113_673_219),
        ("ncsnpp-256", 645, 65_574_549),
        ("ncsnpp-ffhq-1024", 553, 105_785_896),
        ("adm-imagenet64", 629, 295_899_267),
        ("lsun256-consistency", 630, 526_304_771),
        ("test-tiny", 208, 16_303),
        ("test-ldm", 158, 919_620),
        ("test-ncsnpp", 289, 1_781_548),
    ];
    let configurations = configurations();
    assert_eq!(configurations.len(), families.len());
    for (name, tensors, count) in families {
        let (found, expected) = (layout(&configurations[name].to_string()), listed(name));
        for (name, shape) in &expected {
            assert_eq!(found.get(name), Some(shape), "{name}");
        }
        assert_eq!(found, expected, "{name}");
        let numbers: usize = found.values().map(|shape| shape.iter().product::<usize>()).sum();
        assert_eq!((found.len(), numbers), (tensors, count), "{name}");
    }
}

/// The control: each of these entries of a configuration moves a tensor.
#[test]
fn other_configurations_have_other_tensors() {
    let tiny = listed("test-tiny");
    for (from, to) in [
        ("\"attention_head_dim\": 3", "\"attention_head_dim\": null"),
        ("\"attention_head_dim\": 3", "\"attention_head_dim\": 2"),
        ("\"attention_head_dim\": 3", "\"attention_head_dim\": 3, \"layers_per_block\": 1"),
        ("\"attention_head_dim\": 3", "\"attention_head_dim\": 3, \"add_attention\": false"),
        ("\"attention_head_dim\": 3", "\"attention_head_dim\": 3, \"mid_block_type\": null"),
        ("\"attention_head_dim\": 3", "\"attention_head_dim\": 3, \"num_class_embeds\": 5"),
        ("\"attention_head_dim\": 3", "\"attention_head_dim\": 3, \"time_embedding_dim\": 12"),
        ("\"attention_head_dim\": 3", "\"attention_head_dim\": 3, \"in_channels\": 1"),
        ("\"AttnDownBlock2D\"", "\"DownBlock2D\""),
        ("[4, 8]", "[4, 6]"),
    ] {
        assert!(TINY.contains(from));
        assert!(layout(&TINY.replace(from, to)) != tiny, "{to}");
    }
}

/// With scale and shift the time has two vectors, and the middle block's attention a norm only where it is asked for.
#[test]
fn scale_and_shift_follow_the_formats_rule() {
    let with = |more: &str| {
        layout(&TINY.replace("\"norm_num_groups\"", &format!("{more}, \"norm_num_groups\"")))
    };
    let norm = "mid_block.attentions.0.group_norm.weight";
    let time = "down_blocks.0.resnets.0.time_emb_proj.weight";
    let shift = r#""resnet_time_scale_shift": "scale_shift""#;
    let plain = with(r#""resnet_time_scale_shift": "default""#);
    assert_eq!((plain[time][0], plain.contains_key(norm)), (4, true));
    let shifted = with(shift);
    assert_eq!((shifted[time][0], shifted.contains_key(norm)), (8, false));
    assert!(shifted.contains_key("down_blocks.1.attentions.0.group_norm.weight"));
    assert!(with(&format!("{shift}, \"attn_norm_num_groups\": 4")).contains_key(norm));
}
