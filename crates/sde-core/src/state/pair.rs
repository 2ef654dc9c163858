//! [`State`] for pairs: two batches with the same rows that move together, such as `(x, log p)`.

use super::State;
use crate::error::Result;

impl<A: State, B: State> State for (A, B) {
    type Tolerance = (A::Tolerance, B::Tolerance);

    fn check_tolerance(tol: &Self::Tolerance) -> Result<()> {
        A::check_tolerance(&tol.0)?;
        B::check_tolerance(&tol.1)
    }

    fn samples(&self) -> usize {
        self.0.samples()
    }
    fn sample_len(&self) -> usize {
        self.0.sample_len() + self.1.sample_len()
    }
    fn zeros_like(&self) -> Self {
        (self.0.zeros_like(), self.1.zeros_like())
    }
    fn fit(&mut self, like: &Self) {
        self.0.fit(&like.0);
        self.1.fit(&like.1);
    }
    fn assign(&mut self, src: &Self) {
        self.0.assign(&src.0);
        self.1.assign(&src.1);
    }
    fn stage<'a, K>(&mut self, y: &Self, h: &[f64], w: &[f64], k: K)
    where
        K: Fn(usize) -> &'a Self + Copy,
        Self: 'a,
    {
        self.0.stage(&y.0, h, w, |j| &k(j).0);
        self.1.stage(&y.1, h, w, |j| &k(j).1);
    }
    fn raise_error_norm<'a, K>(
        &mut self,
        h: &[f64],
        e: &[f64],
        k: K,
        (y, z): (&Self, &Self),
        tol: &Self::Tolerance,
        norm: &mut [f64],
    ) where
        K: Fn(usize) -> &'a Self + Copy,
        Self: 'a,
    {
        self.0.raise_error_norm(h, e, |j| &k(j).0, (&y.0, &z.0), &tol.0, norm);
        self.1.raise_error_norm(h, e, |j| &k(j).1, (&y.1, &z.1), &tol.1, norm);
    }
    fn raise_error_norm_of_two<'a, K>(
        &mut self,
        h: &[f64],
        e: [&[f64]; 2],
        k: K,
        (y, z): (&Self, &Self),
        tol: &Self::Tolerance,
        [norm, n, m]: [&mut [f64]; 3],
    ) where
        K: Fn(usize) -> &'a Self + Copy,
        Self: 'a,
    {
        let (a, b) = ((&y.0, &z.0), (&y.1, &z.1));
        self.0.raise_error_norm_of_two(
            h,
            e,
            |j| &k(j).0,
            a,
            &tol.0,
            [&mut *norm, &mut *n, &mut *m],
        );
        self.1.raise_error_norm_of_two(h, e, |j| &k(j).1, b, &tol.1, [norm, n, m]);
    }
    fn combine(&mut self, terms: &[(&[f64], &Self)]) {
        let firsts: Vec<_> = terms.iter().map(|(c, x)| (*c, &x.0)).collect();
        let seconds: Vec<_> = terms.iter().map(|(c, x)| (*c, &x.1)).collect();
        self.0.combine(&firsts);
        self.1.combine(&seconds);
    }
    fn take_where(&mut self, src: &Self, take: &[bool]) {
        self.0.take_where(&src.0, take);
        self.1.take_where(&src.1, take);
    }
    fn take_marked(&mut self, src: &Self, mark: &Self) {
        self.0.take_marked(&src.0, &mark.0);
        self.1.take_marked(&src.1, &mark.1);
    }
    fn compact(&mut self, keep: &[usize]) {
        self.0.compact(keep);
        self.1.compact(keep);
    }
    fn scatter(&mut self, to: &[usize], src: &Self) {
        self.0.scatter(to, &src.0);
        self.1.scatter(to, &src.1);
    }
    fn add_dot(&self, y: &Self, out: &mut [f64]) {
        self.0.add_dot(&y.0, out);
        self.1.add_dot(&y.1, out);
    }
    fn fill_rows(&mut self, mut fill: impl FnMut(usize, &mut [f64])) {
        let (a, b) = (self.0.sample_len(), self.1.sample_len());
        let mut row = vec![0.0; a + b];
        let mut tails = Vec::with_capacity(self.0.samples());
        self.0.fill_rows(|i, head| {
            fill(i, &mut row);
            head.copy_from_slice(&row[..a]);
            tails.push(row[a..].to_vec());
        });
        self.1.fill_rows(|i, tail| tail.copy_from_slice(&tails[i]));
    }
}
