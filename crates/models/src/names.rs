//! Names that tensors had in older files, and the ones that they have today.
//!
//! Inside attention modules, files of before 2023 say `query`, `key`, `value` and `proj_attn` for `to_q`, `to_k`, `to_v` and
//! `to_out.0`; training scripts leave `module.` (several devices) or `_orig_mod.` (compiled) before every name.

use std::collections::BTreeMap;

const PREFIXES: [&str; 2] = ["module.", "_orig_mod."];
const ATTENTION: [(&str, &str); 4] = [
    (".query.", ".to_q."),
    (".key.", ".to_k."),
    (".value.", ".to_v."),
    (".proj_attn.", ".to_out.0."),
];

/// Today's name of a tensor.
pub(crate) fn current(name: &str) -> String {
    let name = PREFIXES.iter().fold(name, |name, prefix| name.strip_prefix(prefix).unwrap_or(name));
    if !name.contains("attentions.") {
        return name.to_owned();
    }
    ATTENTION.iter().fold(name.to_owned(), |name, (old, new)| name.replace(old, new))
}

/// Today's names with the stored ones. Where two would be one, both keep their own, and the comparison with the network
/// shows which is too many.
pub(crate) fn by_current(stored: impl Iterator<Item = String>) -> BTreeMap<String, String> {
    let (new, old): (Vec<_>, Vec<_>) = stored.partition(|name| current(name) == *name);
    let mut names: BTreeMap<_, _> = new.into_iter().map(|name| (name.clone(), name)).collect();
    for name in old {
        let current = current(&name);
        let key = if names.contains_key(&current) { name.clone() } else { current };
        names.insert(key, name);
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
        ] {
            assert_eq!(current(old), new);
        }
    }

    #[test]
    fn no_tensor_is_lost_when_two_have_one_name() {
        let both = ["a.attentions.0.query.bias", "a.attentions.0.to_q.bias"].map(String::from);
        assert_eq!(by_current(both.into_iter()).len(), 2);
    }
}
