//! What a network is: a function of a batch, its time labels and perhaps classes.
//!
//! ```text
//! y = F(x, c, class),     x [B, …],   c, class one for each row
//! ```
//!
//! An [`Architecture`](crate::Architecture) builds one from its tensors; a TorchScript file or a function of the user's own
//! ([`FromFn`]) is one too. Everything else in this crate takes any of them.

use std::fmt;

use tch::{Kind, Tensor};

use crate::error::{Error, Result};

/// A network.
pub trait Network: fmt::Debug {
    /// The output for a batch, of the network's own number of channels.
    ///
    /// # Errors
    /// An input that the network does not take, or a failure of libtorch.
    fn forward(&self, input: Input<'_>) -> Result<Tensor>;

    /// Classes 0…n − 1 that it can be told; `None` for a network without.
    fn classes(&self) -> Option<i64> {
        None
    }

    /// The kind of what it takes and gives: f32, or f64 for one that calculates in it.
    fn kind(&self) -> Kind {
        Kind::Float
    }
}

/// What a network is evaluated on.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// `[B, …]`, of the network's [`kind`](Network::kind) and on its device.
    pub x: &'a Tensor,
    /// The network's own time label of each row.
    pub label: &'a [f64],
    /// The class of each row, for networks that are told one.
    pub class: Option<Classes<'a>>,
    /// In training, what sets this pass apart; nothing drops without it.
    pub train: Option<Training<'a>>,
}

/// What sets a pass in training apart.
#[derive(Clone, Copy, Debug)]
pub struct Training<'a> {
    /// Of each row the key of what dropout drops: a row with the same key drops the same.
    pub keys: &'a [u64],
    /// Of each row, one after another, the A numbers that say what was done to its image, for a network that can be told.
    pub augmented: Option<&'a [f64]>,
    /// Whether the states inside of a U-Net's blocks are forgotten and made again on the way back (Chen et al. 2016): less
    /// memory, one more pass forward. Gradients of weights are then those of `backward`, and not of `run_backward`.
    pub checkpoint: bool,
}

impl<'a> Training<'a> {
    /// With these keys of dropout, and nothing else that is special.
    pub fn new(keys: &'a [u64]) -> Self {
        Self { keys, augmented: None, checkpoint: false }
    }
}

/// The class of each row, as the network takes it.
#[derive(Clone, Copy, Debug)]
pub enum Classes<'a> {
    /// Rows of a table.
    Labels(&'a [i64]),
    /// Numbers that are embedded as a time is, `[B]`, or ready vectors `[B, T]`; of the kind of x.
    Vectors(&'a Tensor),
}

impl Input<'_> {
    /// Refuses elements of another kind than the network's, and labels that are not one for each row.
    ///
    /// # Errors
    /// [`Error::Config`] or [`Error::Shape`] naming both.
    pub fn check(&self, kind: Kind) -> Result<()> {
        if !self.x.defined() || self.x.f_kind()? != kind {
            let found =
                if self.x.defined() { format!("{:?}", self.x.f_kind()?) } else { NONE.into() };
            return refuse("the network's input", found, &format!("{kind:?}"));
        }
        let rows = self.x.size().first().copied();
        let one_each = |what, n: usize| {
            let (found, expected) = (vec![n as i64], format!("[{}]", rows.unwrap_or(1)));
            let fits = rows == Some(n as i64);
            if fits { Ok(()) } else { Err(Error::Shape { what, found, expected }) }
        };
        one_each("the time labels", self.label.len())?;
        self.train.map_or(Ok(()), |train| one_each("the keys of dropout", train.keys.len()))
    }

    /// Refuses classes that are not numbers of a table of `rows`, one for each row of x; the classes on the device.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub fn table_rows(&self, rows: i64) -> Result<Tensor> {
        let labels = match self.class {
            Some(Classes::Labels(labels)) => labels,
            None => {
                return refuse(
                    CLASSES,
                    NONE.into(),
                    &format!("one for each sample, from 0 to {}", rows - 1),
                );
            }
            Some(Classes::Vectors(_)) => return refuse(CLASSES, "vectors".into(), "whole numbers"),
        };
        let (found, n) = (labels.len(), self.label.len());
        if found != n {
            return refuse(
                CLASSES,
                format!("{found} of them"),
                &format!("{n}, one for each sample"),
            );
        }
        if let Some(k) = labels.iter().find(|k| !(0..rows).contains(*k)) {
            return refuse(CLASSES, k.to_string(), &format!("numbers from 0 to {}", rows - 1));
        }
        Ok(Tensor::f_from_slice(labels)?.f_to_device(self.x.device())?)
    }

    /// What was done to the images, `[B, width]` of the kind of x; nothing is told outside of training. A network that
    /// cannot be told has the width 0.
    ///
    /// # Errors
    /// [`Error::Shape`] for another number of numbers.
    pub fn augmentation(&self, width: i64) -> Result<Option<Tensor>> {
        let Some(done) = self.train.and_then(|train| train.augmented) else { return Ok(None) };
        let rows = self.label.len() as i64;
        if done.len() as i64 != rows * width {
            let (what, found) = ("what was done to the images", vec![done.len() as i64]);
            return Err(Error::Shape { what, found, expected: format!("[{rows}, {width}]") });
        }
        Ok(Some(self.column(done)?.f_reshape([rows, width])?))
    }

    /// Refuses classes for a network that has none.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub fn no_classes(&self) -> Result<()> {
        match self.class {
            None => Ok(()),
            Some(_) => refuse(CLASSES, "some".into(), "none: the network has no classes"),
        }
    }

    /// The labels as `[B]`, of the kind and on the device of x.
    ///
    /// # Errors
    /// No memory.
    pub fn label_tensor(&self) -> Result<Tensor> {
        self.column(self.label)
    }

    /// Numbers as `[B]`, of the kind and on the device of x.
    pub(crate) fn column(&self, numbers: &[f64]) -> Result<Tensor> {
        let numbers = Tensor::f_from_slice(numbers)?.f_to_kind(self.x.f_kind()?)?;
        Ok(numbers.f_to_device(self.x.device())?)
    }
}

const CLASSES: &str = "the class labels";
const NONE: &str = "none";

fn refuse<T>(key: &str, found: String, expected: &str) -> Result<T> {
    Err(Error::Config { key: key.into(), found, expected: expected.into() })
}

/// A label that is an index into a table of so many rows.
pub(crate) fn whole(t: f64, rows: usize, table: &str) -> Result<usize> {
    let row = (t.fract() == 0.0 && t >= 0.0 && t < rows as f64).then_some(t as i64);
    row.and_then(|row| usize::try_from(row).ok()).ok_or_else(|| Error::Config {
        key: "the time label".into(),
        found: t.to_string(),
        expected: format!(
            "a whole number from 0 to {}, an index into {table}",
            rows.saturating_sub(1)
        ),
    })
}

/// A function of the user's own as a network without classes.
pub struct FromFn<F>(pub F);

impl<F> fmt::Debug for FromFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FromFn")
    }
}

impl<F: Fn(Input<'_>) -> Result<Tensor>> Network for FromFn<F> {
    fn forward(&self, input: Input<'_>) -> Result<Tensor> {
        (self.0)(input)
    }
}
