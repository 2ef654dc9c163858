//! The known answers that `sde-core` owns; `KNOWN_ANSWERS=<file>` runs another file of the same format.

#[path = "../../../../fixtures/harness.rs"]
mod harness;
#[path = "../../../../fixtures/models.rs"]
mod models;

mod chains;
mod conversions;
mod fokker_planck;
mod mixtures;
mod processes;

use std::process::ExitCode;

/// Kinds not built yet; this list may only shrink, and it is empty.
const PENDING: [&str; 0] = [];

fn main() -> ExitCode {
    harness::run(
        "sde-core",
        &[
            ("ddpm_posterior", chains::ddpm_posterior),
            ("noise_weights", chains::noise_weights),
            ("noise_weights_constant", chains::noise_weights_constant),
            ("ddpm_sde_limit", chains::ddpm_sde_limit),
            ("param_conversion", conversions::param_conversion),
            ("edm_precond", conversions::edm_precond),
            ("prior_mismatch", conversions::prior_mismatch),
            ("dequantisation", conversions::dequantisation),
            ("gauge", conversions::gauge),
            ("sde_coeffs", processes::sde_coeffs),
            ("t_of_logsnr", processes::t_of_logsnr),
            ("transition", processes::transition),
            ("gmm_score", mixtures::gmm_score),
            ("g2_identity", processes::g2_identity),
            ("fokker_planck", fokker_planck::fokker_planck),
            ("score_fpe", fokker_planck::score_fpe),
            ("sigma_family_moments", fokker_planck::sigma_family_moments),
        ],
        &PENDING,
    )
}
