//! Dropout that is a function of keys: with the same key a row drops the same numbers, in every batch, by any number of
//! threads, and in a pass that is done again. Nothing is remembered for the way back.

use tch::Tensor;

use crate::error::Result;
use crate::ffi;

/// Each number of row i either 0, with the probability p, or divided by 1 − p, by random numbers of `keys[i]` (Threefry-2x32
/// with 20 rounds, Salmon et al. 2011) and its place in the memory of the row. Rows are the first axis.
///
/// # Errors
/// Another number of keys than of rows, no numbers at all, or a p that is no probability below 1.
pub fn dropout(x: &Tensor, p: f64, keys: &[u64]) -> Result<Tensor> {
    ffi::dropout(x, p, keys)
}

/// The key of a part of a computation from that of the whole: a bijection of `key` for each `part`, whose results for
/// different parts look unrelated (the finaliser of Steele et al. 2014, `SplitMix`).
pub fn derived(key: u64, part: u64) -> u64 {
    let mut z = key.wrapping_add(part.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
#[allow(clippy::cast_possible_wrap)]
mod tests {
    use super::*;
    use crate::numbers;
    use tch::{Device, Kind};

    fn ones(size: &[i64]) -> Tensor {
        Tensor::f_ones(size, (Kind::Float, Device::Cpu)).unwrap()
    }

    fn last(x: &Tensor) -> Tensor {
        let x = x.f_permute([0, 2, 3, 1]).unwrap().f_contiguous().unwrap();
        x.f_permute([0, 3, 1, 2]).unwrap()
    }

    /// The known answers of Random123 for 20 rounds.
    #[test]
    fn the_random_numbers_are_those_of_threefry() {
        let first = |key, counter| {
            let words = ffi::threefry(key, counter);
            [words[0], words[16]]
        };
        assert_eq!(first([0, 0], [0, 0]), [0x6b20_0159, 0x99ba_4efe]);
        assert_eq!(first([u32::MAX; 2], [u32::MAX; 2]), [0x1cb9_96fc, 0xbb00_2be7]);
        let pi = [0x1319_8a2e, 0x0370_7344];
        assert_eq!(first(pi, [0x243f_6a88, 0x85a3_08d3]), [0xc492_3a9c, 0x483d_f7a0]);
        // lane i has the counter of the first plus i
        assert_eq!(ffi::threefry([1, 2], [7, 9])[5], ffi::threefry([1, 2], [12, 9])[0]);
    }

    /// How many are dropped, and that neighbours, rows and keys do not drop alike, within 4 standard errors.
    #[test]
    fn a_part_p_is_dropped_and_independently() {
        for p in [0.15, 0.5, 0.9] {
            let n = 200_000_usize;
            let y = |key| numbers(&dropout(&ones(&[1, n as i64]), p, &[key]).unwrap());
            let (a, b) = (y(1), y(2));
            assert!(a.iter().all(|&y| y == 0.0 || (y * (1.0 - p) - 1.0).abs() < 1e-6));
            let share = |both: &dyn Fn(usize) -> bool| {
                (0..n).filter(|&i| both(i)).count() as f64 / n as f64
            };
            let close = |found: f64, expected: f64| {
                let error = (expected * (1.0 - expected) / n as f64).sqrt();
                assert!(
                    (found - expected).abs() < 4.0 * error,
                    "{p}: {found} {expected} ± {error}"
                );
            };
            close(share(&|i| a[i] == 0.0), p);
            for apart in [1, 16, 32, 1000] {
                close(share(&|i| a[i] == 0.0 && a[(i + apart) % n] == 0.0), p * p);
            }
            close(share(&|i| a[i] == 0.0 && b[i] == 0.0), p * p);
        }
    }

    #[test]
    fn a_row_drops_by_its_key_alone() {
        let x = Tensor::f_randn([4, 3, 5, 7], (Kind::Float, Device::Cpu)).unwrap();
        let keys = [9, 8, 9, 7];
        for x in [x.shallow_clone(), last(&x)] {
            let whole = dropout(&x, 0.4, &keys).unwrap();
            assert_eq!(numbers(&dropout(&x, 0.0, &keys).unwrap()), numbers(&x));
            for (i, &key) in keys.iter().enumerate() {
                let row = |t: &Tensor| t.f_narrow(0, i as i64, 1).unwrap();
                let alone = dropout(&row(&x), 0.4, &[key]).unwrap();
                assert_eq!(numbers(&alone), numbers(&row(&whole)));
            }
        }
        let dropped = |i: i64| {
            let row = dropout(&ones(&[4, 300]), 0.4, &keys).unwrap().f_get(i).unwrap();
            numbers(&row).iter().map(|&y| y == 0.0).collect::<Vec<_>>()
        };
        assert_eq!(dropped(0), dropped(2));
        assert_ne!(dropped(0), dropped(1));
    }

    /// The derivative is what the value was multiplied by, and so is that of the derivative.
    #[test]
    fn gradients_drop_the_same() {
        for kind in [Kind::Float, Kind::BFloat16, Kind::Double] {
            for turn in [false, true] {
                let x = ones(&[2, 3, 4, 5]).f_to_kind(kind).unwrap();
                let x = if turn { last(&x) } else { x };
                let x = x.f_detach().unwrap().f_set_requires_grad(true).unwrap();
                let y = dropout(&x, 0.25, &[1, 2]).unwrap();
                let along = y.f_mul(&y).unwrap().f_sum(None).unwrap(); // gradient 2 m² x, and then 2 m²
                let g = Tensor::f_run_backward(&[&along], &[&x], true, true).unwrap().remove(0);
                let twice: Vec<f64> = numbers(&y).iter().map(|m| 2.0 * m * m).collect();
                let near = |a: &[f64]| a.iter().zip(&twice).all(|(a, b)| (a - b).abs() < 0.04);
                assert!(near(&numbers(&g)) && twice.contains(&0.0), "{kind:?}");
                let second = g.f_sum(None).unwrap();
                let second = Tensor::f_run_backward(&[&second], &[&x], false, false).unwrap();
                assert!(near(&numbers(&second[0])), "{kind:?}");
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let said = |x: &Tensor, p, keys: &[u64]| dropout(x, p, keys).unwrap_err().to_string();
        assert!(said(&ones(&[2, 3]), 0.1, &[1]).contains("expected 1 rows, one for each key"));
        assert!(said(&ones(&[1, 3]), 1.0, &[1]).contains("from 0 to below 1, found 1"));
        assert!(said(&ones(&[1, 3]), f64::NAN, &[1]).contains("from 0 to below 1"));
        assert!(said(&Tensor::new(), 0.1, &[]).contains("rows"));
        assert!(said(&ones(&[0, 3]), 0.1, &[]).contains("rows"));
    }
}
