//! How the tensors of a file differ from those of a network: everything at once, with the nearest names.

use std::collections::BTreeMap;
use std::fmt;

use crate::parameters::Layout;

/// The most lines of each kind that a message lists.
const LISTED: usize = 8;

/// All differences between what a network needs and what a file has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mismatch {
    /// Tensors that the file lacks, each with the most similar unused name of the file.
    pub missing: Vec<(String, Option<String>)>,
    /// Tensors that the network does not have.
    pub unexpected: Vec<String>,
    /// Tensors of another shape: name, found, expected.
    pub shapes: Vec<(String, Vec<usize>, Vec<usize>)>,
}

impl Mismatch {
    /// Compares both ways; `None` when they agree.
    pub fn between(layout: &Layout, file: &BTreeMap<String, Vec<usize>>) -> Option<Self> {
        let mut report = Self::default();
        let known: BTreeMap<&str, &[usize]> =
            layout.iter().map(|e| (e.name.as_str(), e.shape.as_slice())).collect();
        report.unexpected =
            file.keys().filter(|name| !known.contains_key(name.as_str())).cloned().collect();
        for (name, expected) in &known {
            match file.get(*name) {
                None => {
                    let nearest = nearest(name, &report.unexpected);
                    report.missing.push(((*name).to_owned(), nearest));
                }
                Some(found) if found != expected => {
                    report.shapes.push(((*name).to_owned(), found.clone(), expected.to_vec()));
                }
                Some(_) => {}
            }
        }
        (report != Self::default()).then_some(report)
    }
}

/// The candidate with the fewest edits, if fewer than a third of the name changes.
fn nearest(name: &str, candidates: &[String]) -> Option<String> {
    let distances = candidates.iter().map(|c| (edits(name, c), c));
    let (distance, best) = distances.min()?;
    (3 * distance < name.len()).then(|| best.clone())
}

/// Levenshtein's distance, by bytes.
fn edits(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let replace = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replace.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// `3 missing (a, b, c)`, with at most [`LISTED`] of them.
fn list(f: &mut fmt::Formatter<'_>, what: &str, items: &[String]) -> fmt::Result {
    let listed = items[..items.len().min(LISTED)].join(", ");
    write!(f, "{} {what} (", items.len())?;
    for c in listed.chars() {
        // A damaged file may have any character in a name.
        if c.is_control() { write!(f, "{}", c.escape_default())? } else { write!(f, "{c}")? }
    }
    f.write_str(if items.len() > LISTED { ", …)" } else { ")" })
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let missing = self.missing.iter().map(|(name, nearest)| match nearest {
            Some(nearest) => format!("{name}: did you mean {nearest}?"),
            None => name.clone(),
        });
        let shape = |(name, found, expected): &(String, Vec<usize>, Vec<usize>)| {
            format!("{name}: found {found:?}, expected {expected:?}")
        };
        let parts = [
            ("missing", missing.collect::<Vec<_>>()),
            ("unexpected", self.unexpected.clone()),
            ("of another shape", self.shapes.iter().map(shape).collect()),
        ];
        f.write_str("the tensors are not those of the network: ")?;
        let parts = parts.iter().filter(|(_, items)| !items.is_empty());
        for (i, (what, items)) in parts.enumerate() {
            f.write_str(if i > 0 { "; " } else { "" })?;
            list(f, what, items)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parameters::{Entry, Init};

    fn layout(entries: &[(&str, &[usize])]) -> Layout {
        let entry = |(name, shape): &(&str, &[usize])| Entry {
            name: (*name).into(),
            shape: shape.to_vec(),
            init: Init::Constant(0.0),
            frozen: false,
            precise: false,
        };
        entries.iter().map(entry).collect()
    }

    #[test]
    fn all_differences_are_in_one_sentence() {
        let needed = layout(&[("conv.weight", &[2, 3]), ("mid.to_q.bias", &[4]), ("gone", &[])]);
        let file = [("conv.weight", vec![3, 2]), ("mid.query.bias", vec![4]), ("other", vec![])];
        let file = file.map(|(name, shape)| (name.to_owned(), shape)).into();
        let text = Mismatch::between(&needed, &file).unwrap().to_string();
        assert_eq!(
            text,
            "the tensors are not those of the network: 2 missing (gone, mid.to_q.bias); \
             2 unexpected (mid.query.bias, other); \
             1 of another shape (conv.weight: found [3, 2], expected [2, 3])"
        );
    }

    #[test]
    fn a_slip_of_the_pen_is_recognised() {
        let file = [("conv_in.wieght".to_owned(), vec![1])].into();
        let text = Mismatch::between(&layout(&[("conv_in.weight", &[1])]), &file).unwrap();
        assert!(text.to_string().contains("conv_in.weight: did you mean conv_in.wieght?"));
    }

    #[test]
    fn agreement_is_no_report() {
        let file = [("a".to_owned(), vec![1, 2])].into();
        assert_eq!(Mismatch::between(&layout(&[("a", &[1, 2])]), &file), None);
    }

    #[test]
    fn edits_are_counted() {
        assert_eq!(edits("kitten", "sitting"), 3);
        assert_eq!(edits("", "abc"), 3);
    }
}
