//! Loops compiled for the widest vectors of the machine at hand, chosen when the program runs. The arithmetic is the same,
//! and so are the bits of the result.

#![expect(
    clippy::inline_always,
    reason = "a function that is called in vector code is compiled for it only when inlined"
)]

/// Runs `work`, whose loops should be `#[inline(always)]`.
#[inline(always)]
pub(crate) fn run(work: impl FnOnce()) {
    struct Work<F>(F);
    impl<F: FnOnce()> pulp::WithSimd for Work<F> {
        type Output = ();
        #[inline(always)]
        fn with_simd<S: pulp::Simd>(self, _: S) {
            (self.0)();
        }
    }
    pulp::Arch::new().dispatch(Work(work));
}
