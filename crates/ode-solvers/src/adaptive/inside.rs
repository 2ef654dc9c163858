//! What lies inside accepted steps: events, and states to save.

use super::Solver;
use crate::dense::{Piece, Step, gather};
use crate::error::{Error, Result};
use crate::events::{Event, Found, Watch};
use crate::solution::LaneStatus;
use sde_core::{Lanes, State};

impl<'o, X, F> Solver<'o, X, F>
where
    X: State,
    F: FnMut(&X, Lanes<'_>, &mut X) -> sde_core::Result<()>,
{
    /// Looks for these events from here on.
    ///
    /// # Errors
    /// When the method has no dense output or an event cannot be evaluated.
    pub fn watch(&mut self, events: Vec<Event<'o, X>>) -> Result<()> {
        if self.method.dense.is_empty() {
            return Err(Error::NoDenseOutput { method: self.method.name });
        }
        let mut watch = Watch::new(events, self.out.t.len());
        self.times.iter_mut().zip(&self.lanes).for_each(|(t, lane)| *t = lane.t);
        let at = Lanes { t: &self.times, sample: &self.samples };
        watch.look(&self.y, at, &self.lanes)?;
        self.lanes.iter().for_each(|lane| watch.accept(lane));
        self.watch = Some(watch);
        Ok(())
    }

    /// The events found so far.
    pub fn found(&self) -> &[Found<X>] {
        self.watch.as_ref().map_or(&[], |watch| &watch.found)
    }

    /// The step that was just accepted, of the lanes whose it was; `None` where all were rejected.
    pub(crate) fn accepted_step(&mut self) -> Result<Option<Step<X>>> {
        let rows: Vec<usize> = (0..self.lanes.len()).filter(|row| self.accepted[*row]).collect();
        if rows.is_empty() {
            return Ok(None);
        }
        Ok(Some(Step {
            samples: rows.iter().map(|row| self.samples[*row]).collect(),
            index: rows.iter().map(|row| self.lanes[*row].index).collect(),
            piece: self.piece(&rows)?,
        }))
    }

    /// Finds events and saves states in the steps that were just accepted, before `y` and `k_0` move on.
    pub(super) fn look_inside(&mut self) -> Result<()> {
        if let Some(watch) = &mut self.watch {
            self.times.iter_mut().zip(&self.lanes).for_each(|(t, lane)| *t = lane.t_new);
            let at = Lanes { t: &self.times, sample: &self.samples };
            watch.look(&self.z, at, &self.lanes)?;
        }
        self.keep.clear();
        for (row, lane) in self.lanes.iter().enumerate().filter(|(row, _)| self.accepted[*row]) {
            let saves = self.saving.as_ref().is_some_and(|s| s.wants(lane, self.direction));
            if saves || self.watch.as_ref().is_some_and(|w| w.wants(lane)) {
                self.keep.push(row);
            }
        }
        if !self.keep.is_empty() {
            let rows = std::mem::take(&mut self.keep);
            let piece = self.piece(&rows)?;
            self.find_events(&piece, &rows)?;
            if let Some(saving) = &mut self.saving {
                let lanes: Vec<_> = rows.iter().map(|row| &self.lanes[*row]).collect();
                saving.save(&piece, &lanes, self.direction);
            }
            self.keep = rows;
        }
        if let Some(watch) = &mut self.watch {
            let accepted = self.lanes.iter().zip(&self.accepted).filter(|(_, accepted)| **accepted);
            accepted.for_each(|(lane, _)| watch.accept(lane));
        }
        Ok(())
    }

    /// The last step of the lanes in these rows, with the extra stages of the method, which only they pay.
    fn piece(&mut self, rows: &[usize]) -> Result<Piece<X>> {
        let of = |values: &dyn Fn(usize) -> f64| rows.iter().map(|row| values(*row)).collect();
        let mut piece = Piece {
            y: gather(&self.y, rows),
            k: self.k.iter().map(|k| gather(k, rows)).collect(),
            h: of(&|row| self.h[row]),
            start: of(&|row| self.lanes[row].t_old),
            end: of(&|row| self.lanes[row].t),
            method: self.method,
        };
        let samples: Vec<u64> = rows.iter().map(|row| self.samples[*row]).collect();
        let mut z = piece.y.zeros_like();
        for (a, c) in self.method.extra_a.iter().zip(self.method.extra_c) {
            z.stage(&piece.y, &piece.h, a, |j| &piece.k[j]);
            let times: Vec<f64> =
                piece.start.iter().zip(&piece.h).map(|(start, h)| start + c * h).collect();
            let mut k = piece.y.zeros_like();
            (self.f)(&z, Lanes { t: &times, sample: &samples }, &mut k)
                .map_err(|source| Error::Dynamics { t: times[0], source })?;
            piece.k.push(k);
            self.out.batch_evals += 1;
            self.out.row_evals += rows.len() as u64;
            rows.iter().for_each(|row| self.lanes[*row].stats.nfe += 1);
        }
        Ok(piece)
    }

    /// A lane with a terminal event goes back to it and stops there.
    fn find_events(&mut self, piece: &Piece<X>, rows: &[usize]) -> Result<()> {
        let Some(watch) = &mut self.watch else { return Ok(()) };
        for (i, &row) in rows.iter().enumerate() {
            let lane = &mut self.lanes[row];
            if !watch.wants(lane) {
                continue;
            }
            if let Some(stop) = watch.find(&piece.rows(&[i]), lane, self.samples[row])? {
                lane.t = stop.t;
                lane.status = LaneStatus::Event { event: stop.event, t: stop.t };
                self.z.scatter(&[row], &stop.y);
            }
        }
        Ok(())
    }
}
