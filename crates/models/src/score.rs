//! A network as a [`Score`]: whatever it predicts becomes D and s, with their divergences.
//!
//! With the network's output `y = F(c_in x, label)` and the conversion `D = A x + B y` of its prediction
//! ([`Prediction`], equation (V2)),
//!
//! ```text
//! tr ∂D/∂x = A d + B tr ∂y/∂x,     tr ∂y/∂x = E_u uᵀ (∂y/∂x) u,   E u uᵀ = I               (N1)
//! ```
//!
//! and likewise for s. `c_in = 1/√(σ² + σ_data² α²)` for EDM's prediction and 1 otherwise. One pass forward gives value and
//! graph; the trace is one pass backward for each probe u, or d of them for the exact trace. States are f64; the network
//! computes in f32.

use sde_core::sde::Coefficients;
use sde_core::{Divergence, Field, Lanes, Noise, Prediction, Purpose, Score, State};
use tch::{Kind, Tensor};
use torch_ext::catch;

use crate::batch::Batch;
use crate::description::Description;
use crate::error::{Error, Result};
use crate::unet::{Input, UNet};
use crate::vjp::Graph;

/// How `tr ∂y/∂x` is found.
#[derive(Debug)]
pub enum Trace {
    /// By all d directions: exact, d passes backward.
    Exact,
    /// Hutchinson's estimator with K probes of random signs, keyed by sample: they stay the same along a path.
    Signs {
        /// Key of the signs.
        seed: u64,
        /// K.
        probes: u32,
    },
    /// Hutchinson's estimator with these probes, `[K, N, …]`; sample i uses the column i.
    Given(Tensor),
}

/// A network under the process that it was trained on.
#[derive(Debug)]
pub struct NetworkScore<'a> {
    unet: &'a UNet,
    description: &'a Description,
    trace: Trace,
    class: Option<i64>,
    train: bool,
}

/// What one evaluation needs at the rows' times.
struct At {
    labels: Vec<f64>,
    coefficients: Vec<Coefficients>,
    /// `c_in`, where it is not 1.
    scale: Option<Tensor>,
}

/// The factors of x and of y in D or s, one entry for each row.
struct Factors {
    x: Vec<f64>,
    y: Vec<f64>,
}

impl<'a> NetworkScore<'a> {
    /// The network as it is sampled from: no gradients of its weights, no dropout.
    pub fn new(unet: &'a UNet, description: &'a Description, trace: Trace) -> Self {
        Self { unet, description, trace, class: None, train: false }
    }

    /// The network in training: dropout drops, and values are part of the graph of its weights.
    pub fn in_training(unet: &'a UNet, description: &'a Description) -> Self {
        Self { train: true, ..Self::new(unet, description, Trace::Exact) }
    }

    /// The same network, told that every sample is of this class.
    pub fn of_class(self, class: Option<i64>) -> Self {
        Self { class, ..self }
    }

    fn at(&self, x: &Batch, at: Lanes<'_>) -> Result<At> {
        at.check(x.samples())?;
        x.check()?;
        let process = &self.description.process;
        let coefficients: Vec<_> = at.t.iter().map(|&t| process.coefficients(t)).collect();
        let labels = at.t.iter().map(|&t| self.description.label.at(process, t)).collect();
        let scale = match self.description.prediction {
            Prediction::Edm { sigma_data } => {
                let c_in = coefficients.iter().map(|k| 1.0 / k.sigma.hypot(sigma_data * k.alpha));
                Some(Batch::column(x, &c_in.collect::<Vec<_>>())?)
            }
            _ => None,
        };
        Ok(At { labels, coefficients, scale })
    }

    /// y of x, f64 to f64.
    fn output(&self, x: &Tensor, at: &At) -> Result<Tensor> {
        let scaled = match &at.scale {
            Some(c_in) => &x.f_mul(c_in)?,
            None => x,
        };
        let x = &scaled.f_to_kind(Kind::Float)?;
        let class = self.class.map(|class| vec![class; at.labels.len()]);
        let input = Input { x, label: &at.labels, class: class.as_deref(), train: self.train };
        let y = self.unet.forward(input)?;
        if y.size() != x.size() {
            let expected = format!("{:?}, that of the sample", x.size());
            return Err(Error::Shape { what: "the network's output", found: y.size(), expected });
        }
        Ok(y.f_to_kind(Kind::Double)?)
    }

    fn factors(&self, to: Prediction, at: &At) -> Result<Factors> {
        let mut factors = Factors { x: Vec::new(), y: Vec::new() };
        for k in &at.coefficients {
            let c = self.description.prediction.into(to, *k)?;
            factors.x.push(c.x);
            factors.y.push(c.value);
        }
        Ok(factors)
    }

    /// Writes D and s.
    fn write(&self, x: &Batch, y: &Tensor, at: &At, out: &mut Field<Batch>) -> Result<()> {
        let y = Batch::new(y)?;
        for (to, out) in [(Prediction::X0, &mut out.denoised), (Prediction::Score, &mut out.score)]
        {
            let factors = self.factors(to, at)?;
            out.combine(&[(&factors.x, x), (&factors.y, &y)]);
            out.check()?;
        }
        Ok(())
    }

    /// `tr ∂y/∂x` of every row.
    fn trace(&self, graph: &Graph, samples: &[u64]) -> Result<Vec<f64>> {
        let sum = match &self.trace {
            Trace::Exact => exact_trace(graph)?,
            Trace::Signs { seed, probes } => {
                check_probes(i64::from(*probes))?;
                let noise = Noise::new(*seed, Purpose::Probe);
                mean_trace(graph, i64::from(*probes), |k| signs(&noise, samples, k, &graph.y))?
            }
            Trace::Given(probes) => {
                let rows = given_rows(probes, samples, &graph.y)?;
                check_probes(probes.size()[0])?;
                mean_trace(graph, probes.size()[0], |k| {
                    Ok(probes.f_select(0, k)?.f_index_select(0, &rows)?)
                })?
            }
        };
        Batch::new(&sum)?.to_host()
    }

    fn value(&self, x: &Batch, at: Lanes<'_>, out: &mut Field<Batch>) -> Result<()> {
        let at = self.at(x, at)?;
        let _no_grad = (!self.train).then(tch::no_grad_guard);
        let y = self.output(x.tensor(), &at)?;
        self.write(x, &y, &at, out)
    }

    fn value_and_divergence(
        &self,
        x: &Batch,
        lanes: Lanes<'_>,
        out: &mut Field<Batch>,
        divergence: &mut Divergence,
    ) -> Result<()> {
        let at = self.at(x, lanes)?;
        let graph = Graph::new(|x| self.output(x, &at), x.tensor())?;
        let trace = self.trace(&graph, lanes.sample)?;
        self.write(x, &graph.y.f_detach()?, &at, out)?;
        let d = x.sample_len() as f64;
        divergence.fit(trace.len());
        for (to, out) in
            [(Prediction::X0, &mut divergence.denoised), (Prediction::Score, &mut divergence.score)]
        {
            let factors = self.factors(to, &at)?;
            for (i, out) in out.iter_mut().enumerate() {
                *out = factors.x[i] * d + factors.y[i] * trace[i];
            }
        }
        Ok(())
    }
}

impl Score<Batch> for NetworkScore<'_> {
    fn evaluate(
        &mut self,
        x: &Batch,
        at: Lanes<'_>,
        out: &mut Field<Batch>,
    ) -> sde_core::Result<()> {
        Ok(catch(|| self.value(x, at, out))?)
    }

    fn evaluate_with_divergence(
        &mut self,
        x: &Batch,
        at: Lanes<'_>,
        out: &mut Field<Batch>,
        divergence: &mut Divergence,
    ) -> sde_core::Result<()> {
        Ok(catch(|| self.value_and_divergence(x, at, out, divergence))?)
    }
}

/// `Σ_j ∂y_j/∂x_j` of every row, direction by direction.
fn exact_trace(graph: &Graph) -> Result<Tensor> {
    let y = graph.y.f_detach()?;
    let rows = y.size()[0];
    let d = y.f_reshape([rows, -1])?.size()[1];
    let mut sum = Tensor::f_zeros([rows], (Kind::Double, y.device()))?;
    for j in 0..d {
        let u = y.f_zeros_like()?;
        u.f_view([rows, d])?.f_select(1, j)?.f_copy_(&Tensor::from(1.0))?;
        let product = graph.pull_back(&u, j + 1 < d)?;
        sum = sum.f_add(&product.f_reshape([rows, d])?.f_select(1, j)?)?;
    }
    Ok(sum)
}

/// `1/K Σ_k u_kᵀ (∂y/∂x) u_k` of every row.
fn mean_trace(graph: &Graph, probes: i64, probe: impl Fn(i64) -> Result<Tensor>) -> Result<Tensor> {
    let y = &graph.y;
    let rows = y.size()[0];
    let mut sum = Tensor::f_zeros([rows], (Kind::Double, y.device()))?;
    for k in 0..probes {
        let u = probe(k)?;
        let product = graph.pull_back(&u, k + 1 < probes)?.f_mul(&u)?.f_reshape([rows, -1])?;
        sum = sum.f_add(&product.f_sum_dim_intlist([1].as_slice(), false, None)?)?;
    }
    Ok(sum.f_div(&Tensor::from(probes as f64))?)
}

/// Refuses the mean of none.
fn check_probes(probes: i64) -> Result<()> {
    let (key, found) = ("the probes".into(), probes.to_string());
    let refusal = Error::Config { key, found, expected: "at least one".into() };
    if probes > 0 { Ok(()) } else { Err(refusal) }
}

/// Probe k: a random sign for each coordinate of each row.
fn signs(noise: &Noise, samples: &[u64], k: i64, like: &Tensor) -> Result<Tensor> {
    let rows = samples.len();
    let n = like.numel() / rows.max(1);
    let mut values = vec![0.0; rows * n];
    for (row, &sample) in values.chunks_exact_mut(n.max(1)).zip(samples) {
        noise.uniform(sample, u32::try_from(k).unwrap_or(u32::MAX), row);
        row.iter_mut().for_each(|u| *u = if *u < 0.5 { -1.0 } else { 1.0 });
    }
    Ok(Tensor::f_from_slice(&values)?.f_reshape(like.size())?.f_to_device(like.device())?)
}

/// The columns of the given probes that belong to these samples.
fn given_rows(probes: &Tensor, samples: &[u64], like: &Tensor) -> Result<Tensor> {
    let (found, row) = (probes.size(), &like.size()[1..]);
    let last = samples.iter().max().copied().unwrap_or(0);
    let inside = |n: i64| i64::try_from(last).is_ok_and(|last| last < n);
    if found.len() != row.len() + 2 || found[2..] != *row || !inside(found[1]) {
        let row: Vec<_> = row.iter().map(ToString::to_string).collect();
        let expected = format!("[K, N, {}] with N above the sample number {last}", row.join(", "));
        return Err(Error::Shape { what: "the probes", found, expected });
    }
    let rows: Vec<i64> = samples.iter().map(|&s| s.cast_signed()).collect();
    Ok(Tensor::f_from_slice(&rows)?.f_to_device(probes.device())?)
}
