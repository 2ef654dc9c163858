//! Acceptance test 7, its events: their times, their order, and that they belong to their sample.

#![allow(clippy::unwrap_used)]
#![allow(clippy::unnecessary_wraps, reason = "right-hand sides have the solver's signature")]

use ndarray::{Array2, Axis, array};
use ode_solvers::{
    Adaptive, Crossing, DOP853, DOPRI5, Event, HEUN, LaneStatus, RK23, RK45, Samples, TSIT5,
    Tableau, VERN7, solve_events,
};
use sde_core::{Lanes, Result, Tolerance};
use std::f64::consts::{FRAC_PI_2, PI};

const ADAPTIVE: [&Tableau; 6] = [&RK23, &RK45, &DOPRI5, &TSIT5, &DOP853, &VERN7];

/// `y'' = −y`, each row by itself.
fn oscillator(y: &Array2<f64>, _: Lanes<'_>, dy: &mut Array2<f64>) -> Result<()> {
    for (y, mut dy) in y.outer_iter().zip(dy.outer_iter_mut()) {
        (dy[0], dy[1]) = (y[1], -y[0]);
    }
    Ok(())
}

fn first(y: &Array2<f64>, _: Lanes<'_>, g: &mut [f64]) -> Result<()> {
    g.iter_mut().zip(y.column(0)).for_each(|(g, y)| *g = *y);
    Ok(())
}

#[test]
fn a07_events_are_found_at_their_time() {
    let options = Adaptive::new(Tolerance::both(1e-10));
    for m in ADAPTIVE {
        let events = vec![Event::new(first).crossing(Crossing::Down).terminal()];
        let start = array![[1.0, 0.0]];
        let (s, found) = solve_events(m, start, (0.0, 10.0), events, &options, oscillator).unwrap();
        assert!((s.t[0] - FRAC_PI_2).abs() < 1e-9, "{}: {}", m.name, s.t[0]);
        assert_eq!(s.status[0], LaneStatus::Event { event: 0, t: s.t[0] });
        assert!((s.y[[0, 1]] + 1.0).abs() < 1e-9 && !s.is_done());
        assert_eq!((found.len(), &found[0].y), (1, &s.y));
    }
}

/// Every sign change of both directions, in order and strictly one after the other, backwards too; the other direction and
/// other events do not count.
#[test]
fn a07_events_that_do_not_stop() {
    let options = Adaptive::new(Tolerance::both(1e-10));
    for (t0, t1) in [(0.0, 10.0), (10.0, 0.0)] {
        let start = array![[f64::cos(t0), -f64::sin(t0)]];
        let events = vec![
            Event::new(first),
            Event::new(first).crossing(Crossing::Up),
            Event::new(|_: &Array2<f64>, at: Lanes<'_>, g: &mut [f64]| {
                g[0] = at.t[0] - 5.5;
                Ok(())
            }),
        ];
        let (s, found) =
            solve_events(&DOP853, start, (t0, t1), events, &options, oscillator).unwrap();
        assert!(s.is_done());
        let times = |event| found.iter().filter(move |f| f.event == event).map(|f| f.t);
        let mut want: Vec<f64> = (0..3).map(|i| FRAC_PI_2 + PI * f64::from(i)).collect();
        let mut up = vec![1.5 * PI];
        if t0 > t1 {
            want.reverse();
            up = vec![FRAC_PI_2 + 2.0 * PI, FRAC_PI_2];
        }
        for (event, want) in [(0, want), (1, up), (2, vec![5.5])] {
            let got: Vec<f64> = times(event).collect();
            assert_eq!(got.len(), want.len(), "event {event}: {got:?}");
            let off = got.iter().zip(&want).fold(0.0_f64, |m, (a, b)| m.max((a - b).abs()));
            assert!(off < 1e-9, "event {event}: {got:?}");
        }
        let order = found
            .windows(2)
            .all(|w| (w[1].t - w[0].t) * (t1 - t0) > 0.0 || w[0].event != w[1].event);
        assert!(order);
    }
}

/// An event stops its own sample only; saved states, work and bits of a sample are those it has alone.
#[test]
fn a07_events_belong_to_their_sample() {
    let options = Adaptive::new(Tolerance::both(1e-8));
    let run = |start: Samples<Array2<f64>>| {
        let stop = Event::new(|y: &Array2<f64>, _: Lanes<'_>, g: &mut [f64]| {
            g.iter_mut().zip(y.column(0)).for_each(|(g, y)| *g = y + 0.9);
            Ok(())
        });
        let events = vec![Event::new(first), stop.terminal()];
        solve_events(&DOP853, start, (0.0, 6.0), events, &options, oscillator).unwrap()
    };
    let start = array![[1.0, 0.0], [0.8, 0.1], [-0.2, 1.5]];
    let (all, found) = run(start.clone().into());
    assert_eq!(all.status[1], LaneStatus::Done);
    assert!(
        matches!(all.status[0], LaneStatus::Event { event: 1, t } if (t - (-0.9_f64).acos()).abs() < 1e-6)
    );
    for row in 0..3 {
        let one = start.slice_axis(Axis(0), (row..=row).into()).to_owned();
        let (alone, mine) = run(Samples::numbered(one, row as u64));
        assert_eq!(alone.stats[0], all.stats[row]);
        assert_eq!(alone.y[[0, 0]].to_bits(), all.y[[row, 0]].to_bits());
        let of_row: Vec<u64> =
            found.iter().filter(|f| f.row == row).map(|f| f.t.to_bits()).collect();
        assert_eq!(of_row, mine.iter().map(|f| f.t.to_bits()).collect::<Vec<_>>());
    }
}

/// A start on the zero is no event; a zero met exactly is one event; an event that fails is an error.
#[test]
fn a07_events_at_the_edges() {
    let options = Adaptive::new(Tolerance::both(1e-6));
    let clock = |zero: f64| {
        Event::new(move |_: &Array2<f64>, at: Lanes<'_>, g: &mut [f64]| {
            g[0] = at.t[0] - zero;
            Ok(())
        })
    };
    let until = |t1, event| {
        let start = array![[1.0, 0.0]];
        solve_events(&RK45, start, (0.0, t1), vec![event], &options, oscillator)
    };
    let find = |event| until(4.0, event);
    let nothing = until(0.0, clock(0.0).terminal()).unwrap();
    assert!(nothing.0.is_done() && nothing.1.is_empty());
    assert!(find(clock(0.0)).unwrap().1.is_empty());
    let end = find(clock(4.0).terminal()).unwrap();
    assert_eq!((end.1.len(), end.1[0].t.to_bits()), (1, 4_f64.to_bits()));
    assert_eq!(find(clock(9.0)).unwrap().1.len(), 0);
    let broken = Event::new(|_: &Array2<f64>, _: Lanes<'_>, _: &mut [f64]| {
        Err(sde_core::Error::Model("no value".into()))
    });
    assert!(find(broken).is_err());
    let plain = vec![clock(1.0)];
    assert!(
        solve_events(&HEUN, array![[1.0, 0.0]], (0.0, 4.0), plain, &options, oscillator).is_err()
    );
}
