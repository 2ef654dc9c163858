//! The two texts beside the weights: every entry that a network cannot be built from is one sentence, and what is read
//! survives being written.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp)]
#![allow(clippy::cast_possible_wrap, clippy::cast_sign_loss)]

mod common;

use common::{CASES, CONFIG, PREDICTIONS, describe, sentence};
use models::{Description, UNetConfig};

/// From, to, and what the sentence says.
const WRONG: [(&str, &str, &str); 16] = [
    ("\"AttnDownBlock2D\"", "\"CrossAttnDownBlock2D\"", "unknown variant `CrossAttnDownBlock2D`"),
    (
        "\"AttnDownBlock2D\"",
        "\"SkipDownBlock2D\"",
        "down_block_types: found \"SkipDownBlock2D\", expected \"DownBlock2D\" or \"AttnDownBlock2D\"",
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
        "block_out_channels: found 18, expected positive multiples of norm_num_groups = 4",
    ),
    (
        "\"norm_num_groups\": 4",
        "\"norm_num_groups\": 0",
        "norm_num_groups: found 0, expected a positive number",
    ),
    (
        "\"norm_num_groups\": 4",
        "\"norm_num_groups\": 4, \"attn_norm_num_groups\": 3",
        "attn_norm_num_groups: found 3, expected null or a divisor of 16",
    ),
    (
        "\"norm_num_groups\": 4",
        "\"norm_num_groups\": 4, \"time_embedding_type\": \"fourier\"",
        "time_embedding_type: found \"fourier\", expected \"positional\"",
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
    ("{", "[", "expected"),
];

#[test]
fn a_wrong_configuration_is_one_sentence() {
    for (from, to, expected) in WRONG {
        assert!(CONFIG.contains(from), "{from}");
        let text = sentence(UNetConfig::parse(&CONFIG.replacen(from, to, 1)).unwrap_err());
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
    let again = UNetConfig::parse(&null).unwrap().to_json().unwrap();
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
    assert_eq!(UNetConfig::parse(&other.to_json().unwrap()).unwrap(), other);
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
