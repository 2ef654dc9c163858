//! Runge-Kutta and stochastic solvers with one step size per sample; exact likelihood by the probability-flow ODE.
