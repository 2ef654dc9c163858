//! The record of a run: `metrics.jsonl`, one JSON object a report, and the same numbers as an event file for `TensorBoard`
//! and as a picture. A run that goes on from an earlier step drops what was recorded after it.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use models::torch_ext::weights::write_whole;
use serde::{Deserialize, Serialize};

use super::error::{Result, TrainError};
use super::tensorboard::{write_header, write_scalars};
use crate::plot::{COLOURS, Canvas, Curve, Drawn, Frame, curves, write_plot};

/// What is reported while a run goes on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// The step that was done, from 1.
    pub step: u64,
    /// The last step.
    pub steps: u64,
    /// Mean loss since the last report, or since the run went on, in nats for each dimension.
    pub loss: f64,
    /// Mean norm of the gradient since the last report.
    pub gradient: f64,
    /// Step size.
    pub rate: f64,
    /// Bound on the validation data in bits/dim (nats/dim for data without levels) and the best so far, when it was
    /// computed at this step.
    pub validation: Option<(f64, f64)>,
    /// Samples each second.
    pub speed: f64,
    /// Seconds since 1970.
    pub time: f64,
}

impl Progress {
    /// The numbers by the names that `TensorBoard` groups them by.
    fn scalars(&self) -> Vec<(&'static str, f64)> {
        let all = [
            ("train/loss", self.loss),
            ("train/gradient", self.gradient),
            ("train/rate", self.rate),
            ("train/samples_per_second", self.speed),
        ];
        let bounds = self.validation.map(|(bound, _)| ("validation/bound", bound));
        all.into_iter().chain(bounds).collect()
    }
}

/// An open record.
#[derive(Debug)]
pub struct Record {
    path: PathBuf,
    file: File,
    events: File,
    lines: Vec<Progress>,
}

impl Record {
    /// Opens the record of a run that begins after step `began`.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn open(folder: &Path, began: u64) -> Result<Self> {
        let path = folder.join("metrics.jsonl");
        let wrong = |source| TrainError::File { path: path.clone(), source };
        let before =
            if path.exists() { fs::read_to_string(&path).map_err(wrong)? } else { String::new() };
        // the last line of a run that was killed may be broken
        let read = |line: &str| serde_json::from_str::<Progress>(line).ok();
        let mut lines: Vec<_> = before.lines().filter_map(read).collect();
        lines.retain(|line| line.step <= began);
        let text: String = lines.iter().map(text).collect();
        write_whole(&path, text.as_bytes())?;
        let (name, bytes) =
            (folder.join("events.out.tfevents.0.sde"), events(&lines).map_err(wrong)?);
        write_whole(&name, &bytes)?;
        let append = |path: &Path| OpenOptions::new().append(true).open(path).map_err(wrong);
        let (file, events) = (append(&path)?, append(&name)?);
        Ok(Self { path, file, events, lines })
    }

    /// Appends a report.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn add(&mut self, progress: &Progress) -> Result<()> {
        self.lines.push(*progress);
        let written = self.file.write_all(text(progress).as_bytes()).and_then(|()| {
            write_scalars(&mut self.events, progress.time, progress.step, &progress.scalars())
        });
        written.map_err(|source| TrainError::File { path: self.path.clone(), source })
    }

    /// Draws the loss and the bound over the steps.
    ///
    /// # Errors
    /// A picture that cannot be written.
    pub fn draw(&self, path: &Path) -> Result<()> {
        let loss: Vec<_> = self.lines.iter().map(|p| (p.step as f64, p.loss)).collect();
        let bound = |p: &Progress| Some((p.step as f64, p.validation?.0));
        let bounds: Vec<_> = self.lines.iter().filter_map(bound).collect();
        let panel = |canvas: &Canvas<'_>, title: &str, points: &[(f64, f64)], colour| -> Drawn {
            let frame = Frame {
                title,
                x_label: "step",
                y_label: "",
                x: ends(points, 0),
                y: ends(points, 1),
            };
            curves(
                canvas,
                &frame,
                &[],
                &[Curve { points: points.to_vec(), colour: COLOURS[colour] }],
            )
        };
        Ok(write_plot(path, (1000, 420), |canvas| {
            let (left, right) = canvas.split_horizontally(1000);
            panel(&left, "loss, nats/dim", &loss, 0)?;
            panel(&right, "bound on validation data", &bounds, 1)
        })?)
    }
}

/// The ends of an axis: what lies on it, and never nothing.
fn ends(points: &[(f64, f64)], axis: usize) -> std::ops::Range<f64> {
    let values = points.iter().map(|p| if axis == 0 { p.0 } else { p.1 }).filter(|x| x.is_finite());
    let (low, high) = values.fold((f64::MAX, f64::MIN), |(a, b), x| (a.min(x), b.max(x)));
    if low < high {
        low..high
    } else if low <= high {
        low - 0.5..low + 0.5
    } else {
        0.0..1.0
    }
}

/// The event file of these reports.
fn events(lines: &[Progress]) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    write_header(&mut bytes)?;
    for line in lines {
        write_scalars(&mut bytes, line.time, line.step, &line.scalars())?;
    }
    Ok(bytes)
}

fn text(progress: &Progress) -> String {
    serde_json::to_string(progress).unwrap_or_default() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(step: u64) -> Progress {
        let validation = step.is_multiple_of(20).then_some((2.0, 1.5));
        let loss = 1.0 / step as f64;
        Progress {
            step,
            steps: 100,
            loss,
            gradient: 1.0,
            rate: 0.1,
            validation,
            speed: 9.0,
            time: 5.0,
        }
    }

    #[test]
    fn a_record_that_goes_on_is_that_of_one_run() {
        let [whole, cut] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let write = |folder: &Path, began: u64, steps: &[u64]| {
            let mut record = Record::open(folder, began).unwrap();
            steps.iter().for_each(|&step| record.add(&progress(step)).unwrap());
            record
        };
        write(whole.path(), 0, &[10, 20, 30, 40]);
        write(cut.path(), 0, &[10, 20, 30]);
        let path = cut.path().join("metrics.jsonl");
        let text = fs::read_to_string(&path).unwrap() + "{\"step\": 3";
        fs::write(path, text).unwrap();
        let record = write(cut.path(), 20, &[30, 40]);
        for name in ["metrics.jsonl", "events.out.tfevents.0.sde"] {
            let [a, b] = [&whole, &cut].map(|folder| fs::read(folder.path().join(name)).unwrap());
            assert_eq!(a, b, "{name}");
        }
        record.draw(&cut.path().join("loss.png")).unwrap();
        assert!(image::open(cut.path().join("loss.png")).is_ok());
    }
}
