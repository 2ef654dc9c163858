//! The ends of the blocks, where the size changes.
//!
//! ```text
//! NCSN++ down:  h ← resnet_down h + W (image ↓),             image ← image ↓
//! NCSN++ up:    image ← image ↑ + conv(SiLU(GN h)),          h ← resnet_up h
//! ```
//!
//! (Song et al. 2021, "input skip" and "output skip") with ↓ and ↑ the filter of [`Fir`](crate::layers::fir).

use super::attention::plain;
use super::blocks::SKIP_SCALE;
use super::config::{BlockType, UNetConfig};
use crate::error::Result;
use crate::layers::fir::Fir;
use crate::layers::resnet::{Kind, Pass, Resample, Resnet, Shortcut};
use crate::layers::{Activation, Conv, Flow, Norm, nearest, quarter_groups};
use crate::parameters::Builder;

/// Channels of the second image, fixed by the format.
pub(super) const IMAGE: i64 = 3;

/// The end of a block on the way down.
#[derive(Debug)]
pub(super) enum Halving {
    /// The lowest block keeps its size.
    None,
    /// A strided convolution; `asymmetric`: the right and bottom edges alone are padded.
    Conv {
        conv: Conv,
        asymmetric: bool,
    },
    Resnet(Box<Resnet>),
    /// The block of NCSN++, its filter for the image, and the convolution of the image.
    Skip {
        resnet: Box<Resnet>,
        filter: Fir,
        conv: Conv,
    },
}

impl Halving {
    pub(super) fn new(
        b: &mut Builder<'_>,
        block: &str,
        config: &UNetConfig,
        kind: BlockType,
        (c, last): (i64, bool),
    ) -> Result<Self> {
        if last {
            return Ok(Self::None);
        }
        let place = format!("{block}.downsamplers.0");
        if kind.skips() {
            let resnet = forced(b, &format!("{block}.resnet_down"), config, c)?;
            let resnet = resnet.resampling(Resample::FirDown(Fir::usual(c, b.place())?));
            let conv = Conv::new(b, &format!("{block}.skip_conv"), (IMAGE, c), 1)?;
            Ok(Self::Skip { resnet: Box::new(resnet), filter: Fir::usual(IMAGE, b.place())?, conv })
        } else if kind.by_resnet(config.downsample_type) {
            let resnet = Resnet::new(b, &place, plain(config, (c, c)))?;
            Ok(Self::Resnet(Box::new(resnet.resampling(Resample::Average))))
        } else {
            let padding = config.downsample_padding;
            let conv = Conv::strided(b, &format!("{place}.conv"), (c, c), (3, 2, padding))?;
            Ok(Self::Conv { conv, asymmetric: padding == 0 })
        }
    }

    pub(super) fn forward(&self, flow: &mut Flow, pass: Pass<'_>) -> Result<()> {
        let h = match self {
            Self::None => return Ok(()),
            Self::Conv { conv, asymmetric: false } => conv.forward(&flow.h)?,
            Self::Conv { conv, .. } => conv.forward(&flow.h.f_constant_pad_nd([0, 1, 0, 1])?)?,
            Self::Resnet(resnet) => resnet.forward(&flow.h, pass)?,
            Self::Skip { resnet, filter, conv } => {
                let h = resnet.forward(&flow.h, pass)?;
                flow.image = flow.image.as_ref().map(|image| filter.down(image)).transpose()?;
                match &flow.image {
                    Some(image) => conv.forward(image)?.f_add(&h)?,
                    None => h,
                }
            }
        };
        flow.push(h);
        Ok(())
    }
}

/// The end of a block on the way up.
#[derive(Debug)]
pub(super) enum Joint {
    /// The finest block keeps its size.
    None,
    /// Nearest neighbour, then a convolution.
    Conv(Conv),
    Resnet(Box<Resnet>),
    /// The block of NCSN++: its filter for the image, and the rest unless it is the finest.
    Skip {
        filter: Fir,
        rest: Option<Box<SkipUp>>,
    },
}

/// What adds to the image, and what doubles the state.
#[derive(Debug)]
pub(super) struct SkipUp {
    norm: Norm,
    conv: Conv,
    resnet: Resnet,
}

impl Joint {
    pub(super) fn new(
        b: &mut Builder<'_>,
        block: &str,
        config: &UNetConfig,
        kind: BlockType,
        (c, last): (i64, bool),
    ) -> Result<Self> {
        if kind.skips() {
            let rest = (!last).then(|| SkipUp::new(b, block, config, c)).transpose()?;
            let filter = Fir::usual(IMAGE, b.place())?;
            return Ok(Self::Skip { filter, rest: rest.map(Box::new) });
        }
        let place = format!("{block}.upsamplers.0");
        if last {
            Ok(Self::None)
        } else if kind.by_resnet(config.upsample_type) {
            let resnet = Resnet::new(b, &place, plain(config, (c, c)))?;
            Ok(Self::Resnet(Box::new(resnet.resampling(Resample::Nearest))))
        } else {
            Ok(Self::Conv(Conv::new(b, &format!("{place}.conv"), (c, c), 3)?))
        }
    }

    pub(super) fn forward(&self, flow: &mut Flow, pass: Pass<'_>) -> Result<()> {
        match self {
            Self::None => {}
            Self::Conv(conv) => flow.h = conv.forward(&nearest(&flow.h)?)?,
            Self::Resnet(resnet) => flow.h = resnet.forward(&flow.h, pass)?,
            Self::Skip { filter, rest } => {
                flow.image = flow.image.as_ref().map(|image| filter.up(image)).transpose()?;
                if let Some(rest) = rest {
                    let more =
                        rest.conv.forward(&rest.norm.activated(&flow.h, Activation::Silu)?)?;
                    flow.image = Some(match &flow.image {
                        Some(image) => image.f_add(&more)?,
                        None => more,
                    });
                    flow.h = rest.resnet.forward(&flow.h, pass)?;
                }
            }
        }
        Ok(())
    }
}

impl SkipUp {
    fn new(b: &mut Builder<'_>, block: &str, config: &UNetConfig, c: i64) -> Result<Self> {
        let resnet = forced(b, &format!("{block}.resnet_up"), config, c)?;
        let filter = Fir::usual(c, b.place())?;
        Ok(Self {
            norm: Norm::new(
                b,
                &format!("{block}.skip_norm"),
                c,
                quarter_groups(c),
                config.norm_eps,
            )?,
            conv: Conv::new(b, &format!("{block}.skip_conv"), (c, IMAGE), 3)?,
            resnet: resnet.resampling(Resample::FirUp(filter)),
        })
    }
}

/// The `ResNet` block that changes the size in NCSN++.
fn forced(b: &mut Builder<'_>, name: &str, config: &UNetConfig, c: i64) -> Result<Resnet> {
    let groups = (quarter_groups(c), quarter_groups(c));
    let kind =
        Kind { groups, scale: SKIP_SCALE, shortcut: Shortcut::Always, ..plain(config, (c, c)) };
    Resnet::new(b, name, kind)
}
