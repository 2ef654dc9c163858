//! A program that uses `score-match` alone.

use score_match::Weighting;

fn main() {
    assert_ne!(Weighting::Noise, Weighting::Likelihood);
}
