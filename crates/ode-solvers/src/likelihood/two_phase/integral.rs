//! The second phase: (L2) over the steps of the first, panel by panel.

use super::LikelihoodOptions;
use crate::dense::Step;
use crate::error::{Error, Result};
use crate::likelihood::Found;
use crate::likelihood::interval::{ErrorBar, TraceError};
use crate::likelihood::nodes::{NODES, Node, nodes, quadrature_error};
use crate::likelihood::trace::{Estimator, Trace};
use crate::problem::Samples;
use sde_core::{Lanes, Reverse, Score, State};

/// A part `a < θ < b` of a step. Its number is 1 for the whole step, 2n and 2n + 1 for the halves of panel n.
#[derive(Clone, Copy)]
struct Panel {
    number: u32,
    a: f64,
    b: f64,
}

impl Panel {
    const WHOLE: Self = Self { number: 1, a: 0.0, b: 1.0 };
    /// Panels of a step whose numbers are below this can be halved, into 256 at most.
    const SHORTEST: u32 = 256;

    fn halves(self) -> [Self; 2] {
        let (number, middle) = (2 * self.number, 0.5 * (self.a + self.b));
        [Self { number, b: middle, ..self }, Self { number: number + 1, a: middle, ..self }]
    }
}

/// Numbers of nodes in a step.
const IN_A_STEP: u32 = NODES as u32 * 2 * Panel::SHORTEST;

/// Sums over nodes.
#[derive(Clone, Copy, Default)]
struct Sums {
    /// `∫ [div v − s·d] dt`.
    value: f64,
    /// `−∫ s·d dt`, which is part of it.
    correction: f64,
    /// `√Σ q²` over the panels, (L8).
    remainder: f64,
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
        self.remainder = self.remainder.hypot(part.remainder);
        self.variance += part.variance;
        self.squared += part.squared;
        self.quadrature += part.quadrature;
    }
}

/// The sums of all samples, and buffers.
pub(super) struct Integral<'a, X> {
    estimator: Estimator<'a, X>,
    trace: Trace<'a, X>,
    /// Probes whose forms are averaged, and products with the Jacobian at a node, the pilot's among them.
    probes: u64,
    products: u64,
    /// Whether there is a smooth function to judge a quadrature by.
    judged: bool,
    quadrature: f64,
    ode_factor: f64,
    sums: Vec<Sums>,
    /// Steps of each sample so far, and nodes, those of panels that were halved among them.
    steps: Vec<u32>,
    nodes: Vec<u32>,
    x: X,
    v: X,
    /// `∫ d dt` over the nodes of a panel so far, and room for the next.
    defect: X,
    next: X,
    /// For each lane: 1, −1, its time, `s·d`, a node's share of its step, `∫ |s| dθ` so far.
    one: Vec<f64>,
    minus: Vec<f64>,
    times: Vec<f64>,
    along: Vec<f64>,
    share: Vec<f64>,
    length: Vec<f64>,
}

impl<'a, X: State> Integral<'a, X> {
    pub(super) fn new(options: &LikelihoodOptions<'a, X>, start: &Samples<X>) -> Self {
        let pilot = options.pilot && matches!(options.trace, Trace::Probes(_));
        let probes = options.trace.products(start.x.sample_len());
        let n = start.numbers.len();
        Self {
            estimator: Estimator::new(options.trace, pilot),
            trace: options.trace,
            probes,
            products: probes + u64::from(pilot),
            judged: pilot || matches!(options.trace, Trace::Exact),
            quadrature: options.quadrature,
            ode_factor: options.ode_factor,
            sums: vec![Sums::default(); n],
            steps: vec![0; n],
            nodes: vec![0; n],
            x: start.x.zeros_like(),
            v: start.x.zeros_like(),
            defect: start.x.zeros_like(),
            next: start.x.zeros_like(),
            one: Vec::new(),
            minus: Vec::new(),
            times: Vec::new(),
            along: Vec::new(),
            share: Vec::new(),
            length: Vec::new(),
        }
    }

    /// Adds a step.
    pub(super) fn add<M: Score<X>>(
        &mut self,
        step: &Step<X>,
        flow: &mut Reverse<'_, X, M>,
    ) -> Result<()> {
        self.panel(step, Panel::WHOLE, &vec![[f64::INFINITY; 2]; step.index.len()], flow)?;
        step.index.iter().for_each(|index| self.steps[*index] += 1);
        Ok(())
    }

    /// Adds a panel of a step, in halves for the lanes that need it. `before` has (L5) of the panel that this one is a half
    /// of, and of the one before that.
    fn panel<M: Score<X>>(
        &mut self,
        step: &Step<X>,
        panel: Panel,
        before: &[[f64; 2]],
        flow: &mut Reverse<'_, X, M>,
    ) -> Result<()> {
        let parts = self.evaluate_panel(step, panel, flow)?;
        let (mut halved, mut history) = (Vec::new(), Vec::new());
        for (row, (part, index)) in parts.iter().zip(&step.index).enumerate() {
            let (error, [last, first]) = (part.quadrature, before[row]);
            // Two halvings that left as much as there was: noise, as that of a network's f32 numbers.
            let in_vain = error > 0.4 * last && last > 0.4 * first;
            if error > self.allowed(*index) && panel.number < Panel::SHORTEST && !in_vain {
                halved.push(row);
                history.push([error, last]);
            } else {
                self.sums[*index].add(part);
            }
        }
        if halved.is_empty() {
            return Ok(());
        }
        let step = step.rows(&halved);
        panel.halves().into_iter().try_for_each(|half| self.panel(&step, half, &history, flow))
    }

    /// The estimate (L5) that a panel may have. It must not depend on the panel's own probes: values would be selected.
    fn allowed(&self, index: usize) -> f64 {
        if self.judged {
            self.quadrature.max(0.1 * self.sums[index].variance.sqrt())
        } else {
            f64::INFINITY
        }
    }

    /// The sums over one panel for every lane of the step.
    fn evaluate_panel<M: Score<X>>(
        &mut self,
        step: &Step<X>,
        panel: Panel,
        flow: &mut Reverse<'_, X, M>,
    ) -> Result<Vec<Sums>> {
        let n = step.index.len();
        self.x.fit(&step.piece.y);
        self.v.fit(&step.piece.y);
        self.one.resize(n, 1.0);
        self.minus.resize(n, -1.0);
        self.share.resize(n, 0.0);
        self.length.clear();
        self.length.resize(n, 0.0);
        let (mut parts, mut integrand) = (vec![Sums::default(); n], vec![[0.0; NODES]; n]);
        let nodes = nodes(step.piece.method, (panel.a, panel.b));
        for (j, node) in nodes.iter().enumerate() {
            self.evaluate(step, node, NODES as u32 * panel.number + j as u32, flow)?;
            self.add_defect(j == 0, node.weight, &step.piece.h, flow);
            for (row, part) in parts.iter_mut().enumerate() {
                self.collect(row, node.weight * step.piece.h[row], part);
                integrand[row][j] = self.estimator.smooth(row) - self.along[row];
            }
        }
        for ((part, q), h) in parts.iter_mut().zip(integrand).zip(&step.piece.h) {
            part.quadrature = (panel.b - panel.a) * h.abs() * quadrature_error(q);
        }
        self.along.fill(0.0);
        self.defect.add_squared_norm(&mut self.along);
        let n = self.defect.sample_len().max(1) as f64;
        for ((part, square), length) in parts.iter_mut().zip(&self.along).zip(&self.length) {
            part.remainder = length / (panel.b - panel.a) * (square / n).sqrt();
        }
        Ok(parts)
    }

    /// Adds a node to what (L8) is made of.
    fn add_defect<M: Score<X>>(
        &mut self,
        first: bool,
        weight: f64,
        h: &[f64],
        flow: &Reverse<'_, X, M>,
    ) {
        self.share.iter_mut().zip(h).for_each(|(share, h)| *share = weight * h);
        let here = (&self.share[..], &self.v);
        if first {
            self.defect.fit(&self.v);
            self.next.fit(&self.v);
            self.defect.combine(&[here]);
        } else {
            self.next.combine(&[(&self.one, &self.defect), here]);
            std::mem::swap(&mut self.next, &mut self.defect);
        }
        if let Some(field) = flow.field() {
            self.share.fill(0.0);
            field.score.add_squared_norm(&mut self.share);
            let lengths = self.length.iter_mut().zip(&self.share);
            lengths.for_each(|(length, square)| *length += weight * square.sqrt());
        }
    }

    /// Divergence and `s·d` at a node, whose number tells it from all others of the step.
    fn evaluate<M: Score<X>>(
        &mut self,
        Step { piece, samples, index }: &Step<X>,
        node: &Node,
        number: u32,
        flow: &mut Reverse<'_, X, M>,
    ) -> Result<()> {
        self.times.clear();
        self.times.extend(piece.start.iter().zip(&piece.h).map(|(t, h)| t + node.theta * h));
        self.x.stage(&piece.y, &piece.h, &node.value, |s| &piece.k[s]);
        let (at, t) = (Lanes { t: &self.times, sample: samples }, self.times[0]);
        let steps = &self.steps;
        let of_probes = |row: usize| steps[index[row]].wrapping_mul(IN_A_STEP).wrapping_add(number);
        self.estimator
            .evaluate(flow, &self.x, at, &of_probes, &mut self.v)
            .map_err(|source| Error::Dynamics { t, source })?;
        index.iter().for_each(|index| self.nodes[*index] += 1);
        // d = x̂' − v
        self.x.combine(&[(&self.minus, &self.v)]);
        self.v.stage(&self.x, &self.one, &node.slope, |s| &piece.k[s]);
        self.along.clear();
        self.along.resize(index.len(), 0.0);
        if let Some(field) = flow.field() {
            field.score.add_dot(&self.v, &mut self.along);
        }
        Ok(())
    }

    /// Adds what a node found for one lane.
    fn collect(&self, row: usize, weight: f64, part: &mut Sums) {
        let (divergence, variance) = self.estimator.mean(row);
        let variance = weight * weight * variance.unwrap_or(f64::NAN);
        part.value += weight * (divergence - self.along[row]);
        part.correction -= weight * self.along[row];
        part.variance += variance;
        part.squared += variance * variance / (self.probes as f64 - 1.0);
    }

    /// What was found of one sample, whose solve took `nfe` evaluations.
    pub(super) fn found(&self, index: usize, nfe: u32) -> Found {
        let (sum, nodes) = (&self.sums[index], self.nodes[index]);
        let trace = match self.trace {
            Trace::Exact => Some(TraceError::NONE),
            // Given probes are the same at all nodes: their errors do not average.
            Trace::Given(_) => None,
            Trace::Probes(_) => {
                (!sum.variance.is_nan()).then(|| TraceError::from_sums(sum.variance, sum.squared))
            }
        };
        let errors = ErrorBar {
            trace,
            ode: Some(self.ode_factor * sum.remainder),
            quadrature: self.judged.then_some(sum.quadrature),
            float: None,
        };
        let (int_div, correction, nfe) = (sum.value, sum.correction, nfe.saturating_add(nodes));
        Found { int_div, correction, errors, nfe, products: u64::from(nodes) * self.products }
    }
}
