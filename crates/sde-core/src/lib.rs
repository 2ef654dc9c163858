//! Forward SDEs, their reverse family and probability-flow ODE, exact scores, keyed noise.
