//! The checks of `sde verify` as a page, with the picture inside it.

use super::report::{Check, Report};

const STYLE: &str = "body{font:16px/1.5 sans-serif;margin:2em auto;max-width:60em;color:#2d3038}\
    table{border-collapse:collapse}td,th{padding:.2em 1em;text-align:right;border-bottom:1px solid #dee0e5}\
    td:first-child,th:first-child{text-align:left}.high{color:#d55e00}.unclear{color:#0072b2}img{max-width:100%}";

/// The page.
pub(super) fn page(picture: &[u8], report: &Report) -> String {
    let rows: String = report.checks.iter().map(row).collect();
    format!(
        "<!doctype html><meta charset=\"utf-8\"><title>sde verify</title><style>{STYLE}</style>\n\
         <h1>Checks of a model</h1>\n<table><tr><th>check<th>value<th>se<th>normal below<th>verdict\n{rows}</table>\n\
         <p><img alt=\"loop integrals and distances\" src=\"data:image/png;base64,{}\">\n",
        base64(picture)
    )
}

fn row(check: &Check) -> String {
    let Check { name, value, se, normal_below, verdict } = check;
    let se = se.map_or_else(String::new, |se| format!("{se:.1e}"));
    format!(
        "<tr><td>{name}<td>{value:.3e}<td>{se}<td>{normal_below:.3e}<td class=\"{verdict}\">{verdict}\n"
    )
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
}
