//! Likelihoods as a page: the mean and its parts, a histogram, every sample.

use super::report::{Report, Sample};
use crate::page::{histogram, page, row, table};

/// The page.
pub(super) fn html(report: &Report<'_>) -> String {
    let (label, values): (_, Vec<f64>) = match report.levels {
        Some(_) => ("bits/dim", report.samples.iter().filter_map(|s| s.bits_per_dim).collect()),
        None => {
            ("log-likelihood in nats", report.samples.iter().map(|s| s.log_likelihood).collect())
        }
    };
    let summary: String =
        (report.lines().iter()).map(|(what, found)| row(&[what, found], None)).collect();
    let samples: String = report.samples.iter().map(sample).collect();
    let headings = [
        "sample",
        "log-likelihood",
        "log prior",
        "∫ div",
        "bits/dim",
        "± (95 %)",
        "trace (se)",
        "solver",
        "quadrature",
        "rounding",
        "NFE",
        "status",
    ];
    let parts = [
        table(&["mean", "(log-likelihoods and errors in nats)"], &summary),
        histogram(label, &values),
        table(&headings, &samples),
    ];
    page("Log-likelihood", &parts)
}

fn sample(s: &Sample) -> String {
    let number = |x: Option<f64>| x.map_or_else(|| "–".into(), |x| format!("{x:.4}"));
    let error = |x: Option<f64>| x.map_or_else(|| "–".into(), |x| format!("{x:.1e}"));
    let e = &s.errors;
    let class = (s.status != "done").then_some("high");
    row(
        &[
            &s.index,
            &number(Some(s.log_likelihood)),
            &number(s.log_prior),
            &number(s.int_div),
            &number(s.bits_per_dim),
            &error(e.half_width_95),
            &error(e.se),
            &error(e.ode_error),
            &error(e.quadrature_error),
            &error(e.float_error),
            &s.nfe,
            &s.status,
        ],
        class,
    )
}
