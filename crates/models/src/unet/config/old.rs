//! The names that entries and blocks of a `config.json` had in the summer of 2022.

use serde_json::{Map, Value};

/// Then and today.
const NAMES: [(&str, &str); 10] = [
    ("image_size", "sample_size"),
    ("num_res_blocks", "layers_per_block"),
    ("block_channels", "block_out_channels"),
    ("down_blocks", "down_block_types"),
    ("up_blocks", "up_block_types"),
    ("downscale_freq_shift", "freq_shift"),
    ("resnet_num_groups", "norm_num_groups"),
    ("resnet_act_fn", "act_fn"),
    ("resnet_eps", "norm_eps"),
    ("num_head_channels", "attention_head_dim"),
];
/// Types of blocks began with this.
const PREFIX: &str = "UNetRes";

/// Gives entries their names of today. One that stands under both names keeps today's.
pub(super) fn rename(entries: &mut Map<String, Value>) {
    for (then, today) in NAMES {
        if let Some(value) = entries.remove(then) {
            entries.entry(today).or_insert(value);
        }
    }
    let lists = ["down_block_types", "up_block_types"];
    let blocks =
        lists.map(|key| entries.get_mut(key).and_then(Value::as_array_mut).map(std::mem::take));
    for (key, blocks) in lists.into_iter().zip(blocks) {
        let Some(blocks) = blocks else { continue };
        let rename = |block: Value| match block.as_str().and_then(|b| b.strip_prefix(PREFIX)) {
            Some(today) => today.into(),
            None => block,
        };
        entries.insert(key.into(), blocks.into_iter().map(rename).collect());
    }
}
