//! Plots as PNG files, on any machine: the font is compiled in, nothing is asked of the system.
//!
//! [`write_plot`] hands a white [`Canvas`] to a function and writes what it drew, whole or not at all. The canvas has
//! twice the pixels of the picture in each direction, and each pixel is the mean of four: edges come out smooth.
//! [`curves`] draws one panel of lines and [`legend`] its key as a table below; anything else is drawn with
//! [`plotters`] itself.
//!
//! The font is Ubuntu Light (Ubuntu Font Licence 1.0) from the crate `epaint_default_fonts`.

use crate::output::{OutputError, write_whole};
use image::{DynamicImage, ImageFormat, RgbImage, imageops};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{FontStyle, register_font};
use std::io::{Cursor, Write};
use std::ops::Range;
use std::path::Path;

pub use plotters;

/// The name under which the font is registered; use it for text of your own.
pub const FONT: &str = "plot";
/// Axes and text.
pub const INK: RGBColor = RGBColor(45, 48, 56);
/// Lines that the eye may pass over.
pub const GREY: RGBColor = RGBColor(222, 224, 229);
/// Colours that stay apart for colour-blind readers (Okabe and Ito 2008).
pub const COLOURS: [RGBColor; 5] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
];

/// Pixels of a canvas for one of the picture, in each direction.
pub const FINE: u32 = 2;

/// A white picture to draw on, [`FINE`] times as large as it will be.
pub type Canvas<'a> = DrawingArea<BitMapBackend<'a>, Shift>;
/// What a drawing function returns.
pub type Drawn = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// A plot that cannot be drawn or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlotError {
    /// A picture of no pixels, or beyond 2²⁶.
    #[error("a plot of {width} × {height} pixels, expected 1 to 67108864 in all")]
    Size {
        /// Pixels from left to right.
        width: u32,
        /// Pixels from top to bottom.
        height: u32,
    },
    /// The compiled-in font is not one.
    #[error("the font of the plots cannot be read")]
    Font,
    /// The drawing function failed; its error is the source.
    #[error("the plot cannot be drawn: {0}")]
    Draw(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The file cannot be written.
    #[error(transparent)]
    Output(#[from] OutputError),
}

/// Lets `draw` fill a white picture of `(width, height)` pixels and writes it as a PNG, whole or not at all.
///
/// # Errors
/// [`PlotError`], each of its cases.
pub fn write_plot(
    path: impl AsRef<Path>,
    size: (u32, u32),
    draw: impl FnOnce(&Canvas<'_>) -> Drawn,
) -> Result<(), PlotError> {
    let picture = png(size, draw)?;
    write_whole(path, |file| file.write_all(&picture))?;
    Ok(())
}

/// As [`write_plot`], the bytes of the file.
///
/// # Errors
/// As [`write_plot`].
pub fn png(
    (width, height): (u32, u32),
    draw: impl FnOnce(&Canvas<'_>) -> Drawn,
) -> Result<Vec<u8>, PlotError> {
    let pixels = u64::from(width) * u64::from(height);
    if !(1..=1 << 26).contains(&pixels) {
        return Err(PlotError::Size { width, height });
    }
    let fine = (FINE * width, FINE * height);
    register_font(FONT, FontStyle::Normal, epaint_default_fonts::UBUNTU_LIGHT)
        .map_err(|_| PlotError::Font)?;
    let mut bytes = vec![255; (3 * FINE * FINE) as usize * pixels as usize];
    {
        let canvas = BitMapBackend::with_buffer(&mut bytes, fine).into_drawing_area();
        draw(&canvas).map_err(PlotError::Draw)?;
        canvas.present().map_err(|e| PlotError::Draw(e.into()))?;
    }
    let picture =
        RgbImage::from_raw(fine.0, fine.1, bytes).ok_or(PlotError::Size { width, height })?;
    let picture = DynamicImage::from(imageops::thumbnail(&picture, width, height));
    let mut file = Cursor::new(Vec::new());
    let encoded = picture.write_to(&mut file, ImageFormat::Png);
    encoded.map_err(|e| PlotError::Draw(e.into()))?;
    Ok(file.into_inner())
}

/// Text of a size in pixels.
pub fn text(size: f64) -> TextStyle<'static> {
    (FONT, size).into_font().color(&INK)
}

/// The frame of a panel of curves.
#[derive(Clone, Debug)]
pub struct Frame<'a> {
    /// What stands above.
    pub title: &'a str,
    /// The quantity from left to right.
    pub x_label: &'a str,
    /// The quantity from bottom to top.
    pub y_label: &'a str,
    /// The ends of the axis from left to right.
    pub x: Range<f64>,
    /// The ends of the axis from bottom to top.
    pub y: Range<f64>,
}

/// One line of a panel.
#[derive(Clone, Debug)]
pub struct Curve {
    /// The points (x, y) in order.
    pub points: Vec<(f64, f64)>,
    /// Its colour.
    pub colour: RGBColor,
}

/// Draws curves in a frame, over dashed horizontal lines at the heights `rules`. Font and margins follow the width.
///
/// # Errors
/// What [`plotters`] reports.
pub fn curves(area: &Canvas<'_>, frame: &Frame<'_>, rules: &[f64], curves: &[Curve]) -> Drawn {
    let width = area.dim_in_pixel().0;
    let em = f64::from(width) / 32.0;
    let pixels = |ems: f64| (ems * em) as i32; // whole pixels
    let mut chart = ChartBuilder::on(area)
        .caption(frame.title, text(1.5 * em))
        .margin(pixels(0.8))
        .margin_right(pixels(2.2))
        .x_label_area_size(pixels(3.2))
        .y_label_area_size(pixels(4.0))
        .build_cartesian_2d(frame.x.clone(), frame.y.clone())?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GREY.stroke_width(FINE))
        .axis_style(INK.stroke_width(FINE))
        .label_style(text(em))
        .axis_desc_style(text(1.15 * em))
        .x_labels(5)
        .y_labels(6)
        .x_label_formatter(&|x| thousands(*x))
        .x_desc(frame.x_label)
        .y_desc(frame.y_label)
        .draw()?;
    let thin = INK.stroke_width((width / 500).max(1));
    for &y in rules {
        let ends = [(frame.x.start, y), (frame.x.end, y)];
        chart.draw_series(DashedLineSeries::new(ends, 8 * FINE, 6 * FINE, thin))?;
    }
    for curve in curves {
        let style = curve.colour.stroke_width((width / 200).max(1));
        chart.draw_series(LineSeries::new(curve.points.iter().copied(), style))?;
    }
    Ok(())
}

/// Draws a table with one row for each colour below a line of headings; a column begins at each of `columns`, in parts
/// of the width.
///
/// # Errors
/// What [`plotters`] reports.
pub fn legend(
    area: &Canvas<'_>,
    columns: &[f64],
    headings: &[&str],
    rows: &[(RGBColor, Vec<String>)],
) -> Drawn {
    let (width, height) = area.dim_in_pixel();
    let em = f64::from(width) / 32.0;
    let line = f64::from(height) / (rows.len() as f64 + 1.5);
    // coordinates are whole pixels
    let place =
        |column: f64, row: f64| ((column * f64::from(width)) as i32, ((row + 0.5) * line) as i32);
    let style = text(1.05 * em).pos(Pos::new(HPos::Left, VPos::Center));
    for (heading, &column) in headings.iter().zip(columns) {
        area.draw(&Text::new(*heading, place(column, 0.0), style.clone()))?;
    }
    for (i, (colour, cells)) in rows.iter().enumerate() {
        let (x, y) = place(0.0, i as f64 + 1.0);
        let corner = |ems: (f64, f64)| (x + (ems.0 * em) as i32, y + (ems.1 * em) as i32);
        let swatch = [corner((1.0, -0.27)), corner((2.4, -0.03))]; // beside the middle of a small letter
        area.draw(&Rectangle::new(swatch, colour.filled()))?;
        for (cell, &column) in cells.iter().zip(columns) {
            area.draw(&Text::new(cell.clone(), place(column, i as f64 + 1.0), style.clone()))?;
        }
    }
    Ok(())
}

/// A whole number with commas between its thousands; other numbers as they are.
pub fn thousands(x: f64) -> String {
    let digits = format!("{}", x.abs());
    let (whole, rest) = digits.split_at(digits.find('.').unwrap_or(digits.len()));
    let mut text = String::new();
    for (i, digit) in whole.chars().enumerate() {
        if i > 0 && (whole.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    let sign = if x < 0.0 { "−" } else { "" };
    format!("{sign}{text}{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        let found = [0.0, 999.0, 2_000.0, -100_000.0, 0.25].map(thousands);
        assert_eq!(found, ["0", "999", "2,000", "−100,000", "0.25"]);
    }

    #[test]
    fn a_curve_leaves_ink_and_a_failure_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("curve.png");
        let frame = Frame { title: "t", x_label: "x", y_label: "y", x: 0.0..1.0, y: 0.0..1.0 };
        let curve = Curve { points: vec![(0.0, 0.5), (1.0, 0.5)], colour: COLOURS[1] };
        write_plot(&path, (400, 300), |canvas| curves(canvas, &frame, &[1.0], &[curve])).unwrap();
        let picture = image::open(&path).unwrap().into_rgb8();
        let RGBColor(r, g, b) = COLOURS[1];
        assert_eq!(picture.dimensions(), (400, 300));
        assert!(picture.pixels().filter(|p| p.0 == [r, g, b]).count() > 300);

        let gone = folder.path().join("gone.png");
        let error = write_plot(&gone, (400, 300), |_| Err("no data".into())).unwrap_err();
        assert_eq!(error.to_string(), "the plot cannot be drawn: no data");
        assert!(!gone.exists());
        assert!(matches!(write_plot(&gone, (0, 9), |_| Ok(())), Err(PlotError::Size { .. })));
    }
}
