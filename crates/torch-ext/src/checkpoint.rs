//! Gradient checkpointing (Chen et al. 2016): a part of a network whose states in between are forgotten, and made again on
//! the way back. Memory falls to that of the part's inputs, and a step takes one more pass forward.

use std::fmt::Display;

use tch::Tensor;

use crate::error::Result;
use crate::ffi;

/// `work` of one input or two, with a graph that remembers these alone. On the way back `work` is called again and has to give
/// the same; gradients of the weights inside it are added to [`Tensor::grad`], as `backward` does, and are not among those
/// that `run_backward` returns. At least one input has to ask for a gradient, else there is none.
///
/// # Errors
/// That of `work`, as its text; another number of inputs.
pub fn checkpoint<E: Display>(
    inputs: &[&Tensor],
    work: impl Fn(&[Tensor]) -> std::result::Result<Tensor, E> + Send + 'static,
) -> Result<Tensor> {
    let texts = move |inputs: &[Tensor]| work(inputs).map_err(|error| error.to_string());
    ffi::checkpoint(inputs, Box::new(texts))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numbers;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tch::{Device, Kind};

    fn leaf(values: &[f32]) -> Tensor {
        Tensor::f_from_slice(values).unwrap().f_set_requires_grad(true).unwrap()
    }

    fn part(x: &Tensor, e: &Tensor, w: &Tensor) -> Tensor {
        x.f_mul(w).unwrap().f_tanh().unwrap().f_mul(e).unwrap()
    }

    #[test]
    fn gradients_are_those_of_the_whole_graph() {
        let of = |again: bool| {
            let (x, e, w) = (leaf(&[0.3, -1.0]), leaf(&[2.0, 0.5]), leaf(&[0.7, 1.5]));
            let calls = Arc::new(AtomicUsize::new(0));
            let (inside, count) = (w.shallow_clone(), calls.clone());
            let middle = x.f_exp().unwrap();
            let y = if again {
                let work = move |inputs: &[Tensor]| {
                    count.fetch_add(1, Ordering::Relaxed);
                    Ok::<_, String>(part(&inputs[0], &inputs[1], &inside))
                };
                checkpoint(&[&middle, &e], work).unwrap()
            } else {
                part(&middle, &e, &w)
            };
            assert!(y.requires_grad());
            let sum = y.f_mul(&y).unwrap().f_sum(None).unwrap();
            sum.f_backward().unwrap();
            assert_eq!(calls.load(Ordering::Relaxed), if again { 2 } else { 0 });
            [sum, x.grad(), e.grad(), w.grad()].map(|t| numbers(&t))
        };
        assert_eq!(of(true), of(false));
    }

    /// What the function holds is let go with the graph, and where it fails.
    #[test]
    fn nothing_is_left_behind_and_errors_are_told() {
        let held = Arc::new(());
        let failing = |when: usize| {
            let (mine, calls) = (held.clone(), AtomicUsize::new(0));
            move |inputs: &[Tensor]| {
                let _ = &mine;
                if calls.fetch_add(1, Ordering::Relaxed) == when {
                    return Err(format!("call {when} fails"));
                }
                Ok(inputs[0].f_exp().unwrap())
            }
        };
        let x = leaf(&[1.0]);
        let said = checkpoint(&[&x], failing(0)).unwrap_err().to_string();
        assert!(said.contains("call 0 fails"), "{said}");
        let y = checkpoint(&[&x], failing(1)).unwrap().f_sum(None).unwrap();
        let said = y.f_backward().unwrap_err().to_string();
        assert!(said.contains("call 1 fails"), "{said}");
        drop(y);
        let panics =
            |_: &[Tensor]| -> std::result::Result<Tensor, String> { panic!("at the disco") };
        let said = checkpoint(&[&x], panics).unwrap_err().to_string();
        assert!(said.contains("panicked"), "{said}");
        drop(checkpoint(&[&x], failing(9)).unwrap());
        assert!(checkpoint(&[], failing(9)).is_err() && checkpoint(&[&x; 3], failing(9)).is_err());
        assert_eq!(Arc::strong_count(&held), 1);
    }

    /// The pass that is done again has the arithmetic of the first.
    #[test]
    fn it_is_done_again_in_the_same_arithmetic() {
        let x = Tensor::f_randn([4, 4], (Kind::Float, Device::Cpu)).unwrap();
        let x = x.f_set_requires_grad(true).unwrap();
        let kinds = Arc::new(std::sync::Mutex::new(Vec::new()));
        let seen = kinds.clone();
        let y = {
            let _bf16 = crate::runtime::Bf16::begin().unwrap();
            let work = move |inputs: &[Tensor]| -> Result<Tensor> {
                let y = inputs[0].f_matmul(&inputs[0])?;
                seen.lock().unwrap().push(y.f_kind()?);
                Ok(y)
            };
            checkpoint(&[&x], work).unwrap()
        };
        y.f_to_kind(Kind::Float).unwrap().f_sum(None).unwrap().f_backward().unwrap();
        assert_eq!(*kinds.lock().unwrap(), [Kind::BFloat16; 2]);
        assert_eq!(x.f_matmul(&x).unwrap().f_kind().unwrap(), Kind::Float);
    }
}
