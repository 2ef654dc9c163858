//! Denoising score matching as a residual, weightings, time sampling.
