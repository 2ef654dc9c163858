//! What a configuration must fulfil: entries that fit together, and options that are built here.

use super::super::ends::IMAGE;
use super::{BlockType, TimeEmbeddingType, UNetConfig};
use crate::error::{Error, Result};

/// A rule: whether it holds, the entry, what it says, what it may say.
type Rule<'a> = (bool, &'a str, String, String);

/// Refuses what contradicts itself or is not built here, by its first entry.
pub(super) fn check(config: &UNetConfig) -> Result<()> {
    let rules = [widths, numbers, blocks, options].into_iter().flat_map(|rules| rules(config));
    match rules.into_iter().find(|(holds, ..)| !holds) {
        Some((_, key, found, expected)) => Err(Error::Config { key: key.into(), found, expected }),
        None => Ok(()),
    }
}

fn widths(c: &UNetConfig) -> Vec<Rule<'_>> {
    let odd = c.block_out_channels.iter().find(|n| !(1..=WIDEST).contains(*n));
    let odd_width = odd.map(ToString::to_string).unwrap_or_default();
    let below = format!("below {}, half the first of block_out_channels", c.first_channels() / 2);
    let positional = c.time_embedding_type == TimeEmbeddingType::Positional;
    let shifted = !positional || c.freq_shift < c.first_channels() / 2;
    vec![
        (c.levels() > 0, "block_out_channels", "no level".into(), "at least one".into()),
        (
            c.levels() < 32,
            "block_out_channels",
            format!("{} levels", c.levels()),
            "at most 31".into(),
        ),
        (odd.is_none(), "block_out_channels", odd_width, format!("numbers from 1 to {WIDEST}")),
        (shifted, "freq_shift", text(&c.freq_shift), below),
    ]
}

const POSITIVE: &str = "a positive number";
/// More is no network but a damaged file.
const WIDEST: i64 = 1 << 20;
const MOST: usize = 1000;

fn numbers(c: &UNetConfig) -> Vec<Rule<'_>> {
    let positive = |key, n: Option<i64>| {
        (
            n.is_none_or(|n| (1..=WIDEST).contains(&n)),
            key,
            text(&n),
            format!("a positive number up to {WIDEST} or null"),
        )
    };
    let above =
        |key, x: f64| (x > 0.0 && x <= WIDEST as f64, key, x.to_string(), POSITIVE.to_owned());
    let (layers, dropout) = (c.layers_per_block, c.dropout);
    vec![
        above("in_channels", c.in_channels as f64),
        above("out_channels", c.out_channels as f64),
        above("norm_eps", c.norm_eps),
        above("mid_block_scale_factor", c.mid_block_scale_factor),
        (
            (1..=MOST).contains(&layers),
            "layers_per_block",
            layers.to_string(),
            format!("a number from 1 to {MOST}"),
        ),
        positive("norm_num_groups", c.norm_num_groups),
        positive("attn_norm_num_groups", c.attn_norm_num_groups),
        positive("attention_head_dim", c.attention_head_dim),
        positive("num_class_embeds", c.num_class_embeds),
        positive("num_train_timesteps", c.num_train_timesteps),
        positive("time_embedding_dim", c.time_embedding_dim),
        (
            (0.0..1.0).contains(&dropout),
            "dropout",
            dropout.to_string(),
            "a number from 0 to below 1".into(),
        ),
        (
            (0..=1).contains(&c.downsample_padding),
            "downsample_padding",
            c.downsample_padding.to_string(),
            "0 or 1".into(),
        ),
    ]
}

fn blocks(c: &UNetConfig) -> Vec<Rule<'_>> {
    let kinds = [
        ("down_block_types", &c.down_block_types, true),
        ("up_block_types", &c.up_block_types, false),
    ];
    let mut rules = Vec::new();
    for (key, types, down) in kinds {
        let (found, n) = (types.len(), c.levels());
        let expected = format!("{n}, one for each of block_out_channels");
        rules.push((found == n, key, format!("{found} blocks"), expected));
        let other = types.iter().find(|t| t.goes_down() != down);
        let expected = format!("blocks of the way {}", if down { "down" } else { "up" });
        rules.push((other.is_none(), key, other.map(text).unwrap_or_default(), expected));
        // The second image changes its size in these blocks alone.
        let from_the_image: Vec<_> =
            if down { types.iter().collect() } else { types.iter().rev().collect() };
        let skips = from_the_image.iter().rposition(|t| t.skips()).map_or(0, |i| i + 1);
        let between = from_the_image[..skips].iter().find(|t| !t.skips());
        let expected = "Skip blocks alone between a Skip block and the finest".to_owned();
        rules.push((between.is_none(), key, between.map(text).unwrap_or_default(), expected));
        let plain = types.iter().find(|t| !t.skips());
        let grouped = plain.is_none() || c.norm_num_groups.is_some();
        let expected = format!("a number for {}", plain.map(text).unwrap_or_default());
        rules.push((grouped, "norm_num_groups", "null".into(), expected));
    }
    rules
}

fn options(c: &UNetConfig) -> Vec<Rule<'_>> {
    let learned = c.time_embedding_type == TimeEmbeddingType::Learned;
    let not_last = |types: &[BlockType]| types.iter().rev().skip(1).any(|t| t.skips());
    let image = |skips: bool, channels: i64| !skips || channels == IMAGE;
    let three = format!("{IMAGE}, as its Skip blocks have it");
    vec![
        (
            !learned || c.num_train_timesteps.is_some(),
            "num_train_timesteps",
            "null".into(),
            "the rows of the learned table of times".into(),
        ),
        (
            image(not_last(&c.down_block_types), c.in_channels),
            "in_channels",
            text(&c.in_channels),
            three.clone(),
        ),
        (
            image(not_last(&c.up_block_types), c.out_channels),
            "out_channels",
            text(&c.out_channels),
            three,
        ),
    ]
}

/// As it stands in the file.
fn text(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
