//! A discrete chain as a process for the solvers: DDPM's thousand steps, their log-SNR interpolated, carried by the ODE.

#![allow(clippy::unwrap_used)]

use ndarray::array;
use ode_solvers::{Adaptive, LikelihoodOptions, RK45, Trace, decode, encode, log_likelihood};
use sde_core::chain::{BetaSchedule, ContinuousChain};
use sde_core::{GaussianMixture, Reverse, Sde, Tolerance};

#[test]
fn the_flow_of_ddpms_chain_has_the_closed_likelihood_and_returns() {
    let schedule: BetaSchedule = serde_json::from_str(
        r#"{"name": "linear", "T": 1000, "beta_start": 0.0001, "beta_end": 0.02}"#,
    )
    .unwrap();
    let sde = ContinuousChain::new(&schedule.chain().unwrap()).unwrap();
    let data =
        GaussianMixture::isotropic(&[0.4, 0.6], array![[-1.0, 0.5], [1.2, 1.0]], &[0.3, 0.1])
            .unwrap();
    let (t0, end) = (1e-3, sde.end());
    let x = array![[-0.8, 0.2], [1.0, 1.3], [1.3, 0.9]];
    let tol = Tolerance::both(1e-10);
    let mut flow = Reverse::probability_flow(&sde, data.score(&sde));
    let own = |z: &_, out: &mut [f64]| {
        out.copy_from_slice(&data.log_densities(&sde, z, end)?);
        Ok(())
    };
    let options = LikelihoodOptions::new(tol, Trace::Exact);
    let solved = log_likelihood(&RK45, x.clone(), (t0, end), &options, &mut flow, own).unwrap();
    let closed = data.log_densities(&sde, &x, t0).unwrap();
    for (got, want) in solved.log_density().iter().zip(&closed) {
        assert!((got - want).abs() < 1e-7, "{got} instead of {want}");
    }
    // λ(t) is C² only, so a step across labels is less exact than its error estimate says. The round trip becomes exact with
    // the tolerance all the same, if more slowly than for a smooth process.
    for (tol, bound) in [(1e-8, 1e-5), (1e-10, 1e-7), (1e-12, 1e-8)] {
        let options = Adaptive::new(Tolerance::both(tol));
        let latent = encode(&RK45, x.clone(), t0, &options, &mut flow).unwrap().y;
        let back = decode(&RK45, latent, t0, &options, &mut flow).unwrap().y;
        let error = (&back - &x).iter().fold(0.0_f64, |m, e| m.max(e.abs()));
        assert!(error < bound, "tolerance {tol:e}: {error:e}");
    }
}
