//! Names that tensors had in older files, and the ones that they have today.
//!
//! Inside attention modules, files of before 2023 say `query`, `key`, `value` and `proj_attn` for `to_q`, `to_k`, `to_v` and
//! `to_out.0`. Files of the summer of 2022 have other names of blocks, and a few tensors under two names with the same
//! numbers. Training scripts leave `module.` (several devices) or `_orig_mod.` (compiled) before every name.

use std::collections::BTreeMap;

const PREFIXES: [&str; 2] = ["module.", "_orig_mod."];
const BEGINNINGS: [(&str, &str); 4] = [
    ("time_steps.", "time_proj."),
    ("mid.", "mid_block."),
    ("downsample_blocks.", "down_blocks."),
    ("upsample_blocks.", "up_blocks."),
];
const ATTENTION: [(&str, &str); 4] = [
    (".query.", ".to_q."),
    (".key.", ".to_k."),
    (".value.", ".to_v."),
    (".proj_attn.", ".to_out.0."),
];
/// Second names of one tensor.
const TWICE: [(&str, &str); 3] = [
    ("time_proj.W", "time_proj.weight"),
    ("samplers.0.op.", "samplers.0.conv."),
    ("samplers.0.Conv2d_0.", "samplers.0.conv."),
];

/// Today's name of a tensor, and whether it is a second name, not needed where the tensor has today's too.
fn current(name: &str) -> (String, bool) {
    let mut name = name;
    while let Some(rest) = PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix)) {
        name = rest;
    }
    let begun =
        BEGINNINGS.iter().find_map(|(old, new)| Some(format!("{new}{}", name.strip_prefix(old)?)));
    let mut name = begun.unwrap_or_else(|| name.to_owned());
    if name.contains("attentions.") {
        name = ATTENTION.iter().fold(name, |name, (old, new)| name.replace(old, new));
    }
    match TWICE.iter().find(|(old, _)| name.contains(old)) {
        Some((old, new)) => (name.replace(old, new), true),
        None => (name, false),
    }
}

/// Today's names with the stored ones. Where two would be one, both keep their own, and the comparison with the network
/// shows which is too many.
pub(crate) fn by_current(stored: impl Iterator<Item = String>) -> BTreeMap<String, String> {
    let (new, old): (Vec<_>, Vec<_>) = stored.partition(|name| current(name).0 == *name);
    let mut names: BTreeMap<_, _> = new.into_iter().map(|name| (name.clone(), name)).collect();
    // Names that count before second names, so that these find them.
    let mut old: Vec<_> = old.into_iter().map(|name| (current(&name), name)).collect();
    old.sort_by_key(|((_, second), _)| *second);
    for ((current, second), name) in old {
        match names.contains_key(&current) {
            true if second => {}
            true => drop(names.insert(name.clone(), name)),
            false => drop(names.insert(current, name)),
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_names_are_read_as_todays() {
        for (old, new) in [
            ("mid_block.attentions.0.query.weight", "mid_block.attentions.0.to_q.weight"),
            (
                "module.mid_block.attentions.0.proj_attn.bias",
                "mid_block.attentions.0.to_out.0.bias",
            ),
            ("_orig_mod.conv_in.weight", "conv_in.weight"),
            ("encoder.key.weight", "encoder.key.weight"),
            ("mid.resnets.0.norm1.bias", "mid_block.resnets.0.norm1.bias"),
            ("time_steps.W", "time_proj.weight"),
            (
                "downsample_blocks.0.downsamplers.0.op.bias",
                "down_blocks.0.downsamplers.0.conv.bias",
            ),
            ("upsample_blocks.0.upsamplers.0.Conv2d_0.bias", "up_blocks.0.upsamplers.0.conv.bias"),
        ] {
            assert_eq!(current(old).0, new);
        }
    }

    #[test]
    fn no_tensor_is_lost_when_two_have_one_name() {
        let both = ["a.attentions.0.query.bias", "a.attentions.0.to_q.bias"].map(String::from);
        assert_eq!(by_current(both.into_iter()).len(), 2);
    }

    #[test]
    fn a_second_name_counts_where_it_is_alone() {
        let names = |names: &[&str]| by_current(names.iter().map(|&n| n.to_owned()));
        let both = names(&["time_proj.W", "time_proj.weight"]);
        assert_eq!(
            both.into_iter().collect::<Vec<_>>(),
            [("time_proj.weight".into(), "time_proj.weight".into())]
        );
        assert_eq!(names(&["time_proj.W"])["time_proj.weight"], "time_proj.W");
        let old = names(&["_orig_mod.module.time_steps.W", "_orig_mod.module.time_steps.weight"]);
        let (today, stored) =
            ("time_proj.weight".into(), "_orig_mod.module.time_steps.weight".into());
        assert_eq!(old.into_iter().collect::<Vec<_>>(), [(today, stored)]);
    }
}
