//! The `ResNet` block that all the U-Nets are made of.
//!
//! ```text
//! add:         h = GN2(conv1(R act(GN1 x)) + W act(e)),   y = (shortcut R x + conv2(drop act h)) / s
//! scale_shift: h = GN2(conv1(R act(GN1 x))) (1 + a) + b,  [a, b] = W act(e)
//! ```
//!
//! with e the embedding of time (and class), s the output scale, and R the halving or doubling of blocks that resample.
//! Families of checkpoints differ in the names of these parts.

use tch::Tensor;
use torch_ext::checkpoint::checkpoint;

use super::fir::Fir;
use super::{Activation, Conv, Dropout, Entry, Linear, Norm, averaged, divided, nearest};
use crate::error::Result;
use crate::network::Training;
use crate::parameters::Builder;

/// What changes from one pass to the next.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pass<'a> {
    /// `[B, T]`, not activated.
    pub(crate) embedding: &'a Tensor,
    pub(crate) train: Option<Training<'a>>,
}

impl Pass<'_> {
    /// A block's own pass, or one that is done again on the way back, with a copy of the block that shares its weights.
    pub(crate) fn through<B: Clone + Send + 'static>(
        self,
        block: &B,
        x: &Tensor,
        forward: fn(&B, &Tensor, Pass<'_>) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let Some(train) = self.train.filter(|train| train.checkpoint) else {
            return forward(block, x, self);
        };
        let (block, keys) = (block.clone(), train.keys.to_vec());
        let again = move |inputs: &[Tensor]| {
            let pass = Pass { embedding: &inputs[1], train: Some(Training::new(&keys)) };
            forward(&block, &inputs[0], pass)
        };
        Ok(checkpoint(&[x, self.embedding], again)?)
    }
}

/// R.
#[derive(Clone, Debug)]
pub(crate) enum Resample {
    Keep,
    Average,
    Nearest,
    FirDown(Fir),
    FirUp(Fir),
}

impl Resample {
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Keep => Ok(x.shallow_clone()),
            Self::Average => averaged(x),
            Self::Nearest => nearest(x),
            Self::FirDown(fir) => fir.down(x),
            Self::FirUp(fir) => fir.up(x),
        }
    }
}

/// The convolution beside the block.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Shortcut {
    /// Where the channels change.
    WhereNeeded,
    /// There too where they do not.
    Always,
    /// Where the channels change, stored as the matrix `[C_in, C_out]` of a linear map.
    Matrix,
}

/// The names of norm, convolution, embedding, norm, convolution, shortcut.
pub(crate) type Names = [&'static str; 6];

/// What sets one `ResNet` block apart from another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    pub(crate) names: Names,
    pub(crate) channels: (i64, i64),
    /// Of the two norms.
    pub(crate) groups: (i64, i64),
    pub(crate) eps: f64,
    /// T.
    pub(crate) embedding: i64,
    pub(crate) scale_shift: bool,
    pub(crate) activation: Activation,
    pub(crate) dropout: f64,
    /// s.
    pub(crate) scale: f64,
    pub(crate) shortcut: Shortcut,
}

/// A `ResNet` block.
#[derive(Clone, Debug)]
pub(crate) struct Resnet {
    norm1: Norm,
    conv1: Conv,
    time: Linear,
    norm2: Norm,
    conv2: Conv,
    shortcut: Option<Conv>,
    dropout: Dropout,
    kind: Kind,
    resample: Resample,
}

impl Resnet {
    pub(crate) fn new(b: &mut Builder<'_>, place: &str, kind: Kind) -> Result<Self> {
        let (cin, cout) = kind.channels;
        let [norm1, conv1, time, norm2, conv2, shortcut] =
            kind.names.map(|name| format!("{place}.{name}"));
        let shortcut = match kind.shortcut {
            Shortcut::WhereNeeded | Shortcut::Matrix if cin == cout => None,
            Shortcut::Matrix => Some(Conv::matrix(b, &shortcut, (cin, cout))?),
            _ => Some(Conv::new(b, &shortcut, (cin, cout), 1)?),
        };
        let vectors = if kind.scale_shift { 2 } else { 1 };
        Ok(Self {
            norm1: Norm::new(b, &norm1, cin, kind.groups.0, kind.eps)?,
            conv1: Conv::new(b, &conv1, (cin, cout), 3)?,
            time: b.precisely(|b| Linear::new(b, &time, kind.embedding, vectors * cout))?,
            norm2: Norm::new(b, &norm2, cout, kind.groups.1, kind.eps)?,
            conv2: Conv::new(b, &conv2, (cout, cout), 3)?,
            shortcut,
            dropout: Dropout::new(place, kind.dropout),
            kind,
            resample: Resample::Keep,
        })
    }

    /// One that halves or doubles the size on its way.
    pub(crate) fn resampling(self, resample: Resample) -> Self {
        Self { resample, ..self }
    }

    pub(crate) fn forward(&self, x: &Tensor, pass: Pass<'_>) -> Result<Tensor> {
        let act = self.kind.activation;
        let h = self.resample.forward(&self.norm1.activated(x, act)?)?;
        let x = &self.resample.forward(x)?;
        let e = &self.time.forward(&act.forward(pass.embedding)?)?;
        let entry = if self.kind.scale_shift { Entry::After(e) } else { Entry::Before(e) };
        let h = self.norm2.beside(&self.conv1.forward(&h)?, entry, Some(act))?;
        let h = self.dropout.forward(h, pass.train)?;
        let beside = match &self.shortcut {
            Some(shortcut) => &shortcut.forward(x)?,
            None => x,
        };
        divided(self.conv2.forward_onto(&h, beside)?, self.kind.scale)
    }
}
