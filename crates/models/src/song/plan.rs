//! What a configuration of `score_sde` or EDM says of the network, in one form.

/// The names and the small habits of a family of checkpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// `score_sde`: modules numbered as they are built.
    ScoreSde,
    /// EDM's `SongUNet`.
    Song,
    /// EDM's `DhariwalUNet`.
    Dhariwal,
}

/// How a second image runs beside the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Image {
    None,
    Skip,
    Residual,
}

/// How the time label becomes a vector.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Time {
    /// Fixed frequencies; the last is 1/10000 where the end belongs to them.
    Positional { cosine_first: bool, endpoint: bool },
    /// Frozen random frequencies of this deviation, of ln t or of t.
    Fourier { scale: f64, log: bool },
}

/// What the output is divided by.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Division {
    None,
    /// The label σ.
    Label,
    /// The label σ, and the network is told ln(σ/2).
    Half,
    /// The noise level of which the label is the index.
    Table(Vec<f64>),
}

/// The network.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "the switches of score_sde")]
pub(crate) struct Plan {
    pub(crate) family: Family,
    /// Pixels of a side of a sample.
    pub(crate) size: i64,
    /// Of the input, of the output.
    pub(crate) channels: (i64, i64),
    /// Whether samples are in [−1, 1].
    pub(crate) centred: bool,
    /// Channels of the finest level and the multiples of the others.
    pub(crate) width: i64,
    pub(crate) multiples: Vec<i64>,
    /// Blocks of a level on the way down.
    pub(crate) blocks: usize,
    /// Sides of the levels that attend.
    pub(crate) attention: Vec<i64>,
    pub(crate) dropout: f64,
    /// k of the filter that resamples; `[1, 1]` is the mean of four pixels, and copies.
    pub(crate) filter: Vec<f64>,
    /// Whether there is a filter, and not the mean of four pixels and copies.
    pub(crate) filtered: bool,
    /// Whether `ResNet` blocks change the size; else a convolution (or the mean) does.
    pub(crate) by_resnet: bool,
    /// For the latter: whether it is a convolution.
    pub(crate) with_conv: bool,
    pub(crate) input: Image,
    pub(crate) output: Image,
    /// "skip" of the way down appends channels instead of adding.
    pub(crate) append: bool,
    /// Whether sums of two are divided by √2.
    pub(crate) rescale: bool,
    pub(crate) eps: f64,
    /// Whether the embedding scales and shifts.
    pub(crate) scale_shift: bool,
    /// Channels of an attention head; one head where absent.
    pub(crate) head: Option<i64>,
    pub(crate) time: Time,
    /// Channels of the vector of time, and of the embedding.
    pub(crate) embedding: (i64, i64),
    /// Classes, for which there is one more that stands for none.
    pub(crate) labels: i64,
    /// Numbers that say what was done to an image in training.
    pub(crate) augment: i64,
    pub(crate) division: Division,
    /// Of the label, before the network sees it.
    pub(crate) label_scale: f64,
}

impl Plan {
    /// The scale of sums.
    pub(crate) fn scale(&self) -> f64 {
        if self.rescale { std::f64::consts::SQRT_2 } else { 1.0 }
    }

    /// Pixels of a side at a level.
    pub(crate) fn side(&self, level: usize) -> i64 {
        self.size >> level
    }

    /// Whether a level attends.
    pub(crate) fn attends(&self, level: usize) -> bool {
        self.attention.contains(&self.side(level))
    }

    /// Channels of a level.
    pub(crate) fn level(&self, level: usize) -> i64 {
        self.width * self.multiples[level]
    }
}
