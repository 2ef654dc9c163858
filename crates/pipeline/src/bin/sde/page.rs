//! Results as a page: one file that needs no other.

use std::fmt::{Display, Write};

const STYLE: &str = "body{font:16px/1.5 sans-serif;margin:2em auto;max-width:60em;color:#2d3038}\
    table{border-collapse:collapse}td,th{padding:.2em 1em;text-align:right;border-bottom:1px solid #dee0e5}\
    td:first-child,th:first-child{text-align:left}.high{color:#d55e00}.unclear{color:#0072b2}img,svg{max-width:100%}";

/// A page of this title with these parts.
pub(crate) fn page(title: &str, parts: &[String]) -> String {
    format!(
        "<!doctype html><meta charset=\"utf-8\"><title>{title}</title><style>{STYLE}</style>\n<h1>{title}</h1>\n{}",
        parts.concat()
    )
}

/// A table: headings, and rows as [`row`] makes them.
pub(crate) fn table(headings: &[&str], rows: &str) -> String {
    format!("<table><tr><th>{}\n{rows}</table>\n", headings.join("<th>"))
}

/// A row of cells; the class, if any, is that of the last one.
pub(crate) fn row(cells: &[&dyn Display], class: Option<&str>) -> String {
    let mut text = String::from("<tr>");
    for (i, cell) in cells.iter().enumerate() {
        let class = class.filter(|_| i + 1 == cells.len());
        let class = class.map_or_else(String::new, |class| format!(" class=\"{class}\""));
        let _ = write!(text, "<td{class}>{cell}"); // a String takes everything
    }
    text + "\n"
}

/// A PNG file as part of a page.
pub(crate) fn picture(what: &str, png: &[u8]) -> String {
    format!("<p><img alt=\"{what}\" src=\"data:image/png;base64,{}\">\n", base64(png))
}

/// Width and height of a histogram without its labels, and the space for these, in pixels.
const BARS: (f64, f64) = (640.0, 240.0);
const MARGIN: f64 = 40.0;

/// A histogram as a drawing: bars of equal width over the range of the values that are finite, at most 40 of them.
pub(crate) fn histogram(label: &str, values: &[f64]) -> String {
    let values: Vec<f64> = values.iter().copied().filter(|x| x.is_finite()).collect();
    if values.is_empty() {
        return String::new();
    }
    let counts = counts(&values);
    let (width, height) = BARS;
    let most = counts.iter().copied().max().unwrap_or(0);
    let bar = width / counts.len().max(1) as f64;
    let bars: Vec<String> = (counts.iter().enumerate())
        .map(|(i, &n)| {
            let h = height * n as f64 / most.max(1) as f64;
            let (x, y) = (MARGIN + i as f64 * bar, height - h + 10.0);
            format!(
                "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{h:.1}\"/>",
                bar - 1.0
            )
        })
        .collect();
    let (low, high) = range(&values);
    let text = |x: f64, y: f64, anchor: &str, text: &str| {
        format!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"#2d3038\">{text}</text>"
        )
    };
    let (right, below) = (MARGIN + width, height + 28.0);
    format!(
        "<p><svg viewBox=\"0 0 {} {}\" width=\"{}\" role=\"img\" aria-label=\"{label}\" font-size=\"14\" fill=\"#0072b2\">\
         {}{}{}{}{}</svg>\n",
        width + 2.0 * MARGIN,
        height + MARGIN,
        width + 2.0 * MARGIN,
        bars.concat(),
        text(MARGIN, below, "start", &format!("{low:.4}")),
        text(right, below, "end", &format!("{high:.4}")),
        text(MARGIN + width / 2.0, below, "middle", label),
        text(MARGIN - 6.0, 22.0, "end", &most.to_string()),
    )
}

/// The smallest and the largest value.
fn range(values: &[f64]) -> (f64, f64) {
    values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), x| (a.min(*x), b.max(*x)))
}

/// How many values fall into each of √n bins of equal width.
#[expect(clippy::cast_sign_loss, reason = "not below the smallest")]
fn counts(values: &[f64]) -> Vec<usize> {
    let bins = (1..=40).find(|k| k * k >= values.len()).unwrap_or(40);
    let (low, high) = range(values);
    let mut counts = vec![0; bins];
    for x in values {
        let place = if high > low { (x - low) / (high - low) * bins as f64 } else { 0.0 };
        counts[(place as usize).min(bins - 1)] += 1; // the bin, by truncation; the largest is in the last one
    }
    counts
}

/// RFC 4648, with padding.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for part in bytes.chunks(3) {
        let byte = |i: usize| part.get(i).copied().map_or(0, u32::from);
        let word = byte(0) << 16 | byte(1) << 8 | byte(2);
        for i in 0..4 {
            let digit = DIGITS[(word >> (18 - 6 * i) & 63) as usize];
            text.push(if i <= part.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    /// The test vectors of RFC 4648, section 10.
    #[test]
    fn base64_is_that_of_the_rfc() {
        let cases =
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")];
        for (plain, coded) in cases {
            assert_eq!(super::base64(plain.as_bytes()), coded);
        }
    }

    #[test]
    fn a_histogram_counts_every_finite_value() {
        let values: Vec<f64> = (0..90).map(|i| f64::from(i % 10)).chain([f64::NAN]).collect();
        assert_eq!(super::counts(&values[..90]), [9; 10]);
        let drawing = super::histogram("bits/dim", &values);
        assert_eq!(drawing.matches("<rect").count(), 10);
        assert!(drawing.contains(">0.0000<") && drawing.contains(">9.0000<"));
        assert_eq!(super::counts(&[2.0; 4]), [4, 0]);
        assert_eq!(super::histogram("none", &[f64::NAN]), "");
    }
}
