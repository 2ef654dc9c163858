//! The checks of `sde verify` as a page, with the picture inside it.

use super::report::{Check, Report};
use crate::page::{page, picture, row, table};

/// The page.
pub(super) fn html(png: &[u8], report: &Report) -> String {
    let rows: String = report.checks.iter().map(check).collect();
    let checks = table(&["check", "value", "se", "normal below", "verdict"], &rows);
    page("Checks of a model", &[checks, picture("loop integrals and distances", png)])
}

fn check(Check { name, value, se, normal_below, verdict }: &Check) -> String {
    let se = se.map_or_else(String::new, |se| format!("{se:.1e}"));
    let (value, below) = (format!("{value:.3e}"), format!("{normal_below:.3e}"));
    row(&[name, &value, &se, &below, verdict], Some(verdict))
}
