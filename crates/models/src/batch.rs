//! A libtorch tensor as a batch of samples: `[B, …]` in f64, on any device.
//!
//! Solvers and losses see a [`State`]: operations on rows, with f64 coefficients from the host. Numbers stay in f64 here
//! and become f32, as a rule, inside the network, at one place. Operations on tensors that are part of a graph stay on it, so a loss
//! that is generic over the state has gradients.
//!
//! The operations of a [`State`] cannot fail, those of libtorch can, by running out of memory. A batch that failed
//! remembers why: its error norms are NaN, and the next evaluation of a network reports it ([`Batch::check`]).
//!
//! A sum of any number of terms is one pass over memory on the CPU, and one read of the device answers all error norms of
//! a step: [`traffic`] counts both.

mod sums;
mod traffic;

use tch::{Device, Kind, Tensor};

use sde_core::state::{State, Tolerance, max_or_nan, raise_by_two};
use sums::{Stages, Sum, over_rows};
use traffic::count;

pub use traffic::{Traffic, traffic};

use crate::error::{Error, Result};

/// A batch of samples on a device; row i is sample i.
#[derive(Debug)]
pub struct Batch {
    tensor: Tensor,
    failure: Option<String>,
}

impl Batch {
    /// A batch of the rows of `tensor`, brought to f64.
    ///
    /// # Errors
    /// A tensor without axes, or no memory.
    pub fn new(tensor: &Tensor) -> Result<Self> {
        if tensor.dim() == 0 {
            let expected = "[B, …]".into();
            return Err(Error::Shape { what: "a batch", found: vec![], expected });
        }
        let mut own = tensor.f_to_kind(Kind::Double)?.f_contiguous()?;
        if own.data_ptr() == tensor.data_ptr() {
            own = own.f_detach()?.f_empty_like()?; // operations write in place: never into a caller's memory
            own.f_copy_(tensor)?;
        }
        Ok(Self { tensor: own, failure: None })
    }

    /// A batch of host numbers in row-major order.
    ///
    /// # Errors
    /// When their number is not that of the shape, or memory runs out.
    pub fn from_host(values: &[f64], shape: &[i64], device: Device) -> Result<Self> {
        let count = shape.iter().try_fold(1_i64, |n, &axis| n.checked_mul(axis));
        if count != Some(values.len() as i64) {
            let expected = format!("{} numbers, as many as were given", values.len());
            return Err(Error::Shape { what: "a batch", found: shape.to_vec(), expected });
        }
        Self::new(&Tensor::f_from_slice(values)?.f_reshape(shape)?.f_to_device(device)?)
    }

    /// The numbers on the host, in row-major order.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub fn to_host(&self) -> Result<Vec<f64>> {
        self.check()?;
        host(&self.tensor)
    }

    /// The tensor, f64.
    pub fn tensor(&self) -> &Tensor {
        &self.tensor
    }

    /// Its axes.
    pub fn shape(&self) -> Vec<i64> {
        self.tensor.size()
    }

    /// Whether everything that led to this batch worked.
    ///
    /// # Errors
    /// The first failure.
    pub fn check(&self) -> Result<()> {
        self.failure.as_ref().map_or(Ok(()), |why| Err(Error::Text(why.clone())))
    }

    /// Replaces the tensor by the result of `work`, or remembers that it, or one of its sources, failed.
    fn set(&mut self, sources: &[&Self], work: impl FnOnce(&mut Tensor) -> Result<()>) {
        let inherited = sources.iter().find_map(|b| b.failure.clone());
        let failed = inherited.or_else(|| work(&mut self.tensor).err().map(|e| e.to_string()));
        self.failure = self.failure.take().or(failed);
    }

    /// Refuses what libtorch would broadcast: other shapes, and other than one number for each row.
    fn fits(&self, what: &'static str, source: &Self, numbers: usize) -> Result<()> {
        let (found, shape) = (source.shape(), self.shape());
        if found != shape {
            return Err(Error::Shape { what, found, expected: format!("{shape:?}") });
        }
        if numbers != self.samples() {
            let (what, found) = ("the numbers of the rows", vec![numbers as i64]);
            return Err(Error::Shape { what, found, expected: format!("[{}]", self.samples()) });
        }
        Ok(())
    }

    /// One number for each row as a tensor that broadcasts over the row.
    pub(crate) fn column(&self, c: &[f64]) -> Result<Tensor> {
        let mut shape = vec![1; self.tensor.dim()];
        shape[0] = c.len() as i64;
        Ok(Tensor::f_from_slice(c)?.f_reshape(&shape)?.f_to_device(self.tensor.device())?)
    }

    /// Row numbers as a tensor; a wrong one would end a program on CUDA.
    fn index(&self, rows: &[usize]) -> Result<Tensor> {
        if let Some(row) = rows.iter().find(|row| **row >= self.samples()) {
            let expected = format!("more than {row} rows");
            return Err(Error::Shape { what: "a batch", found: self.shape(), expected });
        }
        let rows: Vec<i64> = rows.iter().map(|&i| i as i64).collect();
        Ok(Tensor::f_from_slice(&rows)?.f_to_device(self.tensor.device())?)
    }

    /// The sum over everything but the rows, on the host: one device read.
    pub(crate) fn row_sums(x: &Tensor) -> Result<Vec<f64>> {
        host(&over_rows(x)?)
    }
}

/// The numbers of an f64 tensor on the host.
fn host(tensor: &Tensor) -> Result<Vec<f64>> {
    count(|traffic| traffic.reads += 1);
    let tensor = tensor.f_detach()?.f_to_device(Device::Cpu)?.f_contiguous()?;
    let mut values = vec![0.0; tensor.numel()];
    tensor.f_copy_data(&mut values, tensor.numel())?;
    Ok(values)
}

impl State for Batch {
    type Tolerance = Tolerance;

    fn check_tolerance(tol: &Tolerance) -> sde_core::Result<()> {
        tol.check()
    }

    fn samples(&self) -> usize {
        self.tensor.size().first().map_or(0, |&n| usize::try_from(n).unwrap_or(0))
    }

    fn sample_len(&self) -> usize {
        self.tensor.size().iter().skip(1).map(|&n| usize::try_from(n).unwrap_or(0)).product()
    }

    fn zeros_like(&self) -> Self {
        let zeros = self.tensor.f_detach().and_then(|t| t.f_zeros_like());
        let (tensor, failure) = match zeros {
            Ok(tensor) => (tensor, self.failure.clone()),
            Err(e) => (self.tensor.shallow_clone(), Some(torch_ext::Error::from(e).to_string())),
        };
        Self { tensor, failure }
    }

    fn fit(&mut self, like: &Self) {
        let (mine, wanted) = (self.tensor.size(), like.tensor.size());
        let keeps = mine.len() == wanted.len() && mine[1..] == wanted[1..] && mine[0] >= wanted[0];
        if keeps && !self.tensor.requires_grad() {
            self.set(&[like], |t| {
                *t = t.f_narrow(0, 0, wanted[0])?;
                Ok(())
            });
        } else {
            *self = like.zeros_like();
        }
    }

    fn assign(&mut self, src: &Self) {
        let fits = self.fits("what is assigned", src, src.samples());
        self.set(&[src], |t| fits.and_then(|()| Ok(t.f_copy_(&src.tensor)?)));
    }

    fn stage<'a, K>(&mut self, y: &Self, h: &[f64], w: &[f64], k: K)
    where
        K: Fn(usize) -> &'a Self + Copy,
        Self: 'a,
    {
        let Stages { sum, mut sources } = self.stages(h, &[w], k);
        let fits = self.fits("the start of a step", y, h.len());
        sources.push(y);
        self.set(&sources, |out| {
            fits?;
            let mut whole = Sum::new(h.len());
            whole.push(&y.tensor, h.iter().map(|_| 1.0));
            whole.append(sum?);
            whole.write(out)
        });
    }

    fn raise_error_norm<'a, K>(
        &mut self,
        h: &[f64],
        e: &[f64],
        k: K,
        ends: (&Self, &Self),
        tol: &Tolerance,
        norm: &mut [f64],
    ) where
        K: Fn(usize) -> &'a Self + Copy,
        Self: 'a,
    {
        let norms = self.error_norms(h, &[e], k, ends, *tol);
        norm.iter_mut().zip(norms).for_each(|(norm, new)| *norm = max_or_nan(*norm, new));
    }

    fn raise_error_norm_of_two<'a, K>(
        &mut self,
        h: &[f64],
        e: [&[f64]; 2],
        k: K,
        ends: (&Self, &Self),
        tol: &Tolerance,
        [norm, _, _]: [&mut [f64]; 3],
    ) where
        K: Fn(usize) -> &'a Self + Copy,
        Self: 'a,
    {
        let norms = self.error_norms(h, &e, k, ends, *tol);
        let (n, m) = norms.split_at(h.len());
        raise_by_two(norm, n, m);
    }

    fn combine(&mut self, terms: &[(&[f64], &Self)]) {
        let sources: Vec<&Self> = terms.iter().map(|(_, x)| *x).collect();
        let sum = self.sum(terms);
        self.set(&sources, |out| sum?.write(out));
    }

    fn take_where(&mut self, src: &Self, take: &[bool]) {
        let mut shape = vec![1; self.tensor.dim()];
        shape[0] = take.len() as i64;
        let fits = self.fits("what is taken", src, take.len());
        self.set(&[src], |t| {
            fits?;
            let mask = Tensor::f_from_slice(take)?.f_reshape(&shape)?.f_to_device(t.device())?;
            let chosen = src.tensor.f_where_self(&mask, t)?;
            Ok(t.f_copy_(&chosen)?)
        });
    }

    fn take_marked(&mut self, src: &Self, mark: &Self) {
        let fits = self.fits("what is taken", src, src.samples());
        let fits = fits.and_then(|()| self.fits("a mark", mark, mark.samples()));
        self.set(&[src, mark], |t| {
            fits?;
            let chosen = src.tensor.f_where_self(&mark.tensor.f_ne(0.0)?, t)?;
            Ok(t.f_copy_(&chosen)?)
        });
    }

    fn compact(&mut self, keep: &[usize]) {
        let index = self.index(keep);
        self.set(&[], |t| {
            *t = t.f_index_select(0, &index?)?;
            Ok(())
        });
    }

    fn scatter(&mut self, to: &[usize], src: &Self) {
        let index = self.index(to);
        self.set(&[src], |t| {
            let _ = t.f_index_copy_(0, &index?, &src.tensor)?;
            Ok(())
        });
    }

    fn add_dot(&self, y: &Self, out: &mut [f64]) {
        let fits = self.check().and_then(|()| y.check());
        let fits = fits.and_then(|()| self.fits("a factor", y, out.len()));
        match fits.and_then(|()| Self::row_sums(&self.tensor.f_mul(&y.tensor)?)) {
            Ok(sums) => out.iter_mut().zip(sums).for_each(|(o, s)| *o += s),
            Err(_) => out.fill(f64::NAN),
        }
    }

    fn fill_rows(&mut self, mut fill: impl FnMut(usize, &mut [f64])) {
        let (rows, n) = (self.samples(), self.sample_len());
        let mut values = vec![0.0; rows * n];
        values.chunks_exact_mut(n.max(1)).enumerate().for_each(|(i, row)| fill(i, row));
        let shape = self.tensor.size();
        self.set(&[], |t| Ok(t.f_copy_(&Tensor::f_from_slice(&values)?.f_reshape(&shape)?)?));
    }
}
