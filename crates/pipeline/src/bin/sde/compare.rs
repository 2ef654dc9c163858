//! `sde compare`: how far samples are from data.

use std::error::Error;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use ndarray::{Array2, ArrayD, ArrayView2, Axis, Ix2, Ix4, Slice};
use pipeline::cli::{Usage, whole};
use pipeline::frechet::{Features, frechet_distance, mmd2};
use pipeline::script::features;
use pipeline::sliced::sliced_w1;
use serde::Serialize;

use crate::data::Source;
use crate::flags::Common;
use crate::session::Session;

/// Rows of each sample that the discrepancy takes: its work grows with their square.
const ROWS: usize = 2000;

/// Flags of `compare`.
#[derive(Debug, Args)]
#[command(after_help = "\
Prints the Fréchet distance in a space of features (FID where these are Inception's, and not otherwise), the maximum mean \
discrepancy without bias, and the sliced Wasserstein distance with what chance alone makes of it.

Example: sde compare --data digits:test --samples out/samples.npy --features pca:16")]
pub(crate) struct CompareFlags {
    /// Data: a file, a directory of images, or digits:train, digits:validation, digits:test.
    #[arg(long, value_name = "FILE|DIR")]
    data: String,
    /// Samples, likewise.
    #[arg(long, value_name = "FILE|DIR")]
    samples: String,
    /// pixels; pca:K, principal components of the data; random:K, `max(0, W x)` with random W; or script:FILE, a `TorchScript`
    /// network of images [B, 3, H, W] of bytes.
    #[arg(long, default_value = "pixels")]
    features: Space,
    /// Samples of each to look at; all when absent.
    #[arg(long, value_name = "N", value_parser = whole(2, 10_000_000), allow_negative_numbers = true)]
    num: Option<u64>,
}

/// Where the distance is taken.
#[derive(Clone, Debug)]
enum Space {
    Plain(Features),
    Script(PathBuf),
}

impl FromStr for Space {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let count = |n: &str| n.parse().ok().filter(|&n| n > 0);
        let found = match text.split_once(':') {
            None if text == "pixels" => Some(Self::Plain(Features::Pixels)),
            Some(("pca", n)) => count(n).map(|n| Self::Plain(Features::Principal(n))),
            Some(("random", n)) => count(n).map(|n| Self::Plain(Features::Random(n))),
            Some(("script", path)) if !path.is_empty() => Some(Self::Script(path.into())),
            _ => None,
        };
        found.ok_or_else(|| "expected pixels, pca:K, random:K or script:FILE".into())
    }
}

#[derive(Serialize)]
struct Body {
    n: [usize; 2],
    features: String,
    dimension: usize,
    frechet: f64,
    mmd2: f64,
    sliced_w1: f64,
    sliced_w1_by_chance: f64,
    sliced_w1_deviation: f64,
}

/// Compares samples with data.
///
/// # Errors
/// Files that cannot be read or differ in their shapes; features that do not suit them.
pub(crate) fn run(flags: &CompareFlags, common: &Common) -> Result<(), Box<dyn Error>> {
    let session = Session::open("compare", common)?;
    let (data, samples) = (read(&flags.data, flags.num)?, read(&flags.samples, flags.num)?);
    if data.shape()[1..] != samples.shape()[1..] {
        let (found, expected) = (&samples.shape()[1..], &data.shape()[1..]);
        let text =
            format!("found samples of the shape {found:?}, expected {expected:?} as the data");
        return Err(Usage(text).into());
    }
    let (a, b) = (rows(&data)?, rows(&samples)?);
    let (fa, fb) = match &flags.features {
        Space::Plain(space) => space.of(a.view(), b.view(), common.seed())?,
        Space::Script(path) => {
            let of = |x: &ArrayD<f64>| -> Result<Array2<f64>, Box<dyn Error>> {
                let images = x.view().into_dimensionality::<Ix4>()?;
                Ok(features(path, images, session.device)?)
            };
            (of(&data)?, of(&samples)?)
        }
    };
    let sliced = sliced_w1(a.view(), b.view(), common.seed())?;
    let body = Body {
        n: [a.nrows(), b.nrows()],
        features: match &flags.features {
            Space::Plain(Features::Pixels) => "pixels".into(),
            Space::Plain(Features::Principal(n)) => format!("pca:{n}"),
            Space::Plain(Features::Random(n)) => format!("random:{n}"),
            Space::Script(path) => format!("script:{}", path.display()),
        },
        dimension: fa.ncols(),
        frechet: frechet_distance(fa.view(), fb.view())?,
        mmd2: mmd2(first(&fa), first(&fb))?,
        sliced_w1: sliced.distance,
        sliced_w1_by_chance: sliced.by_chance,
        sliced_w1_deviation: sliced.deviation,
    };
    session.report(&body, &text(&body))
}

fn text(body: &Body) -> String {
    let [n, m] = body.n;
    format!(
        "{n} data, {m} samples, features {} ({})\n\
         Fréchet distance      {:.4}\n\
         mean discrepancy²     {:.5}\n\
         sliced Wasserstein-1  {:.4}, by chance {:.4} ± {:.4}\n",
        body.features,
        body.dimension,
        body.frechet,
        body.mmd2,
        body.sliced_w1,
        body.sliced_w1_by_chance,
        body.sliced_w1_deviation
    )
}

/// The first samples of a file in model coordinates, integers at the middle of their levels.
fn read(name: &str, num: Option<u64>) -> Result<ArrayD<f64>, Box<dyn Error>> {
    let x = Source::read(name)?.states(None)?;
    let n = num.map_or(x.len_of(Axis(0)), |n| n as usize).min(x.len_of(Axis(0)));
    Ok(x.slice_axis(Axis(0), Slice::from(..n)).to_owned())
}

fn rows(x: &ArrayD<f64>) -> Result<Array2<f64>, Box<dyn Error>> {
    let n = x.len_of(Axis(0));
    let flat =
        x.as_standard_layout().into_owned().into_shape_with_order((n, x.len() / n.max(1)))?;
    Ok(flat.into_dimensionality::<Ix2>()?)
}

/// The rows that the discrepancy takes.
fn first(x: &Array2<f64>) -> ArrayView2<'_, f64> {
    x.slice_axis(Axis(0), Slice::from(..ROWS.min(x.nrows())))
}
