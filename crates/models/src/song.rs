//! The U-Nets of Song et al. 2021 (DDPM++ and NCSN++, checkpoints of `score_sde`) and of Karras et al. 2022 (`SongUNet`, which
//! is the same network under other names, and `DhariwalUNet`, that of Dhariwal & Nichol 2021).
//!
//! ```text
//! e = embed(label) (+ class);   h = conv x;   down, middle, up with the states of the way down;   y = conv(SiLU(GN h))
//! input image:   "skip" h ← h + W (x ↓),         "residual" h ← (h + conv(x ↓))/s, which is the next image
//! output image:  "skip" y ← y ↑ + conv(SiLU(GN h)), "residual" h ← (h + conv(y ↑))/s, which is the next image
//! ```
//!
//! A `plan` is what the three configurations have in common; `names` are the names of tensors in their files.

mod build;
pub mod config;
mod embedding;
mod names;
pub(crate) mod plan;
mod ways;

use tch::{Kind, Tensor};

pub use config::{DhariwalUNetConfig, NcsnPpConfig, SongUNetConfig};

use crate::error::{Error, Result};
use crate::layers::resnet::Pass;
use crate::layers::{Activation, Conv, Flow, Norm, centred, entered, entering, leaving};
use crate::network::{Input, Network, whole};
use crate::parameters::Place;
use embedding::Embedding;
use plan::{Division, Plan};
use ways::{Down, Mid, Up};

/// The network.
#[derive(Debug)]
pub struct Song {
    plan: Plan,
    place: Place,
    embedding: Embedding,
    conv_in: Conv,
    down: Vec<Down>,
    mid: Mid,
    up: Vec<Up>,
    /// Absent where the output is the image of the way up.
    out: Option<(Norm, Conv)>,
}

impl Song {
    /// Refuses what would fail, or be broadcast, further in.
    fn check(&self, input: &Input<'_>) -> Result<()> {
        input.check(self.kind())?;
        let (found, n) = (input.x.size(), self.plan.size);
        let expected = [self.plan.channels.0, n, n];
        if found.len() != 4 || found[1..] != expected {
            let expected = format!("[B, {}, {n}, {n}]", self.plan.channels.0);
            return Err(Error::Shape { what: "the network's input", found, expected });
        }
        Ok(())
    }

    /// The label that the network itself is told.
    fn labels(&self, input: &Input<'_>) -> Vec<f64> {
        match self.plan.division {
            Division::Half => input.label.iter().map(|sigma| (0.5 * sigma).ln()).collect(),
            _ => input.label.iter().map(|t| self.plan.label_scale * t).collect(),
        }
    }

    /// What the output is divided by, for each row.
    fn divisors(&self, input: &Input<'_>) -> Result<Option<Tensor>> {
        let sigma: Vec<f64> = match &self.plan.division {
            Division::None => return Ok(None),
            Division::Label | Division::Half => input.label.to_vec(),
            Division::Table(table) => {
                let row = |&t: &f64| Ok(table[whole(t, table.len(), "the noise levels")?]);
                input.label.iter().map(row).collect::<Result<_>>()?
            }
        };
        Ok(Some(input.column(&sigma)?.f_reshape([-1, 1, 1, 1])?))
    }
}

impl Network for Song {
    fn forward(&self, input: Input<'_>) -> Result<Tensor> {
        self.check(&input)?;
        let embedding = self.embedding.forward(&input, &self.labels(&input))?;
        let pass = Pass { embedding: &embedding, train: input.train };
        let x = if self.plan.centred { input.x } else { &centred(input.x)? };
        let x = &entering(x, self.place)?;
        let h = entered(self.conv_in.forward(x)?, self.place)?;
        let mut flow = Flow::new(h, x);
        self.down.iter().try_for_each(|level| level.forward(&mut flow, pass))?;
        flow.h = self.mid.forward(&flow.h, pass)?;
        flow.image = None; // the way up has one of its own
        self.up.iter().try_for_each(|level| level.forward(&mut flow, pass))?;
        let y = match (&self.out, flow.image) {
            (Some((norm, conv)), _) => conv.forward(&norm.activated(&flow.h, Activation::Silu)?)?,
            (None, Some(image)) => image,
            (None, None) => flow.h,
        };
        let y = leaving(&y, self.place)?;
        match self.divisors(&input)? {
            Some(sigma) => Ok(y.f_div(&sigma)?),
            None => Ok(y),
        }
    }

    fn classes(&self) -> Option<i64> {
        self.embedding.classes()
    }

    fn kind(&self) -> Kind {
        self.place.precise()
    }
}
