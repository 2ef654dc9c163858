//! The numbers of a trial step, one for each running sample, and where it ends.

use crate::control::Lane;
use crate::solution::LaneStatus;
use sde_core::{BrownianPath, Lanes};

/// A step ends on a node that is this many halvings finer than itself.
const NODES: u32 = 4;

pub(super) struct Rows {
    samples: Vec<u64>,
    pub(super) times: Vec<f64>,
    pub(super) ones: Vec<f64>,
    pub(super) minus: Vec<f64>,
    /// h, h/2 and −h/2.
    pub(super) h: Vec<f64>,
    pub(super) half: Vec<f64>,
    pub(super) less: Vec<f64>,
    /// `b₀`, `(b₀ + b₁)/2` and `(b₁ − b₀)/2`.
    pub(super) b0: Vec<f64>,
    pub(super) b: Vec<f64>,
    pub(super) rise: Vec<f64>,
    pub(super) norm: Vec<f64>,
}

impl Rows {
    pub(super) fn new(samples: Vec<u64>, t: f64) -> Self {
        let n = samples.len();
        let [h, half, less, b0, b, rise, norm] = std::array::from_fn(|_| vec![0.0; n]);
        let (times, ones, minus) = (vec![t; n], vec![1.0; n], vec![-1.0; n]);
        Self { samples, times, ones, minus, h, half, less, b0, b, rise, norm }
    }

    pub(super) fn at(&self) -> Lanes<'_> {
        Lanes { t: &self.times, sample: &self.samples }
    }

    /// The coefficients of (O9) and (O14) for steps of the sizes h, and the times of their starts.
    pub(super) fn plan(&mut self, lanes: &[Lane], scale: impl Fn(f64) -> f64) {
        for (i, lane) in lanes.iter().enumerate() {
            let (b0, b1) = (scale(lane.t), scale(lane.t_new));
            (self.b0[i], self.b[i], self.rise[i]) = (b0, 0.5 * (b0 + b1), 0.5 * (b1 - b0));
            (self.half[i], self.less[i]) = (0.5 * self.h[i], -0.5 * self.h[i]);
            self.times[i] = lane.t;
        }
    }

    /// Keeps the samples `keep` (ascending), and what is planned for them.
    pub(super) fn compact(&mut self, keep: &[usize]) {
        for (to, &from) in keep.iter().enumerate() {
            self.samples[to] = self.samples[from];
            self.h[to] = self.h[from];
        }
        self.samples.truncate(keep.len());
        let Self { samples: _, times, ones, minus, h, half, less, b0, b, rise, norm } = self;
        for row in [times, ones, minus, h, half, less, b0, b, rise, norm] {
            row.truncate(keep.len());
        }
    }
}

/// Shortens a step so that it ends on a node of the path, unless it ends on t1, and returns it; refuses one that the path
/// has no nodes for.
pub(super) fn to_node(lane: &mut Lane, path: &BrownianPath, h: f64, t1: f64) -> f64 {
    if lane.status != LaneStatus::Running || lane.t_new.to_bits() == t1.to_bits() {
        return h;
    }
    if h.abs() < path.resolution() {
        lane.status = LaneStatus::StepSizeTooSmall { t: lane.t, h: h.abs() };
        return h;
    }
    let (first, last) = path.span();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 30")]
    let halvings = ((last - first) / h.abs()).log2().max(0.0) as u32 + NODES;
    let (before, after) = path.interval(lane.t_new, halvings);
    let node = if h > 0.0 { before } else { after };
    if (node - lane.t) * h > 0.0 {
        lane.t_new = node;
        lane.h_abs = (node - lane.t).abs();
    }
    lane.t_new - lane.t
}
