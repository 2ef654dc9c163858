"""The problem of `benches/mixture_flow.rs` with SciPy's RK45: one joint solve of the whole batch, vectorised NumPy.

Needs numpy and scipy. Prints the evaluations, the largest error against a solve at 1e-12 and the median seconds.
"""

import time

import numpy as np
from scipy.integrate import solve_ivp

POINTS = 4096
BETA_MIN, BETA_MAX = 0.1, 20.0
WEIGHTS = np.array([0.5, 0.3, 0.2])
MEANS = np.array([[-1.5, 0.5], [1.0, -1.0], [0.5, 1.8]])
VARIANCES = np.array([0.09, 0.04, 0.16])


def latents():
    i = np.arange(POINTS)
    radius = np.sqrt(-2.0 * np.log(1.0 - (i + 0.5) / POINTS))
    angle = np.pi * (3.0 - np.sqrt(5.0)) * i
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


def velocity(t, flat):
    x = flat.reshape(-1, 2)
    b = t * (BETA_MIN + 0.5 * t * (BETA_MAX - BETA_MIN))
    alpha, sigma2 = np.exp(-0.5 * b), -np.expm1(-b)
    v = alpha**2 * VARIANCES + sigma2
    diff = x[:, None, :] - alpha * MEANS
    logits = np.log(WEIGHTS) - np.log(v) - 0.5 * (diff**2).sum(-1) / v
    r = np.exp(logits - logits.max(1, keepdims=True))
    r /= r.sum(1, keepdims=True)
    score = -((r / v)[:, :, None] * diff).sum(1)
    beta = BETA_MIN + t * (BETA_MAX - BETA_MIN)
    return (-0.5 * beta * (x + score)).ravel()


def solve(x, tol):
    return solve_ivp(velocity, (1.0, 1e-3), x.ravel(), method="RK45", rtol=tol, atol=tol)


def main():
    x = latents()
    exact = solve(x, 1e-12).y[:, -1]
    seconds = []
    for _ in range(10):
        start = time.perf_counter()
        solution = solve(x, 1e-5)
        seconds.append(time.perf_counter() - start)
    error = np.abs(solution.y[:, -1] - exact).max()
    print(f"scipy RK45, joint: {solution.nfev} evaluations, largest error {error:.1e}, {np.median(seconds):.6f} s")


if __name__ == "__main__":
    main()
