"""SciPy's standard problems with SciPy, this library and the crates diffsol and ode_solvers at rtol = atol = 1e-8.

`benches/peers/run problems` calls it. The error is the largest component's at the end, against SciPy's DOP853 at 1e-13.
"""

import argparse
import statistics
import subprocess
import time

import numpy as np
from scipy.integrate import solve_ivp

TOL, REPEATS, MU = 1e-8, 11, 0.012277471


def arenstorf(_, y):
    x, py, vx, vy = y
    d1, d2 = ((x + MU) ** 2 + py * py) ** 1.5, ((x - 1.0 + MU) ** 2 + py * py) ** 1.5
    return [
        vx,
        vy,
        x + 2.0 * vy - (1.0 - MU) * (x + MU) / d1 - MU * (x - 1.0 + MU) / d2,
        py - 2.0 * vx - (1.0 - MU) * py / d1 - MU * py / d2,
    ]


PROBLEMS = {
    "oscillator": (lambda _, y: [y[1], -y[0]], (0.0, 10.0), [1.0, 0.0]),
    "Lotka-Volterra": (
        lambda _, y: [1.5 * y[0] - y[0] * y[1], y[0] * y[1] - 3.0 * y[1]], (0.0, 15.0), [10.0, 5.0],
    ),
    "rational": (
        lambda t, y: [y[1] / t, y[1] * (y[0] + 2.0 * y[1] - 1.0) / (t * (y[0] - 1.0))],
        (5.0, 9.0), [1.0 / 3.0, 2.0 / 9.0],
    ),
    "Brusselator": (
        lambda _, y: [1.0 + y[0] ** 2 * y[1] - 4.0 * y[0], 3.0 * y[0] - y[0] ** 2 * y[1]], (0.0, 20.0), [1.5, 3.0],
    ),
    "van der Pol": (lambda _, y: [y[1], 5.0 * (1.0 - y[0] ** 2) * y[1] - y[0]], (0.0, 20.0), [2.0, 0.0]),
    "Arenstorf": (arenstorf, (0.0, 17.065216560157964), [0.994, 0.0, 0.0, -2.0015851063790824]),
}


def scipy_row(problem, method, tol=TOL, repeats=REPEATS):
    f, span, y0 = problem
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        solution = solve_ivp(f, span, y0, method=method, rtol=tol, atol=tol)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), solution.nfev, solution.y[:, -1]


def rust_rows(bench):
    output = subprocess.run([bench], check=True, stdout=subprocess.PIPE).stdout.decode()
    rows = {}
    for line in output.splitlines():
        name, solver, seconds, calls, *y = line.split("\t")
        rows.setdefault(name, []).append((solver, (float(seconds), int(calls), np.array(y, dtype=float))))
    return rows


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bench", required=True, help="the executable of benches/peers/rust")
    rows = rust_rows(parser.parse_args().bench)
    print(f"SciPy's standard problems at rtol = atol = {TOL}, float64, one thread")
    print(f"{'':15} {'':19} {'evals':>6} {'error':>8} {'µs':>10}")
    for name, problem in PROBLEMS.items():
        exact = scipy_row(problem, "DOP853", 1e-13, 1)[2]
        for method in ("RK45", "DOP853"):
            rows[name].append((f"SciPy {method}", scipy_row(problem, method)))
        for solver, (seconds, calls, y) in rows[name]:
            error = np.abs(y - exact).max()
            print(f"{name:15} {solver:19} {calls:6} {error:8.1e} {seconds * 1e6:10.1f}")


if __name__ == "__main__":
    main()
