//! Builds the network of a [`Plan`], in the order in which `score_sde` numbers its modules.

use super::Song;
use super::embedding::Embedding;
use super::names::{Names, Part};
use super::plan::{Family, Image, Plan};
use super::ways::{Attend, Attention, Block, Change, Down, Entry, Exit, Mid, Up};
use crate::error::Result;
use crate::layers::fir::Fir;
use crate::layers::resnet::{Kind, Resample, Resnet, Shortcut};
use crate::layers::{Activation, Conv, Heads, Norm, Packed, quarter_groups};
use crate::parameters::Builder;

/// What builds the parts: the tensors, the plan, the names.
struct Parts<'a, 'b> {
    b: &'a mut Builder<'b>,
    plan: &'a Plan,
    names: Names,
}

impl Song {
    pub(crate) fn new(plan: Plan, b: &mut Builder<'_>) -> Result<Self> {
        let mut names = Names::new(&plan);
        let place = b.place();
        let embedding = b.precisely(|b| Embedding::new(b, &plan, &mut names))?;
        let mut parts = Parts { b, plan: &plan, names };
        let first = match plan.family {
            Family::Dhariwal => plan.level(0),
            _ => plan.width,
        };
        let conv_in = parts.conv(Part::ConvIn, 0, (plan.channels.0, first), 3)?;
        let mut widths = vec![first]; // of the states that the way up takes back
        let down = parts.down(&mut widths)?;
        let c = widths.last().copied().unwrap_or(first);
        let last = plan.multiples.len() - 1;
        let attended = parts.block(Part::Mid(0), last, (c, c), true)?;
        let mid = Mid(attended, parts.block(Part::Mid(1), last, (c, c), false)?);
        let (up, c) = parts.up(&mut widths, c)?;
        let out = (plan.output != Image::Skip)
            .then(|| parts.norm_and_conv(0, (c, plan.channels.1)))
            .transpose()?;
        Ok(Self { plan, place, embedding, conv_in, down, mid, up, out })
    }
}

impl Parts<'_, '_> {
    /// A convolution under the name of its part.
    fn conv(
        &mut self,
        part: Part,
        level: usize,
        channels: (i64, i64),
        kernel: i64,
    ) -> Result<Conv> {
        let name = self.names.of(part, level);
        Conv::new(self.b, &name, channels, kernel)
    }

    /// A `ResNet` block.
    fn resnet(&mut self, part: Part, level: usize, channels: (i64, i64)) -> Result<Resnet> {
        let plan = self.plan;
        let resamples = matches!(part, Part::Halve | Part::Double);
        let shortcut = match plan.family {
            Family::ScoreSde if !plan.by_resnet => Shortcut::Matrix,
            Family::ScoreSde | Family::Song if resamples => Shortcut::Always,
            _ => Shortcut::WhereNeeded,
        };
        let kind = Kind {
            names: plan.family.resnet(shortcut == Shortcut::Matrix),
            channels,
            groups: (quarter_groups(channels.0), quarter_groups(channels.1)),
            eps: plan.eps,
            embedding: plan.embedding.1,
            scale_shift: plan.scale_shift,
            activation: Activation::Silu,
            dropout: plan.dropout,
            scale: plan.scale(),
            shortcut,
        };
        let name = self.names.of(part, level);
        Resnet::new(self.b, &name, kind)
    }

    /// A block, with attention or without.
    fn block(
        &mut self,
        part: Part,
        level: usize,
        channels: (i64, i64),
        attends: bool,
    ) -> Result<Block> {
        let resnet = self.resnet(part, level, channels)?;
        // Too narrow for one head is without attention, as in EDM.
        let attends = attends && self.plan.head.is_none_or(|head| channels.1 >= head);
        let attention = attends.then(|| self.attention(channels.1)).transpose()?;
        Ok(Block(resnet, attention))
    }

    fn attention(&mut self, c: i64) -> Result<Attention> {
        let (place, eps, scale) = (self.names.attention(), self.plan.eps, self.plan.scale());
        let numbered = self.plan.family == Family::ScoreSde;
        let norm = if numbered { "GroupNorm_0" } else { "norm2" };
        let norm = Norm::new(self.b, &format!("{place}.{norm}"), c, quarter_groups(c), eps)?;
        let attend = if numbered {
            let names = ["NIN_0", "NIN_1", "NIN_2", "NIN_3"];
            Attend::Matrices(Heads::matrices(self.b, &place, names, c)?)
        } else {
            let heads = c / self.plan.head.unwrap_or(c);
            if c % heads != 0 {
                return Err(crate::Error::Config {
                    key: format!("{place} of the network"),
                    found: format!("{c} channels in {heads} heads"),
                    expected: "heads of equal width".into(),
                });
            }
            Attend::Packed(Packed::new(self.b, &place, ["qkv", "proj"], (c, heads))?)
        };
        Ok(Attention { norm, attend, scale })
    }

    fn norm_and_conv(&mut self, level: usize, (c, cout): (i64, i64)) -> Result<(Norm, Conv)> {
        let name = self.names.of(Part::OutputNorm, level);
        let norm = Norm::new(self.b, &name, c, quarter_groups(c), self.plan.eps)?;
        Ok((norm, self.conv(Part::OutputConv, level, (c, cout), 3)?))
    }

    fn down(&mut self, widths: &mut Vec<i64>) -> Result<Vec<Down>> {
        let plan = self.plan;
        let levels = plan.multiples.len();
        let (mut c, mut image) = (widths.last().copied().unwrap_or(0), plan.channels.0);
        let mut down = Vec::new();
        for level in 0..levels {
            let mut blocks = Vec::new();
            for j in 0..plan.blocks {
                let cout = plan.level(level);
                blocks.push(self.block(Part::Down(j), level, (c, cout), plan.attends(level))?);
                c = cout;
                widths.push(c);
            }
            let (mut halve, mut entry) = (None, None);
            if level + 1 < levels {
                halve = Some(self.halve(level, c)?);
                entry = self.entry(level, &mut image, c)?;
                if plan.input == Image::Skip && plan.append {
                    c *= 2;
                }
                widths.push(c);
            }
            down.push(Down { blocks, halve, entry });
        }
        Ok(down)
    }

    /// The end of a level on the way down.
    fn halve(&mut self, level: usize, c: i64) -> Result<Change> {
        if self.plan.by_resnet {
            let resample = self.smaller(c)?;
            let resnet = self.resnet(Part::Halve, level, (c, c))?;
            return Ok(Change::Resnet(Box::new(resnet.resampling(resample))));
        }
        let name = self.names.of(Part::Halve, level);
        if self.plan.with_conv {
            self.strided(&name, (c, c))
        } else {
            Ok(Change::Plain(self.smaller(c)?, None))
        }
    }

    /// A convolution that halves.
    fn strided(&mut self, name: &str, channels: (i64, i64)) -> Result<Change> {
        let numbered = self.plan.family == Family::ScoreSde;
        let filtered = self.plan.filtered || !numbered;
        let name = match (numbered, filtered) {
            (false, _) => name.to_owned(),
            (true, false) => format!("{name}.Conv_0"),
            (true, true) => format!("{name}.Conv2d_0"),
        };
        let conv = Conv::strided(self.b, &name, channels, (3, 2, 0))?;
        if filtered {
            let fir = Fir::new(&self.plan.filter, channels.0, self.b.place())?;
            Ok(Change::Filtered(fir, conv))
        } else {
            Ok(Change::Strided(conv))
        }
    }

    /// What the smaller image gives at the end of a level.
    fn entry(&mut self, level: usize, image: &mut i64, c: i64) -> Result<Option<Entry>> {
        let (kind, append, scale) = (self.plan.input, self.plan.append, self.plan.scale());
        let (halve, conv) = match kind {
            Image::None => return Ok(None),
            Image::Residual => {
                let name = self.names.of(Part::InputResidual, level);
                let halve = self.strided(&name, (*image, c))?;
                *image = c;
                (halve, None)
            }
            Image::Skip => {
                let mut name = self.names.of(Part::InputSkip, level);
                if self.plan.family == Family::ScoreSde {
                    name += ".Conv_0";
                }
                let conv = Conv::new(self.b, &name, (*image, c), 1)?;
                (Change::Plain(self.smaller(*image)?, None), Some(conv))
            }
        };
        Ok(Some(Entry { kind, halve, conv, append, scale }))
    }

    fn up(&mut self, widths: &mut Vec<i64>, mut c: i64) -> Result<(Vec<Up>, i64)> {
        let plan = self.plan;
        let (mut up, mut image) = (Vec::new(), None);
        for level in (0..plan.multiples.len()).rev() {
            let mut blocks = Vec::new();
            for j in 0..=plan.blocks {
                let (cin, cout) = (c + widths.pop().unwrap_or(0), plan.level(level));
                let each = plan.family == Family::Dhariwal || j == plan.blocks;
                blocks.push(self.block(
                    Part::Up(j),
                    level,
                    (cin, cout),
                    each && plan.attends(level),
                )?);
                c = cout;
            }
            let exit = self.exit(level, &mut image, c)?;
            let double = (level > 0).then(|| self.double(level, c)).transpose()?;
            up.push(Up { blocks, exit, double });
        }
        Ok((up, c))
    }

    /// The end of a level on the way up.
    fn double(&mut self, level: usize, c: i64) -> Result<Change> {
        if self.plan.by_resnet {
            let resample = self.larger(c)?;
            let resnet = self.resnet(Part::Double, level, (c, c))?;
            return Ok(Change::Resnet(Box::new(resnet.resampling(resample))));
        }
        let name = self.names.of(Part::Double, level);
        let conv =
            self.plan.with_conv.then(|| Conv::new(self.b, &format!("{name}.Conv_0"), (c, c), 3));
        Ok(Change::Plain(self.larger(c)?, conv.transpose()?))
    }

    /// What a level gives to the image, whose channels are `image` once there is one.
    fn exit(&mut self, level: usize, image: &mut Option<i64>, c: i64) -> Result<Option<Exit>> {
        let (kind, scale) = (self.plan.output, self.plan.scale());
        if kind == Image::None {
            return Ok(None);
        }
        let width = if kind == Image::Skip { self.plan.channels.1 } else { c };
        let (double, more) = match (kind, *image) {
            (Image::Residual, Some(before)) => {
                let name = self.names.of(Part::OutputResidual, level);
                let conv = Conv::new(self.b, &format!("{name}.Conv_0"), (before, c), 3)?;
                (Some(Change::Plain(self.larger(before)?, Some(conv))), None)
            }
            (_, before) => {
                let larger = before.map(|before| self.larger(before)).transpose()?;
                let more = self.norm_and_conv(level, (c, width))?;
                (larger.map(|larger| Change::Plain(larger, None)), Some(more))
            }
        };
        *image = Some(width);
        Ok(Some(Exit { double, more, scale }))
    }

    fn smaller(&self, c: i64) -> Result<Resample> {
        if !self.plan.filtered {
            return Ok(Resample::Average);
        }
        Ok(Resample::FirDown(Fir::new(&self.plan.filter, c, self.b.place())?))
    }

    fn larger(&self, c: i64) -> Result<Resample> {
        if !self.plan.filtered {
            return Ok(Resample::Nearest);
        }
        Ok(Resample::FirUp(Fir::new(&self.plan.filter, c, self.b.place())?))
    }
}
