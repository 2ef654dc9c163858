//! The variable that a flow is integrated in: the same map, bit-exact ends, and what each costs.

#![allow(clippy::unwrap_used, clippy::panic, clippy::float_cmp)]

use ndarray::{Array2, array};
use ode_solvers::{Adaptive, DOP853, LaneStatus, RK45, Solution, Tableau, Variable, flow_in};
use sde_core::sde::{Edm, RectifiedFlow, SubVp, VarianceExploding, VpCosine};
use sde_core::{
    Field, GaussianMixture, Lanes, Noise, Purpose, Result, Reverse, Score, Sde, State, Tolerance,
    VpLinear,
};

const VARIABLES: [Variable; 3] = [Variable::Time, Variable::Rho, Variable::LogSnr];

fn mixture() -> GaussianMixture {
    let means = array![[-1.5, 0.5], [1.0, -1.0], [0.5, 1.8]];
    GaussianMixture::isotropic(&[0.5, 0.3, 0.2], means, &[0.09, 0.04, 0.16]).unwrap()
}

fn run(
    variable: Variable,
    method: &'static Tableau,
    sde: &dyn Sde,
    (x, span): (&Array2<f64>, (f64, f64)),
    tol: f64,
) -> Solution<Array2<f64>> {
    let data = mixture();
    let mut field = Reverse::probability_flow(sde, data.score(sde));
    let options = Adaptive::new(Tolerance::both(tol));
    flow_in(variable, method, x.clone(), span, &options, &mut field).unwrap()
}

fn worst(a: &Array2<f64>, b: &Array2<f64>) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

/// Latents of the process: `N(0, σ_T² I)`.
fn latents(sde: &dyn Sde, t: f64, n: usize) -> Array2<f64> {
    let numbers: Vec<u64> = (0..n as u64).collect();
    let mut x = Array2::zeros((n, 2));
    Noise::new(11, Purpose::Prior).fill(&numbers, 0, &mut x).unwrap();
    x * sde.sigma(t)
}

/// A name, a process, an interval of time.
type Case = (&'static str, Box<dyn Sde>, (f64, f64));

/// Every process with an interval on which each variable has values, from noise to data.
fn processes() -> Vec<Case> {
    vec![
        ("vp-linear", Box::new(VpLinear::default()), (1.0, 1e-3)),
        ("edm", Box::new(Edm::new(80.0).unwrap()), (80.0, 0.002)),
        ("ve", Box::new(VarianceExploding::new(0.01, 50.0).unwrap()), (1.0, 1e-5)),
        ("rectified", Box::new(RectifiedFlow::default()), (0.999, 1e-3)),
        ("vp-cosine", Box::new(VpCosine::new(0.008).unwrap()), (0.99, 1e-3)),
        ("sub-vp", Box::new(SubVp::new(0.1, 20.0).unwrap()), (1.0, 0.05)),
    ]
}

/// (O8) dt/du against the difference of t(u), and t(u) against u(t).
#[test]
fn o8_rates_are_derivatives() {
    for (name, sde, (end, start)) in processes() {
        for variable in VARIABLES {
            for i in 1..20 {
                let t = start + (end - start) * f64::from(i) / 20.0;
                let u = variable.of(&*sde, t);
                let back = variable.time(&*sde, u);
                assert!((back / t - 1.0).abs() < 1e-9, "{name} {variable:?} {t}: {back}");
                let h = 1e-5 * u.abs().max(1e-3);
                let slope = (variable.time(&*sde, u + h) - variable.time(&*sde, u - h)) / (2.0 * h);
                let rate = variable.rate(&*sde, t);
                assert!(
                    (rate / slope - 1.0).abs() < 1e-5,
                    "{name} {variable:?} {t}: {rate} {slope}"
                );
            }
        }
    }
}

/// (R49) The flow in ρ, or in the log-SNR, is the flow in t, in both directions, and ends where it should bit for bit.
#[test]
fn r49_the_flow_is_the_same_in_every_variable() {
    for (name, sde, (end, start)) in processes() {
        let data = array![[-1.3, 0.8], [0.9, -1.2], [0.4, 1.5]];
        let scale = sde.sigma(end).max(1.0);
        for span in [(start, end), (end, start)] {
            let x = if span.0 == start { data.clone() } else { latents(&*sde, end, 3) };
            let in_t = run(Variable::Time, &DOP853, &*sde, (&x, span), 1e-12);
            for variable in VARIABLES {
                let s = run(variable, &DOP853, &*sde, (&x, span), 1e-12);
                assert!(s.is_done() && s.t.iter().all(|t| t.to_bits() == span.1.to_bits()));
                let off = worst(&s.y, &in_t.y);
                assert!(off < 1e-8 * scale, "{name} {variable:?} {span:?}: {off:e}");
            }
        }
    }
}

/// A score that only hands on, and refuses times outside an interval.
struct Inside<M>(M, f64, f64);

impl<X: State, M: Score<X>> Score<X> for Inside<M> {
    fn evaluate(&mut self, x: &X, at: Lanes<'_>, out: &mut Field<X>) -> Result<()> {
        assert!(at.t.iter().all(|t| (self.1..=self.2).contains(t)), "{:?}", at.t);
        self.0.evaluate(x, at, out)
    }
}

/// The score is never asked outside the interval of t; ρ = 0 is an end as good as any.
#[test]
fn the_interval_of_time_is_kept() {
    let data = mixture();
    for (_, sde, (end, start)) in processes() {
        for variable in VARIABLES {
            let mut field = Reverse::probability_flow(&*sde, Inside(data.score(&*sde), start, end));
            let options = Adaptive::new(Tolerance::both(1e-6));
            let x = latents(&*sde, end, 2);
            flow_in(variable, &RK45, x, (end, start), &options, &mut field).unwrap();
        }
    }
    let sde = VpLinear::default();
    let x = array![[-1.3, 0.8], [0.9, -1.2]];
    let in_t = run(Variable::Time, &RK45, &sde, (&x, (0.0, 1.0)), 1e-10);
    let in_rho = run(Variable::Rho, &RK45, &sde, (&x, (0.0, 1.0)), 1e-10);
    assert!(in_rho.is_done() && worst(&in_rho.y, &in_t.y) < 1e-8);
}

#[test]
fn a_variable_without_a_value_is_refused_and_statuses_are_in_time() {
    let (sde, data) = (VpLinear::default(), mixture());
    let mut field = Reverse::probability_flow(&sde, data.score(&sde));
    let mut options = Adaptive::new(Tolerance::both(1e-8));
    let x = array![[-1.3, 0.8]];
    let error = flow_in(Variable::LogSnr, &RK45, x.clone(), (0.0, 1.0), &options, &mut field);
    let text = error.unwrap_err().to_string();
    assert_eq!(text, "the integration variable at t0 = inf is not a finite number");
    options.max_steps = 4;
    let s = flow_in(Variable::LogSnr, &RK45, x, (1.0, 1e-3), &options, &mut field).unwrap();
    let LaneStatus::MaxSteps { t } = s.status[0] else { panic!("{:?}", s.status) };
    assert_eq!(t.to_bits(), s.t[0].to_bits());
    assert!(t < 1.0 && t > 1e-3);
}

/// What the choice rests on: t is the cheapest for VP and for the rectified flow, the log-SNR for EDM.
#[test]
fn the_cheapest_variable() {
    for (name, sde, span) in processes().into_iter().take(4) {
        let x = latents(&*sde, span.0, 64);
        let nfe = VARIABLES.map(|v| run(v, &RK45, &*sde, (&x, span), 1e-5).mean_nfe());
        let [time, rho, log_snr] = nfe;
        match name {
            "edm" => assert!(log_snr < 0.75 * time && time == rho, "{name}: {nfe:?}"),
            "ve" => assert!((time / log_snr - 1.0).abs() < 0.1 && time < rho, "{name}: {nfe:?}"),
            _ => assert!(time < 0.9 * log_snr && time < 0.5 * rho, "{name}: {nfe:?}"),
        }
    }
}

/// The table of chapter *Solvers*. `cargo test -p ode-solvers --test variable -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
fn evaluations_at_equal_error() {
    for (name, sde, span) in processes().into_iter().take(4) {
        let x = latents(&*sde, span.0, 64);
        let exact = run(Variable::LogSnr, &DOP853, &*sde, (&x, span), 1e-13).y;
        for variable in VARIABLES {
            let runs: Vec<(f64, f64)> = (3..=8)
                .map(|k| {
                    let s = run(variable, &RK45, &*sde, (&x, span), 10_f64.powi(-k));
                    let square = (&s.y - &exact).mapv(|e| e * e).mean().unwrap();
                    (s.mean_nfe(), square.sqrt())
                })
                .collect();
            let all: Vec<_> = runs.iter().map(|(nfe, e)| format!("{nfe:.0} ({e:.0e})")).collect();
            // Between two tolerances ln NFE is taken as linear in ln error.
            let at = |error: f64| {
                let pair = runs.windows(2).find(|w| w[0].1 >= error && w[1].1 <= error);
                pair.map(|w| {
                    let part = (w[0].1 / error).ln() / (w[0].1 / w[1].1).ln();
                    (w[0].0.ln() + part * (w[1].0 / w[0].0).ln()).exp().round()
                })
            };
            let equal = [1e-3, 1e-5, 1e-7].map(at);
            println!("{name} | {variable:?} | {} | {equal:?}", all.join(" | "));
        }
    }
}
