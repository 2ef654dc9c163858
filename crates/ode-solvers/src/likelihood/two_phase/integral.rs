//! The second phase: (L2) over the steps of the first, panel by panel.

use super::LikelihoodOptions;
use crate::dense::Step;
use crate::error::{Error, Result};
use crate::likelihood::interval::{ErrorBar, TraceError};
use crate::likelihood::nodes::{NODES, Node, nodes, quadrature_error};
use crate::likelihood::trace::{Estimator, Trace};
use crate::problem::Samples;
use sde_core::{Lanes, Reverse, Score, State};

/// The shortest panel, in units of its step: one that is not smooth at this length will not become so.
const SHORTEST: f64 = 1.0 / 256.0;

/// Sums over nodes.
#[derive(Clone, Copy, Default)]
struct Sums {
    /// `∫ [div v − s·d] dt`.
    value: f64,
    /// `−∫ s·d dt`, which is part of it.
    correction: f64,
    /// `Σ |∫ s·d dt|` over the panels.
    unsigned: f64,
    /// `Σ v_i` of (L4); NaN with one probe, which tells no variance.
    variance: f64,
    /// `Σ v_i²`.
    squared: f64,
    /// (L5).
    quadrature: f64,
}

impl Sums {
    fn add(&mut self, part: &Self) {
        self.value += part.value;
        self.correction += part.correction;
        self.unsigned += part.correction.abs();
        self.variance += part.variance;
        self.squared += part.squared;
        self.quadrature += part.quadrature;
    }
}

/// The sums of all samples, and buffers.
pub(super) struct Integral<'a, X> {
    estimator: Estimator<'a, X>,
    trace: Trace<'a, X>,
    /// Products with the Jacobian at a node, and whether one of them is the pilot's.
    products: u32,
    pilot: bool,
    quadrature: f64,
    ode_factor: f64,
    sums: Vec<Sums>,
    /// Nodes of each sample so far, those of panels that were halved among them.
    nodes: Vec<u32>,
    x: X,
    v: X,
    defect: X,
    zero: X,
    /// For each lane: 1, −1, its time, `s·d`.
    one: Vec<f64>,
    minus: Vec<f64>,
    times: Vec<f64>,
    along: Vec<f64>,
}

impl<'a, X: State> Integral<'a, X> {
    pub(super) fn new(options: &LikelihoodOptions<'a, X>, start: &Samples<X>) -> Self {
        let pilot = options.pilot && matches!(options.trace, Trace::Probes(_));
        let (n, like) = (start.numbers.len(), || start.x.zeros_like());
        Self {
            estimator: Estimator::new(options.trace),
            trace: options.trace,
            products: options.trace.products(start.x.sample_len()) + u32::from(pilot),
            pilot,
            quadrature: options.quadrature,
            ode_factor: options.ode_factor,
            sums: vec![Sums::default(); n],
            nodes: vec![0; n],
            x: like(),
            v: like(),
            defect: like(),
            zero: like(),
            one: Vec::new(),
            minus: Vec::new(),
            times: Vec::new(),
            along: Vec::new(),
        }
    }

    /// Adds a step.
    pub(super) fn add<M: Score<X>>(
        &mut self,
        step: &Step<X>,
        flow: &mut Reverse<'_, X, M>,
    ) -> Result<()> {
        if step.index.is_empty() { Ok(()) } else { self.panel(step, (0.0, 1.0), flow) }
    }

    /// Adds the panel `a < θ < b` of a step, in halves for the lanes that need it.
    fn panel<M: Score<X>>(
        &mut self,
        step: &Step<X>,
        (a, b): (f64, f64),
        flow: &mut Reverse<'_, X, M>,
    ) -> Result<()> {
        let parts = self.evaluate_panel(step, (a, b), flow)?;
        let mut halved = Vec::new();
        for (row, (part, index)) in parts.iter().zip(&step.index).enumerate() {
            if part.quadrature > self.allowed(*index) && b - a > SHORTEST {
                halved.push(row);
            } else {
                self.sums[*index].add(part);
            }
        }
        if halved.is_empty() {
            return Ok(());
        }
        let (step, middle) = (step.rows(&halved), 0.5 * (a + b));
        self.panel(&step, (a, middle), flow)?;
        self.panel(&step, (middle, b), flow)
    }

    /// The estimate (L5) that a panel may have. It must not depend on the panel's own probes: values would be selected.
    fn allowed(&self, index: usize) -> f64 {
        if self.trace.is_judged(self.pilot) {
            self.quadrature.max(0.1 * self.sums[index].variance.sqrt())
        } else {
            f64::INFINITY
        }
    }

    /// The sums over one panel for every lane of the step.
    fn evaluate_panel<M: Score<X>>(
        &mut self,
        step: &Step<X>,
        panel: (f64, f64),
        flow: &mut Reverse<'_, X, M>,
    ) -> Result<Vec<Sums>> {
        let n = step.index.len();
        for x in [&mut self.x, &mut self.v, &mut self.defect, &mut self.zero] {
            x.fit(&step.piece.y);
        }
        self.one.resize(n, 1.0);
        self.minus.resize(n, -1.0);
        let (mut parts, mut integrand) = (vec![Sums::default(); n], vec![[0.0; NODES]; n]);
        for (j, node) in nodes(step.piece.method, panel).iter().enumerate() {
            self.evaluate(step, node, flow)?;
            for (row, part) in parts.iter_mut().enumerate() {
                self.collect(row, node.weight * step.piece.h[row], part);
                integrand[row][j] = self.estimator.pilot(row) - self.along[row];
            }
        }
        for ((part, q), h) in parts.iter_mut().zip(integrand).zip(&step.piece.h) {
            part.quadrature = (panel.1 - panel.0) * h.abs() * quadrature_error(q);
        }
        Ok(parts)
    }

    /// Divergence and `s·d` at a node.
    fn evaluate<M: Score<X>>(
        &mut self,
        Step { piece, samples, index }: &Step<X>,
        node: &Node,
        flow: &mut Reverse<'_, X, M>,
    ) -> Result<()> {
        self.times.clear();
        self.times.extend(piece.start.iter().zip(&piece.h).map(|(t, h)| t + node.theta * h));
        self.x.stage(&piece.y, &piece.h, &node.value, |s| &piece.k[s]);
        let (at, t) = (Lanes { t: &self.times, sample: samples }, self.times[0]);
        let draw = |row: usize| self.nodes[index[row]];
        self.estimator
            .evaluate(flow, &self.x, at, (&draw, self.pilot), &mut self.v)
            .map_err(|source| Error::Dynamics { t, source })?;
        index.iter().for_each(|index| self.nodes[*index] += 1);
        self.x.stage(&self.zero, &self.one, &node.slope, |s| &piece.k[s]); // x̂'
        self.defect.combine(&[(&self.one, &self.x), (&self.minus, &self.v)]);
        self.along.clear();
        self.along.resize(index.len(), 0.0);
        if let Some(field) = flow.field() {
            field.score.add_dot(&self.defect, &mut self.along);
        }
        Ok(())
    }

    /// Adds what a node found for one lane.
    fn collect(&self, row: usize, weight: f64, part: &mut Sums) {
        let probes = f64::from(self.products - u32::from(self.pilot));
        let (divergence, variance) = self.estimator.mean(row, self.pilot);
        let variance = weight * weight * variance.unwrap_or(f64::NAN);
        part.value += weight * (divergence - self.along[row]);
        part.correction -= weight * self.along[row];
        part.variance += variance;
        part.squared += variance * variance / (probes - 1.0);
    }

    /// The integral of one sample and its correction, what is known of the error, and the work with that of the solve.
    pub(super) fn part(&self, index: usize, nfe: u32) -> ([f64; 2], ErrorBar, [u32; 2]) {
        let (sum, nodes) = (&self.sums[index], self.nodes[index]);
        let trace = match self.trace {
            Trace::Exact => Some(TraceError::NONE),
            // Given probes are the same at all nodes: their errors do not average.
            Trace::Given(_) => None,
            Trace::Probes(_) => (!sum.variance.is_nan()).then(|| TraceError {
                standard_error: sum.variance.sqrt(),
                dof: sum.variance * sum.variance / sum.squared,
            }),
        };
        let errors = ErrorBar {
            trace,
            ode: Some(self.ode_factor * sum.unsigned),
            quadrature: self.trace.is_judged(self.pilot).then_some(sum.quadrature),
        };
        ([sum.value, sum.correction], errors, [nfe + nodes, nodes * self.products])
    }
}
