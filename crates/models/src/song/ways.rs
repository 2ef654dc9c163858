//! The two ways of the network and its middle, level by level.

use tch::Tensor;

use super::plan::Image;
use crate::error::Result;
use crate::layers::fir::Fir;
use crate::layers::resnet::{Pass, Resample, Resnet};
use crate::layers::{Activation, Conv, Flow, Heads, Norm, Packed, divided};

/// Attention over pixels as one of the families stores it.
#[derive(Clone, Debug)]
pub(super) enum Attend {
    Matrices(Heads),
    Packed(Packed),
}

/// `y = (x + attention(GN x)) / s`.
#[derive(Clone, Debug)]
pub(super) struct Attention {
    pub(super) norm: Norm,
    pub(super) attend: Attend,
    pub(super) scale: f64,
}

impl Attention {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let normed = self.norm.forward(x)?;
        let y = match &self.attend {
            Attend::Matrices(heads) => heads.pixels(&normed)?,
            Attend::Packed(packed) => packed.pixels(&normed)?,
        };
        divided(x.f_add(&y)?, self.scale)
    }
}

/// A block with its attention, where there is one.
#[derive(Clone, Debug)]
pub(super) struct Block(pub(super) Resnet, pub(super) Option<Attention>);

impl Block {
    fn forward(&self, x: &Tensor, pass: Pass<'_>) -> Result<Tensor> {
        let h = self.0.forward(x, pass)?;
        self.1.as_ref().map_or(Ok(h.shallow_clone()), |a| a.forward(&h))
    }
}

/// What changes the size of the state.
#[derive(Debug)]
pub(super) enum Change {
    Resnet(Box<Resnet>),
    /// A mean or copies, then a convolution where there is one.
    Plain(Resample, Option<Conv>),
    /// The right and bottom edges padded, and a strided convolution.
    Strided(Conv),
    /// Filtered with a border of one pixel, and a strided convolution.
    Filtered(Fir, Conv),
}

impl Change {
    fn forward(&self, x: &Tensor, pass: Pass<'_>) -> Result<Tensor> {
        match self {
            Self::Resnet(resnet) => resnet.forward(x, pass),
            Self::Plain(resample, None) => resample.forward(x),
            Self::Plain(resample, Some(conv)) => conv.forward(&resample.forward(x)?),
            Self::Strided(conv) => conv.forward(&x.f_constant_pad_nd([0, 1, 0, 1])?),
            Self::Filtered(fir, conv) => conv.forward(&fir.blur(x, 1)?),
        }
    }
}

/// What the smaller image gives to the state at the end of a level.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) kind: Image,
    pub(super) halve: Change,
    /// Of "skip".
    pub(super) conv: Option<Conv>,
    pub(super) append: bool,
    pub(super) scale: f64,
}

impl Entry {
    fn forward(&self, flow: &mut Flow, h: &Tensor, pass: Pass<'_>) -> Result<Tensor> {
        let Some(image) = &flow.image else { return Ok(h.shallow_clone()) };
        let image = self.halve.forward(image, pass)?;
        if self.kind == Image::Residual {
            let h = divided(image.f_add(h)?, self.scale)?;
            flow.image = Some(h.shallow_clone());
            return Ok(h);
        }
        let more = self.conv.as_ref().map_or(Ok(image.shallow_clone()), |c| c.forward(&image))?;
        flow.image = Some(image);
        Ok(if self.append { Tensor::f_cat(&[&more, h], 1)? } else { more.f_add(h)? })
    }
}

/// A level on the way down.
#[derive(Debug)]
pub(super) struct Down {
    pub(super) blocks: Vec<Block>,
    pub(super) halve: Option<Change>,
    pub(super) entry: Option<Entry>,
}

impl Down {
    pub(super) fn forward(&self, flow: &mut Flow, pass: Pass<'_>) -> Result<()> {
        for block in &self.blocks {
            let h = pass.through(block, &flow.h, Block::forward)?;
            flow.push(h);
        }
        let Some(halve) = &self.halve else { return Ok(()) };
        let h = halve.forward(&flow.h, pass)?;
        let h = match &self.entry {
            Some(entry) => entry.forward(flow, &h, pass)?,
            None => h,
        };
        flow.push(h);
        Ok(())
    }
}

/// Resnet, attention, resnet.
#[derive(Debug)]
pub(super) struct Mid(pub(super) Block, pub(super) Block);

impl Mid {
    pub(super) fn forward(&self, h: &Tensor, pass: Pass<'_>) -> Result<Tensor> {
        pass.through(&self.1, &pass.through(&self.0, h, Block::forward)?, Block::forward)
    }
}

/// What a level of the way up gives to the image.
#[derive(Debug)]
pub(super) struct Exit {
    /// Of all levels but the first, for which there is no image yet.
    pub(super) double: Option<Change>,
    /// What the state adds to the image; absent where the image adds to the state.
    pub(super) more: Option<(Norm, Conv)>,
    pub(super) scale: f64,
}

impl Exit {
    fn forward(&self, flow: &mut Flow, pass: Pass<'_>) -> Result<()> {
        let image = match (&self.double, &flow.image) {
            (Some(double), Some(image)) => Some(double.forward(image, pass)?),
            _ => None,
        };
        let more = match &self.more {
            Some((norm, conv)) => Some(conv.forward(&norm.activated(&flow.h, Activation::Silu)?)?),
            None => None,
        };
        flow.image = match (image, more) {
            (Some(image), Some(more)) => Some(image.f_add(&more)?),
            (Some(image), None) => {
                flow.h = divided(image.f_add(&flow.h)?, self.scale)?;
                Some(flow.h.shallow_clone())
            }
            (None, more) => more,
        };
        Ok(())
    }
}

/// A level on the way up.
#[derive(Debug)]
pub(super) struct Up {
    pub(super) blocks: Vec<Block>,
    pub(super) exit: Option<Exit>,
    pub(super) double: Option<Change>,
}

impl Up {
    pub(super) fn forward(&self, flow: &mut Flow, pass: Pass<'_>) -> Result<()> {
        for block in &self.blocks {
            let joined = flow.joined()?;
            flow.h = pass.through(block, &joined, Block::forward)?;
        }
        if let Some(exit) = &self.exit {
            exit.forward(flow, pass)?;
        }
        if let Some(double) = &self.double {
            flow.h = double.forward(&flow.h, pass)?;
        }
        Ok(())
    }
}
