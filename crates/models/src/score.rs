//! A network as a [`Score`]: whatever it predicts becomes D and s, with their divergences.
//!
//! With the network's output `y = F(c_in x, label)` and the conversion `D = A x + B y` of its prediction
//! ([`Prediction`], equation (V2)),
//!
//! ```text
//! tr ∂D/∂x = A d + B tr ∂y/∂x,     tr ∂y/∂x = E_u uᵀ (∂y/∂x) u,   E u uᵀ = I               (N1)
//! ```
//!
//! and likewise for s. Classifier-free guidance (Ho and Salimans 2022) of a class c mixes y, and so D and s, which are affine
//! in y with the same x:
//!
//! ```text
//! y_w = y_∅ + w (y_c − y_∅),     ∅ the last class of the table.                             (N2)
//! ```
//!
//! The forms `uᵀ (∂D/∂x) u` are `A |u|² + B uᵀ (∂y/∂x) u`. `c_in = 1/√(σ² + σ_data² α²)` for EDM's prediction and 1
//! otherwise. One pass forward gives value and graph; a form is one pass backward for its probe u, the exact trace is d of
//! them. States are f64; the network takes and gives f32 as a rule. A batch that is too large for the memory is cut: see `parts`.

mod adjoint;
mod parts;

use sde_core::sde::Coefficients;
use sde_core::{Divergence, Field, Lanes, Prediction, Pull, Score, State};
use tch::{Kind, Tensor};
use torch_ext::catch;
use torch_ext::dropout::derived;

use crate::batch::Batch;
use crate::description::Description;
use crate::error::{Error, Result};
use crate::network::{Classes, Input, Network, Training};
use crate::vjp::Graph;

pub use adjoint::WeightGradients;
use parts::{Limit, rows};

/// A network under the process that it was trained on.
#[derive(Debug)]
pub struct NetworkScore<'a> {
    network: &'a dyn Network,
    description: &'a Description,
    class: Option<i64>,
    /// w of (N2).
    guidance: Option<f64>,
    /// In training, the seed of dropout.
    dropout: Option<u64>,
    collected: Option<WeightGradients<'a>>,
    limit: Limit,
}

/// What one evaluation needs at the rows' times.
struct At {
    labels: Vec<f64>,
    /// Of dropout, in training.
    keys: Option<Vec<u64>>,
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
    pub fn new(network: &'a dyn Network, description: &'a Description) -> Self {
        Self {
            network,
            description,
            class: None,
            guidance: None,
            dropout: None,
            collected: None,
            limit: Limit::default(),
        }
    }

    /// The network in training: values are part of the graph of its weights, and dropout drops by the seed and the number
    /// of the sample, the same at every evaluation.
    pub fn in_training(network: &'a dyn Network, description: &'a Description, seed: u64) -> Self {
        Self { dropout: Some(seed), ..Self::new(network, description) }
    }

    /// The same network, told that every sample is of this class.
    pub fn of_class(self, class: Option<i64>) -> Self {
        Self { class, ..self }
    }

    /// The same network with classifier-free guidance (N2) of this weight, where there is one: one pass of twice the batch
    /// for each evaluation. The class ∅ is the last of the table, so that the class of the samples is an earlier one.
    pub fn guided(self, guidance: Option<f64>) -> Self {
        Self { guidance, ..self }
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
        let keys = self.dropout.map(|seed| at.sample.iter().map(|&i| derived(seed, i)).collect());
        Ok(At { labels, keys, coefficients, scale })
    }

    /// y of x, f64 to f64.
    fn output(&self, x: &Tensor, at: &At) -> Result<Tensor> {
        let scaled = match &at.scale {
            Some(c_in) => &x.f_mul(c_in)?,
            None => x,
        };
        let x = &scaled.f_to_kind(self.network.kind())?;
        let y = if let Some(weight) = self.guidance {
            self.guided_output(x, at, weight)?
        } else {
            let class = self.class.map(|class| vec![class; at.labels.len()]);
            let class = class.as_deref().map(Classes::Labels);
            self.network.forward(Input {
                x,
                label: &at.labels,
                class,
                train: training(at.keys.as_ref()),
            })?
        };
        if y.size() != x.size() {
            let expected = format!("{:?}, that of the sample", x.size());
            return Err(Error::Shape { what: "the network's output", found: y.size(), expected });
        }
        Ok(y.f_to_kind(Kind::Double)?)
    }

    /// (N2), one pass for both classes.
    fn guided_output(&self, x: &Tensor, at: &At, weight: f64) -> Result<Tensor> {
        let At { labels, keys, .. } = at;
        let refuse = |found: String, expected: String| {
            Err(Error::Config { key: "the class of guidance".into(), found, expected })
        };
        let (class, none) = match (self.class, self.network.classes()) {
            (_, None) => return refuse("none".into(), "a network with a class table".into()),
            (Some(class), Some(n)) if (0..n - 1).contains(&class) => (class, n - 1),
            (class, Some(n)) => {
                let found = class.map_or_else(|| "none".into(), |k| k.to_string());
                let last = n - 1;
                return refuse(found, format!("one before {last}, which stands for no class"));
            }
        };
        let n = labels.len();
        let both = [vec![class; n], vec![none; n]].concat();
        let x = &Tensor::f_cat(&[x, x], 0)?;
        let label = &[&labels[..], labels].concat();
        let keys = keys.as_ref().map(|keys| [&keys[..], keys].concat());
        let class = Some(Classes::Labels(&both));
        let y = self.network.forward(Input { x, label, class, train: training(keys.as_ref()) })?;
        let rows = labels.len() as i64;
        let (of_class, of_none) = (y.f_narrow(0, 0, rows)?, y.f_narrow(0, rows, rows)?);
        Ok(of_none.f_add(&of_class.f_sub(&of_none)?.f_mul(&Tensor::from(weight))?)?)
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

    fn value(&self, x: &Batch, at: Lanes<'_>, out: &mut Field<Batch>) -> Result<()> {
        let at = self.at(x, at)?;
        if self.dropout.is_some() {
            let y = self.output(x.tensor(), &at)?;
            return self.write(x, &y, &at, out);
        }
        let _no_grad = tch::no_grad_guard();
        let found = self.in_parts(x, &at, |x, at, _| Ok(vec![self.output(x, at)?]))?;
        self.write(x, &found[0], &at, out)
    }

    /// The field, and its exact divergences.
    fn value_and_divergence(
        &self,
        x: &Batch,
        lanes: Lanes<'_>,
        out: &mut Field<Batch>,
        divergence: &mut Divergence,
    ) -> Result<()> {
        let at = self.at(x, lanes)?;
        let found = self.in_parts(x, &at, |x, at, _| {
            let graph = Graph::new(|x| self.output(x, at), x)?;
            Ok(vec![graph.y.f_detach()?, exact_trace(&graph)?])
        })?;
        self.write(x, &found[0], &at, out)?;
        let (trace, d) = (Batch::new(&found[1])?.to_host()?, x.sample_len() as f64);
        self.convert(&at, &vec![d; trace.len()], &trace, divergence)
    }

    /// The field, and its quadratic forms.
    fn value_and_forms(
        &self,
        x: &Batch,
        lanes: Lanes<'_>,
        probes: &[Batch],
        out: &mut Field<Batch>,
        forms: &mut [Divergence],
    ) -> Result<()> {
        if forms.len() != probes.len() {
            let (what, found) = ("the forms", vec![forms.len() as i64]);
            return Err(Error::Shape { what, found, expected: format!("[{}]", probes.len()) });
        }
        for u in probes {
            u.check()?;
            let (found, expected) = (u.tensor().size(), x.tensor().size());
            if found != expected {
                let expected = format!("{expected:?}, that of the output");
                return Err(Error::Shape { what: "the cotangent", found, expected });
            }
        }
        let at = self.at(x, lanes)?;
        let found = self.in_parts(x, &at, |x, at, part| {
            let graph = Graph::new(|x| self.output(x, at), x)?;
            let mut found = vec![graph.y.f_detach()?];
            for (k, u) in probes.iter().enumerate() {
                let u = rows(u.tensor(), part.clone())?;
                found.push(graph.pull_back(&u, k + 1 < probes.len())?);
            }
            Ok(found)
        })?;
        self.write(x, &found[0], &at, out)?;
        for ((u, product), form) in probes.iter().zip(&found[1..]).zip(forms) {
            let n = lanes.t.len();
            let (mut squares, mut along) = (vec![0.0; n], vec![0.0; n]);
            u.add_squared_norm(&mut squares);
            Batch::new(product)?.add_dot(u, &mut along);
            self.convert(&at, &squares, &along, form)?;
        }
        Ok(())
    }

    /// (N1) from what x and y have: d and the trace, or |u|² and the form of u.
    fn convert(&self, at: &At, of_x: &[f64], of_y: &[f64], out: &mut Divergence) -> Result<()> {
        out.fit(of_y.len());
        for (to, out) in [(Prediction::X0, &mut out.denoised), (Prediction::Score, &mut out.score)]
        {
            let factors = self.factors(to, at)?;
            for (i, out) in out.iter_mut().enumerate() {
                *out = factors.x[i] * of_x[i] + factors.y[i] * of_y[i];
            }
        }
        Ok(())
    }
}

fn training(keys: Option<&Vec<u64>>) -> Option<Training<'_>> {
    keys.map(|keys| Training::new(keys))
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

    fn evaluate_with_forms(
        &mut self,
        x: &Batch,
        at: Lanes<'_>,
        probes: &[Batch],
        out: &mut Field<Batch>,
        forms: &mut [Divergence],
    ) -> sde_core::Result<()> {
        Ok(catch(|| self.value_and_forms(x, at, probes, out, forms))?)
    }

    fn pull_back(
        &mut self,
        x: &Batch,
        at: Lanes<'_>,
        pull: &Pull<'_, Batch>,
        divergence: &mut [f64],
        out: &mut Batch,
    ) -> sde_core::Result<()> {
        Ok(catch(|| self.pulled_back(x, at, pull, divergence, out))?)
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
