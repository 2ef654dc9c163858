//! What `sde verify` found, as checks with verdicts.

use pipeline::sliced::SlicedW1;
use sde_core::Summary;
use serde::Serialize;

/// (Y2) above which a score is far from that of its process: likelihood intervals then need a larger factor, (L4).
const LOOP: f64 = 0.2;
/// (Y3) above which a score is far from a gradient; the same part of its size.
const ASYMMETRY: f64 = 0.2;
/// The signal-to-noise ratio at the end of time above which samples depend on what the prior leaves out.
const TERMINAL_SNR: f64 = 1e-3;
/// Bits for each dimension that do not show in a likelihood of two decimals.
const MISMATCH: f64 = 5e-3;
/// A round trip's error in units of the tolerance.
const ROUND_TRIP: f64 = 100.0;

/// Everything that is measured.
pub(super) struct Found {
    pub(super) loops: Vec<AtTime>,
    pub(super) terminal_snr: f64,
    pub(super) prior_mismatch: Summary,
    pub(super) family: Vec<OfEta>,
    pub(super) round_trips: Vec<RoundTrip>,
    pub(super) ode_above_bound: Option<Summary>,
}

/// Loop integrals at one time.
pub(super) struct AtTime {
    pub(super) t: f64,
    pub(super) log_snr: f64,
    pub(super) time_loop: Summary,
    pub(super) asymmetry: Option<Summary>,
}

/// Samples of one member of the reverse family.
pub(super) struct OfEta {
    pub(super) eta: f64,
    pub(super) distance: SlicedW1,
}

impl OfEta {
    /// What two samples of one law keep to, but for one in twenty or so.
    pub(super) fn normal_below(&self) -> f64 {
        self.distance.by_chance + 2.0 * self.distance.deviation
    }
}

/// Data to latents and back.
pub(super) struct RoundTrip {
    pub(super) tolerance: f64,
    pub(super) largest: f64,
}

/// The JSON of `verify`.
#[derive(Serialize)]
pub(super) struct Report {
    pub(super) checks: Vec<Check>,
}

/// One number, and what is normal for it.
#[derive(Serialize)]
pub(super) struct Check {
    pub(super) name: String,
    pub(super) value: f64,
    pub(super) se: Option<f64>,
    pub(super) normal_below: f64,
    pub(super) verdict: &'static str,
}

impl Check {
    /// Above what is normal by less than two standard errors, a value may be there by chance.
    fn new(name: String, value: f64, se: Option<f64>, normal_below: f64) -> Self {
        let verdict = if value < normal_below {
            "normal"
        } else if value - 2.0 * se.unwrap_or(0.0) >= normal_below {
            "high"
        } else {
            "unclear"
        };
        Self { name, value, se, normal_below, verdict }
    }

    fn of(name: String, found: Summary, normal_below: f64) -> Self {
        Self::new(name, found.mean, Some(found.standard_error), normal_below)
    }
}

impl Report {
    pub(super) fn new(found: &Found) -> Self {
        let times = found.loops.iter();
        let mut checks: Vec<Check> = times
            .clone()
            .map(|at| Check::of(format!("space_time_loop t={:.3e}", at.t), at.time_loop, LOOP))
            .collect();
        checks.extend(times.filter_map(|at| {
            Some(Check::of(format!("asymmetry t={:.3e}", at.t), at.asymmetry?, ASYMMETRY))
        }));
        checks.push(Check::new("terminal_snr".into(), found.terminal_snr, None, TERMINAL_SNR));
        checks.push(Check::of("prior_mismatch".into(), found.prior_mismatch, MISMATCH));
        checks.extend(found.family.iter().map(|of| {
            let (distance, deviation) = (of.distance.distance, of.distance.deviation);
            let name = format!("sliced_w1 eta={}", of.eta);
            Check::new(name, distance, Some(deviation), of.normal_below())
        }));
        checks.extend(found.round_trips.iter().map(|trip| {
            let name = format!("round_trip tol={:e}", trip.tolerance);
            Check::new(name, trip.largest, None, ROUND_TRIP * trip.tolerance)
        }));
        let above = found.ode_above_bound.iter();
        checks.extend(above.map(|above| Check::of("ode_above_bound".into(), *above, 0.0)));
        Self { checks }
    }

    /// The checks for people.
    pub(super) fn table(&self) -> String {
        let mut text = format!(
            "{:<30}{:>12}{:>11}{:>14}  {}\n",
            "check", "value", "se", "normal below", "verdict"
        );
        for Check { name, value, se, normal_below, verdict } in &self.checks {
            let se = se.map_or_else(String::new, |se| format!("{se:.1e}"));
            text += &format!("{name:<30}{value:>12.3e}{se:>11}{normal_below:>14.3e}  {verdict}\n");
        }
        let high = self.checks.iter().filter(|c| c.verdict == "high").count();
        text + &format!("{high} of {} checks are high\n", self.checks.len())
    }
}
