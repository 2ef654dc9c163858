//! The three configurations, with the entries and defaults of `score_sde` and EDM, and what each must fulfil.

mod edm;
mod ncsnpp;

use serde::{Deserialize, Serialize};

pub use edm::{DhariwalUNetConfig, Precond, SongUNetConfig, Way};
pub use ncsnpp::{BlockKind, Combine, NcsnPpConfig, Progressive, ProgressiveInput};

use super::plan::Plan;
use crate::error::{Error, Result};

/// How the time label becomes a vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EmbeddingType {
    /// By random frequencies.
    Fourier,
    /// By fixed frequencies.
    Positional,
}

fn refusal(key: &str, found: &str, expected: &str) -> Error {
    Error::Config { key: key.into(), found: found.into(), expected: expected.into() }
}

/// More is no network but a damaged file.
const WIDEST: i64 = 1 << 20;
const MOST: usize = 1000;

/// Refuses what contradicts itself, by its entry.
fn check(
    plan: Plan,
    [size, multiples, width, channels, dropout, blocks]: [&str; 6],
) -> Result<Plan> {
    let levels = plan.multiples.len();
    let finest = 1_i64 << levels.clamp(1, 32).saturating_sub(1);
    let rules = [
        (
            (1..32).contains(&levels),
            multiples,
            format!("{levels} levels"),
            "1 to 31 levels".to_owned(),
        ),
        (
            plan.multiples.iter().all(|&m| (1..=MOST as i64).contains(&m)),
            multiples,
            format!("{:?}", plan.multiples),
            "positive numbers".into(),
        ),
        (
            plan.size > 0 && plan.size % finest == 0,
            size,
            plan.size.to_string(),
            format!("a positive multiple of {finest}"),
        ),
        (
            plan.label_scale > 0.0,
            "label_scale",
            plan.label_scale.to_string(),
            "a positive number".into(),
        ),
        (
            (4..=WIDEST).contains(&plan.width) && plan.width % 2 == 0,
            width,
            plan.width.to_string(),
            format!("an even number from 4 to {WIDEST}"),
        ),
        (
            (1..=WIDEST).contains(&plan.embedding.0) && (1..=WIDEST).contains(&plan.embedding.1),
            "the widths of the embedding",
            format!("{:?}", plan.embedding),
            format!("numbers from 1 to {WIDEST}"),
        ),
        (
            [plan.channels.0, plan.channels.1].iter().all(|c| (1..=WIDEST).contains(c)),
            channels,
            format!("{:?}", plan.channels),
            format!("numbers from 1 to {WIDEST}"),
        ),
        (
            (0..=WIDEST).contains(&plan.labels) && (0..=WIDEST).contains(&plan.augment),
            "label_dim or augment_dim",
            format!("{:?}", (plan.labels, plan.augment)),
            format!("numbers from 0 to {WIDEST}"),
        ),
        (
            (1..=MOST).contains(&plan.blocks),
            blocks,
            plan.blocks.to_string(),
            format!("a number from 1 to {MOST}"),
        ),
        (
            (0.0..1.0).contains(&plan.dropout),
            dropout,
            plan.dropout.to_string(),
            "a number from 0 to below 1".into(),
        ),
        (
            plan.filter.len() >= 2
                && plan.filter.len().is_multiple_of(2)
                && plan.filter.iter().sum::<f64>().abs() > 0.0,
            "the filter",
            format!("{:?}", plan.filter),
            "an even number of entries whose sum is not 0".into(),
        ),
    ];
    match rules.into_iter().find(|(holds, ..)| !holds) {
        Some((_, key, found, expected)) => Err(refusal(key, &found, &expected)),
        None => Ok(plan),
    }
}
