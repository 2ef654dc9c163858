//! The embedding of time and class.
//!
//! ```text
//! e = W₂ SiLU(W₁ (waves(t) + W_c c√n + W_a a)) (+ W_c c)
//! ```
//!
//! c is one of n classes as a vector of zeros and a one, or of zeros; a is what was done to an image in training.

use tch::Tensor;

use super::names::Names;
use super::plan::{Family, Plan, Time};
use crate::error::{Error, Result};
use crate::layers::{Linear, angles, waves};
use crate::network::{Classes, Input};
use crate::parameters::{Builder, Init};

#[derive(Debug)]
enum Frequencies {
    Fixed(Vec<f32>),
    /// 2π W of ln t or t.
    Random {
        w: Tensor,
        log: bool,
    },
}

/// The embedding.
#[derive(Debug)]
pub(super) struct Embedding {
    frequencies: Frequencies,
    cosine_first: bool,
    first: Linear,
    second: Linear,
    class: Option<Linear>,
    augment: Option<Linear>,
    family: Family,
    labels: i64,
}

impl Embedding {
    pub(super) fn new(b: &mut Builder<'_>, plan: &Plan, names: &mut Names) -> Result<Self> {
        let (d, width) = plan.embedding;
        let numbered = plan.family == Family::ScoreSde;
        let random = |b: &mut Builder<'_>, name, n, scale, log| {
            Ok::<_, Error>(Frequencies::Random {
                w: b.frozen(name, &[n], Init::Normal(scale))?,
                log,
            })
        };
        let (frequencies, cosine_first) = match plan.time {
            Time::Fourier { scale, log } if numbered => {
                (random(b, format!("{}.W", names.number()), d / 2, scale, log)?, false)
            }
            Time::Fourier { scale, log } => {
                (random(b, "map_noise.freqs".into(), d / 2, scale, log)?, false)
            }
            Time::Positional { cosine_first, endpoint } => {
                (Frequencies::Fixed(fixed(d / 2, endpoint, numbered)), cosine_first)
            }
        };
        let [first, second] = if numbered {
            [names.number(), names.number()]
        } else {
            ["map_layer0".into(), "map_layer1".into()]
        };
        let class = (plan.labels > 0).then(|| match plan.family {
            Family::Dhariwal => Linear::unbiased(b, "map_label", plan.labels, width),
            _ => Linear::new(b, "map_label", plan.labels, d),
        });
        let class = class.transpose()?;
        let augment =
            (plan.augment > 0).then(|| Linear::unbiased(b, "map_augment", plan.augment, d));
        Ok(Self {
            frequencies,
            cosine_first,
            class,
            augment: augment.transpose()?,
            first: Linear::new(b, &first, d, width)?,
            second: Linear::new(b, &second, width, width)?,
            family: plan.family,
            labels: plan.labels,
        })
    }

    /// `[B, T]`.
    pub(super) fn forward(&self, input: &Input<'_>, labels: &[f64]) -> Result<Tensor> {
        let angles = match &self.frequencies {
            Frequencies::Fixed(w) => angles(input, labels, w)?,
            Frequencies::Random { w, log } => {
                let t = input.column(labels)?.f_unsqueeze(1)?;
                let (two, pi) = (Tensor::from(2.0_f32), Tensor::from(std::f32::consts::PI));
                if *log {
                    t.f_log()?.f_mul(&w.f_unsqueeze(0)?)?.f_mul(&two)?.f_mul(&pi)?
                } else {
                    t.f_mul(&w.f_mul(&two.f_mul(&pi)?)?.f_unsqueeze(0)?)?
                }
            }
        };
        let vector = waves(&angles, self.cosine_first)?;
        let class = self.class_vector(input)?;
        let vector = match (&class, self.family) {
            (Some(class), Family::Song) => vector.f_add(class)?,
            _ => vector,
        };
        let width = self.augment.as_ref().map_or(0, Linear::inputs);
        let vector = match (&self.augment, input.augmentation(width)?) {
            (Some(map), Some(done)) => vector.f_add(&map.forward(&done)?)?,
            _ => vector,
        };
        let e = self.second.forward(&self.first.forward(&vector)?.f_silu()?)?;
        match (&class, self.family) {
            (Some(class), Family::Dhariwal) => Ok(e.f_add(class)?),
            _ => Ok(e),
        }
    }

    /// `W_c c`. The last class is none of the table's: zeros.
    fn class_vector(&self, input: &Input<'_>) -> Result<Option<Tensor>> {
        let Some(map) = &self.class else {
            input.no_classes()?;
            return Ok(None);
        };
        let rows = if input.class.is_some() {
            input.table_rows(self.labels + 1)?
        } else {
            let none = vec![self.labels; input.label.len()];
            Input { class: Some(Classes::Labels(&none)), ..*input }.table_rows(self.labels + 1)?
        };
        let one = rows.f_one_hot(self.labels + 1)?.f_narrow(1, 0, self.labels)?;
        let one = one.f_to_kind(input.x.f_kind()?)?;
        Ok(Some(map.forward(&match self.family {
            Family::Song => one.f_mul(&Tensor::from((self.labels as f64).sqrt() as f32))?,
            _ => one,
        })?))
    }

    /// Classes, and one that stands for none.
    pub(super) fn classes(&self) -> Option<i64> {
        self.class.as_ref().map(|_| self.labels + 1)
    }
}

/// From 1 down to 1/10000, that end included or not; in the arithmetic of the family.
fn fixed(half: i64, endpoint: bool, exponential: bool) -> Vec<f32> {
    let parts = half - i64::from(endpoint);
    let of = |k: i64| {
        if exponential {
            (k as f32 * -((10000_f64.ln() / parts as f64) as f32)).exp()
        } else {
            1e-4_f32.powf(k as f32 / parts as f32)
        }
    };
    (0..half).map(of).collect()
}
