//! The two texts beside the weights: every entry that a network cannot be built from is one sentence, and what is read
//! survives being written.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp)]
#![allow(clippy::cast_possible_wrap, clippy::cast_sign_loss)]

mod common;

use common::{CASES, CONFIG, PREDICTIONS, describe, sentence};
use models::{Architecture, Description, UNetConfig};

/// From, to, and what the sentence says.
const WRONG: [(&str, &str, &str); 22] = [
    ("\"AttnDownBlock2D\"", "\"CrossAttnDownBlock2D\"", "unknown variant `CrossAttnDownBlock2D`"),
    (
        "\"DownBlock2D\"",
        "\"SkipDownBlock2D\"",
        "in_channels: found 1, expected 3, as its Skip blocks have it",
    ),
    (
        "[8, 16]",
        "[8, 16, 16]",
        "down_block_types: found 2 blocks, expected 3, one for each of block_out_channels",
    ),
    ("\"AttnUpBlock2D\", ", "", "up_block_types: found 1 blocks, expected 2"),
    ("[8, 16]", "[]", "block_out_channels: found no level, expected at least one"),
    (
        "[8, 16]",
        "[8, 18]",
        "mid_block.attentions.0.group_norm of the network: found 18 channels in 4 groups, expected groups of equal size",
    ),
    (
        "\"norm_num_groups\": 4",
        "\"norm_num_groups\": 0",
        "norm_num_groups: found 0, expected a positive number up to 1048576 or null",
    ),
    (
        "\"norm_num_groups\": 4",
        "\"norm_num_groups\": 4, \"attn_norm_num_groups\": 3",
        "mid_block.attentions.0.group_norm of the network: found 16 channels in 3 groups",
    ),
    (
        "\"norm_num_groups\": 4",
        "\"norm_num_groups\": 4, \"time_embedding_type\": \"learned\"",
        "num_train_timesteps: found null, expected the rows of the learned table of times",
    ),
    (
        "\"norm_num_groups\": 4",
        "\"norm_num_groups\": 4, \"act_fn\": \"tanh\"",
        "unknown variant `tanh`",
    ),
    (
        "\"norm_num_groups\": 4",
        "\"norm_num_groups\": 4, \"dropout\": 1.0",
        "dropout: found 1, expected a number from 0 to below 1",
    ),
    (
        "\"norm_num_groups\": 4",
        "\"norm_num_groups\": 4, \"downsample_padding\": 2",
        "downsample_padding: found 2, expected 0 or 1",
    ),
    (
        "\"norm_num_groups\": 4",
        "\"norm_num_groups\": 4, \"_class_name\": \"Transformer2DModel\"",
        "_class_name: found \"Transformer2DModel\"",
    ),
    (
        "\"norm_num_groups\": 4",
        "\"norm_num_groups\": 4, \"freq_shift\": 4",
        "freq_shift: found 4, expected below 4",
    ),
    (
        "\"in_channels\": 1",
        "\"in_channels\": \"one\"",
        "invalid type: string \"one\", expected i64",
    ),
    (
        "\"AttnDownBlock2D\"",
        "\"UpBlock2D\"",
        "down_block_types: found \"UpBlock2D\", expected blocks of the way down",
    ),
    (
        "\"norm_num_groups\": 4",
        "\"norm_num_groups\": null",
        "norm_num_groups: found null, expected a number for \"DownBlock2D\"",
    ),
    (
        "\"attention_head_dim\": 4",
        "\"attention_head_dim\": 32",
        "attention_head_dim: found 32, expected at most 16, the channels of",
    ),
    (
        "\"in_channels\": 1",
        "\"class_embed_type\": \"projection\", \"in_channels\": 1",
        "unknown variant `projection`, expected `timestep` or `identity`",
    ),
    (
        "\"AttnUpBlock2D\"",
        "\"AttnSkipUpBlock2D\"",
        "up_block_types: found \"UpBlock2D\", expected Skip blocks alone between a Skip block and the finest",
    ),
    ("\"in_channels\": 1", "\"_class_name\": \"Mlp\", \"dimension\": 2", "unknown field"),
    ("{", "[", "expected"),
];

#[test]
fn a_wrong_configuration_is_one_sentence() {
    for (from, to, expected) in WRONG {
        assert!(CONFIG.contains(from), "{from}");
        let text = sentence(Architecture::parse(&CONFIG.replacen(from, to, 1)).unwrap_err());
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn an_absent_head_width_is_eight_and_null_is_one_head() {
    let width = |text: &str| UNetConfig::parse(text).unwrap().attention_head_dim;
    assert_eq!(width(CONFIG), Some(4));
    assert_eq!(width(&CONFIG.replace("\"attention_head_dim\": 4,", "")), Some(8));
    let null = CONFIG.replace("\"attention_head_dim\": 4", "\"attention_head_dim\": null");
    assert_eq!(width(&null), None);
    let again = Architecture::parse(&null).unwrap().to_json().unwrap();
    assert_eq!(width(&again), None, "it survives being written");
}

#[test]
fn swish_is_silu_and_unknown_keys_stay() {
    let with = |more: &str| {
        let text = CONFIG.replace("\"in_channels\"", &format!("{more}, \"in_channels\""));
        UNetConfig::parse(&text).unwrap()
    };
    assert_eq!(with("\"act_fn\": \"swish\"").act_fn, UNetConfig::default().act_fn);
    assert_eq!(with("\"act_fn\": \"swish\""), UNetConfig::parse(CONFIG).unwrap());
    assert!(with("\"act_fn\": \"relu\"") != UNetConfig::parse(CONFIG).unwrap());
    let other = with("\"_diffusers_version\": \"0.42.1\"");
    assert_eq!(other.others.keys().collect::<Vec<_>>(), ["_diffusers_version"]);
    assert_eq!(
        UNetConfig::parse(&Architecture::from(other.clone()).to_json().unwrap()).unwrap(),
        other
    );
}

/// The names and block types of the files of 2022 are read as today's; where both stand, today's wins.
#[test]
fn names_of_2022_are_todays() {
    let old = [
        ("block_out_channels", "block_channels"),
        ("layers_per_block", "num_res_blocks"),
        ("norm_num_groups", "resnet_num_groups"),
        ("attention_head_dim", "num_head_channels"),
        ("down_block_types", "down_blocks"),
        ("up_block_types", "up_blocks"),
        ("\"AttnDownBlock2D", "\"UNetResAttnDownBlock2D"),
        ("\"UpBlock2D", "\"UNetResUpBlock2D"),
    ];
    let text = old.iter().fold(CONFIG.to_owned(), |text, (today, then)| {
        assert!(text.contains(today));
        text.replace(today, then)
    });
    let config = UNetConfig::parse(CONFIG).unwrap();
    assert_eq!(UNetConfig::parse(&text).unwrap(), config);
    let both = CONFIG.replace("\"in_channels\"", "\"num_res_blocks\": 7, \"in_channels\"");
    assert_eq!(UNetConfig::parse(&both).unwrap(), config);
}

/// Every description of this suite survives being written.
#[test]
fn descriptions_survive_their_file() {
    for case in &CASES {
        for prediction in PREDICTIONS {
            let description = Description { levels: Some(256), ..describe(case, prediction) };
            let text = description.to_toml().unwrap();
            let again = Description::parse(&text).unwrap();
            assert_eq!(again.to_toml().unwrap(), text);
            assert_eq!((again.prediction, again.label), (prediction, description.label));
            assert_eq!(again.process.coefficients(0.3), description.process.coefficients(0.3));
        }
    }
}
