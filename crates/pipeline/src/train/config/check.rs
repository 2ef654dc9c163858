//! What the types of a configuration cannot say: numbers in range, entries that go together.

use models::Architecture;

use super::{Averages, TrainConfig};
use crate::train::augment::LABEL;
use crate::train::error::{Result, TrainError};

/// An entry that cannot be used.
fn entry(key: &str, found: &impl ToString, expected: impl Into<String>) -> TrainError {
    TrainError::Entry { key: key.into(), found: found.to_string(), expected: expected.into() }
}

/// One rule: the entry, what it says, whether that is allowed.
type Rule<'a> = (&'a str, f64, bool);

fn all(rules: &[Rule<'_>], expected: &str) -> Result<()> {
    match rules.iter().find(|(_, value, ok)| !(value.is_finite() && *ok)) {
        Some((key, found, _)) => Err(entry(key, found, expected)),
        None => Ok(()),
    }
}

impl TrainConfig {
    pub(super) fn check(&self) -> Result<()> {
        if let Architecture::UNet2DModel(unet) = &self.network
            && let Some((key, value)) = unet.others.iter().next()
        {
            return Err(entry(&format!("network.{key}"), value, "a key of a UNet2DModel"));
        }
        self.check_parts()?;
        self.check_positive()?;
        self.check_batch()?;
        self.check_averages()
    }

    fn check_parts(&self) -> Result<()> {
        let t = &self.training;
        let parts = [
            ("data.augment", self.data.augment),
            ("training.betas", t.betas.0),
            ("training.betas", t.betas.1),
            ("training.weight_decay", t.weight_decay),
            ("training.label_dropout", t.label_dropout),
        ];
        let rules = parts.map(|(key, x)| (key, x, (0.0..1.0).contains(&x)));
        all(&rules, "a number from 0 to below 1")
    }

    fn check_positive(&self) -> Result<()> {
        let (t, keep) = (&self.training, &self.keep);
        let counts = [
            ("training.steps", t.steps),
            ("training.batch", t.batch as u64),
            ("training.accumulate", t.accumulate as u64),
            ("training.validate_every", t.validate_every),
            ("training.checkpoint_every", t.checkpoint_every),
            ("training.report_every", t.report_every),
            ("keep.states", keep.states as u64),
            ("keep.milestone_every", keep.milestone_every.unwrap_or(1)),
            ("keep.sample_every", keep.sample_every.unwrap_or(1)),
            ("keep.samples", keep.samples as u64),
            ("keep.threads", keep.threads as u64),
        ];
        let mut rules: Vec<Rule<'_>> =
            counts.iter().map(|&(key, n)| (key, n as f64, n > 0)).collect();
        let sizes = [("training.learning_rate", t.learning_rate), ("training.clip", t.clip)];
        rules.extend(sizes.map(|(key, x)| (key, x, x > 0.0)));
        all(&rules, "a positive number")
    }

    fn check_batch(&self) -> Result<()> {
        let t = &self.training;
        if !t.batch.is_multiple_of(t.accumulate) {
            let expected = format!("a divisor of training.batch = {}", t.batch);
            return Err(entry("training.accumulate", &t.accumulate, expected));
        }
        if self.data.augment > 0.0 && self.augment_dim() != LABEL as i64 {
            let expected = format!(
                "0, or a SongUNet or DhariwalUNet with network.augment_dim = {LABEL}: the network has to be told"
            );
            return Err(entry("data.augment", &self.data.augment, expected));
        }
        if t.label_dropout > 0.0 && self.class_rows().is_none_or(|n| n < 2) {
            let expected =
                "0, or a class table of the network with one row more than there are classes";
            return Err(entry("training.label_dropout", &t.label_dropout, expected));
        }
        Ok(())
    }

    fn check_averages(&self) -> Result<()> {
        match &self.training.ema {
            Averages::Decay(x) => {
                all(&[("training.ema", *x, (0.0..1.0).contains(x))], "a number from 0 to below 1")
            }
            Averages::Power { power, post_hoc } => {
                let widths = power.iter().chain(post_hoc);
                let rules: Vec<Rule<'_>> = widths
                    .map(|&x| ("training.ema", x, models::ema::WIDTHS.contains(&x)))
                    .collect();
                all(&rules, "widths from 0.001 to 0.28")?;
                if post_hoc.is_empty() {
                    return Err(entry("training.ema.post_hoc", &"[]", "at least one width"));
                }
                Ok(())
            }
        }
    }
}
