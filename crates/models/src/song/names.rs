//! The names of the parts in files of the three families.
//!
//! `score_sde` numbers its modules in the order in which they are built, so the parts must be asked for in that order; EDM
//! names them by the size of the level, and attention belongs to the block before it.

use super::plan::{Family, Plan};
use crate::layers::resnet;

/// A part of the network.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part {
    ConvIn,
    /// Block j on the way down.
    Down(usize),
    /// The end of a level on the way down.
    Halve,
    InputSkip,
    InputResidual,
    /// The blocks of the middle.
    Mid(usize),
    /// Block j on the way up.
    Up(usize),
    Double,
    OutputNorm,
    OutputConv,
    /// The doubled image of the way up.
    OutputResidual,
}

/// Gives names one after the other.
#[derive(Debug)]
pub(super) struct Names {
    family: Family,
    size: i64,
    next: usize,
    last: String,
}

impl Names {
    pub(super) fn new(plan: &Plan) -> Self {
        Self { family: plan.family, size: plan.size, next: 0, last: String::new() }
    }

    /// The next numbered module.
    pub(super) fn number(&mut self) -> String {
        self.next += 1;
        format!("all_modules.{}", self.next - 1)
    }

    /// The name of a part at a level.
    pub(super) fn of(&mut self, part: Part, level: usize) -> String {
        self.last =
            if self.family == Family::ScoreSde { self.number() } else { self.edm(part, level) };
        self.last.clone()
    }

    fn edm(&self, part: Part, level: usize) -> String {
        let coarser = self.size >> (level + 1);
        let n = self.size >> level;
        match part {
            Part::ConvIn => format!("enc.{n}x{n}_conv"),
            Part::Down(j) => format!("enc.{n}x{n}_block{j}"),
            Part::Halve => format!("enc.{coarser}x{coarser}_down"),
            Part::InputSkip => format!("enc.{coarser}x{coarser}_aux_skip"),
            Part::InputResidual => format!("enc.{coarser}x{coarser}_aux_residual"),
            Part::Mid(j) => format!("dec.{n}x{n}_in{j}"),
            Part::Up(j) => format!("dec.{n}x{n}_block{j}"),
            Part::Double => {
                let finer = self.size >> level.saturating_sub(1);
                format!("dec.{finer}x{finer}_up")
            }
            Part::OutputNorm if self.family == Family::Dhariwal => "out_norm".into(),
            Part::OutputConv if self.family == Family::Dhariwal => "out_conv".into(),
            Part::OutputNorm => format!("dec.{n}x{n}_aux_norm"),
            Part::OutputConv => format!("dec.{n}x{n}_aux_conv"),
            Part::OutputResidual => format!("dec.{n}x{n}_aux_residual"),
        }
    }

    /// The name of the attention after the block that was named last.
    pub(super) fn attention(&mut self) -> String {
        if self.family == Family::ScoreSde { self.number() } else { self.last.clone() }
    }
}

impl Family {
    /// The names inside of a `ResNet` block.
    pub(super) fn resnet(self, matrix: bool) -> resnet::Names {
        match self {
            Self::ScoreSde => {
                let shortcut = if matrix { "NIN_0" } else { "Conv_2" };
                ["GroupNorm_0", "Conv_0", "Dense_0", "GroupNorm_1", "Conv_1", shortcut]
            }
            _ => ["norm0", "conv0", "affine", "norm1", "conv1", "skip"],
        }
    }
}
