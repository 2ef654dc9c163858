//! What a configuration must fulfil: entries that fit together, and options that are built here.

use super::{BlockType, Resampling, TimeEmbeddingType, UNetConfig};
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
    let groups = c.norm_num_groups.unwrap_or(0);
    let odd = c.block_out_channels.iter().find(|n| **n <= 0 || **n % groups.max(1) != 0);
    let odd_width = odd.map(ToString::to_string).unwrap_or_default();
    let last = c.block_out_channels.last().copied().unwrap_or(0);
    let attends = c.attn_norm_num_groups.is_none_or(|g| g > 0 && last % g == 0);
    let multiples = format!("positive multiples of norm_num_groups = {groups}");
    let divisor = format!("null or a divisor of {last}");
    let below = format!("below {}, half the first of block_out_channels", c.first_channels() / 2);
    let shifted = c.freq_shift < c.first_channels() / 2;
    vec![
        (c.levels() > 0, "block_out_channels", "no level".into(), "at least one".into()),
        (groups > 0, "norm_num_groups", text(&c.norm_num_groups), POSITIVE.into()),
        (odd.is_none(), "block_out_channels", odd_width, multiples),
        (attends, "attn_norm_num_groups", text(&c.attn_norm_num_groups), divisor),
        (shifted, "freq_shift", text(&c.freq_shift), below),
    ]
}

const POSITIVE: &str = "a positive number";

fn numbers(c: &UNetConfig) -> Vec<Rule<'_>> {
    let positive = |key, n: Option<i64>| {
        (n.is_none_or(|n| n > 0), key, text(&n), "a positive number or null".to_owned())
    };
    let above = |key, x: f64| (x > 0.0, key, x.to_string(), POSITIVE.to_owned());
    let (layers, dropout) = (c.layers_per_block, c.dropout);
    vec![
        above("in_channels", c.in_channels as f64),
        above("out_channels", c.out_channels as f64),
        above("norm_eps", c.norm_eps),
        above("mid_block_scale_factor", c.mid_block_scale_factor),
        (layers > 0, "layers_per_block", layers.to_string(), POSITIVE.into()),
        positive("attention_head_dim", c.attention_head_dim),
        positive("num_class_embeds", c.num_class_embeds),
        positive("time_embedding_dim", c.time_embedding_dim),
        (
            (0.0..1.0).contains(&dropout),
            "dropout",
            dropout.to_string(),
            "a number from 0 to below 1".into(),
        ),
    ]
}

fn blocks(c: &UNetConfig) -> Vec<Rule<'_>> {
    use BlockType::{AttnDownBlock2D, AttnUpBlock2D, DownBlock2D, UpBlock2D};
    let kinds = [
        ("down_block_types", &c.down_block_types, [DownBlock2D, AttnDownBlock2D]),
        ("up_block_types", &c.up_block_types, [UpBlock2D, AttnUpBlock2D]),
    ];
    let mut rules = Vec::new();
    for (key, types, known) in kinds {
        let (found, n) = (types.len(), c.levels());
        let expected = format!("{n}, one for each of block_out_channels");
        rules.push((found == n, key, format!("{found} blocks"), expected));
        let other = types.iter().find(|t| !known.contains(t));
        let expected = format!("{} or {}", text(&known[0]), text(&known[1]));
        rules.push((other.is_none(), key, other.map(text).unwrap_or_default(), expected));
    }
    rules
}

fn options(c: &UNetConfig) -> Vec<Rule<'_>> {
    let positional = c.time_embedding_type == TimeEmbeddingType::Positional;
    let conv = |r: Resampling| r == Resampling::Conv;
    vec![
        (
            c.class_name == "UNet2DModel",
            "_class_name",
            text(&c.class_name),
            "\"UNet2DModel\"".into(),
        ),
        (
            positional,
            "time_embedding_type",
            text(&c.time_embedding_type),
            text(&TimeEmbeddingType::Positional),
        ),
        (
            conv(c.downsample_type),
            "downsample_type",
            text(&c.downsample_type),
            text(&Resampling::Conv),
        ),
        (conv(c.upsample_type), "upsample_type", text(&c.upsample_type), text(&Resampling::Conv)),
        (
            c.class_embed_type.is_none(),
            "class_embed_type",
            text(&c.class_embed_type),
            "null".into(),
        ),
        (
            (0..=1).contains(&c.downsample_padding),
            "downsample_padding",
            c.downsample_padding.to_string(),
            "0 or 1".into(),
        ),
    ]
}

/// As it stands in the file.
fn text(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
