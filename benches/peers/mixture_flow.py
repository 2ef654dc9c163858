"""The problem of `benches/mixture_flow.rs` with this library and its Python peers, back to back, in one table.

`benches/peers/run flow` calls it. Every solver has a process to itself, several rounds of it; a figure is the median over
rounds of the median seconds of a solve, without compilation, and beside it the fastest solve of all: on a machine that has
other work to do the second is the one to read. Each right-hand side is written in the fastest way found for
its library: in NumPy and JAX coordinates come first, so that every operation runs over a contiguous row of 4,096.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
import warnings

import numpy as np

POINTS, TOL, SPAN, REPEATS = 4096, 1e-5, (1.0, 1e-3), 15
BETA_MIN, BETA_MAX = 0.1, 20.0
WEIGHTS = np.array([0.5, 0.3, 0.2])
MEANS = np.array([[-1.5, 0.5], [1.0, -1.0], [0.5, 1.8]])
VARIANCES = np.array([0.09, 0.04, 0.16])
SQUARES = (MEANS**2).sum(1)


def latents():
    i = np.arange(POINTS)
    radius = np.sqrt(-2.0 * np.log(1.0 - (i + 0.5) / POINTS))
    angle = np.pi * (3.0 - np.sqrt(5.0)) * i
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


def coefficients(t, np=np):
    """alpha, sigma^2 and beta at t."""
    b = t * (BETA_MIN + 0.5 * t * (BETA_MAX - BETA_MIN))
    return np.exp(-0.5 * b), -np.expm1(-b), BETA_MIN + t * (BETA_MAX - BETA_MIN)


def numpy_velocity(t, flat):
    """All points as rows of x and y."""
    x = flat.reshape(2, -1)
    alpha, sigma2, beta = coefficients(t)
    v = alpha**2 * VARIANCES + sigma2
    logits = (alpha * MEANS) @ x
    logits -= 0.5 * (x * x).sum(0)
    logits /= v[:, None]
    logits += (np.log(WEIGHTS / v) - 0.5 * alpha**2 * SQUARES / v)[:, None]
    logits -= logits.max(0)
    r = np.exp(logits, out=logits)
    sums = np.vstack([alpha * MEANS.T / v, 1.0 / v]) @ r
    sums /= r.sum(0)
    return (-0.5 * beta * (x * (1.0 - sums[2]) + sums[:2])).ravel()


def timed(solve):
    """Median and least seconds."""
    solve()
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        solve()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), min(seconds)


def scipy(method, _threads):
    from scipy.integrate import solve_ivp

    flat = np.ascontiguousarray(latents().T).ravel()

    def solve(tol=TOL):
        return solve_ivp(numpy_velocity, SPAN, flat, method=method, rtol=tol, atol=tol)

    solution = solve()
    return timed(solve), solution.nfev, solution.y[:, -1].reshape(2, -1).T


def diffrax(per_sample, _threads):
    import diffrax as dfx
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    means, variances, weights = map(jnp.asarray, (MEANS, VARIANCES, WEIGHTS))

    def velocity(t, xs, _):
        alpha, sigma2, beta = coefficients(t, jnp)
        x, y = xs
        terms = []
        for (m, n), c, w in zip(MEANS.tolist(), VARIANCES.tolist(), WEIGHTS.tolist()):
            inv = 1.0 / (alpha * alpha * c + sigma2)
            dx, dy = x - alpha * m, y - alpha * n
            terms.append((w * inv, -0.5 * (dx * dx + dy * dy) * inv, inv, dx, dy))
        top = jnp.maximum(jnp.maximum(terms[0][1], terms[1][1]), terms[2][1])
        total = sx = sy = 0.0
        for scale, exponent, inv, dx, dy in terms:
            r = scale * jnp.exp(exponent - top)
            total, sx, sy = total + r, sx + r * inv * dx, sy + r * inv * dy
        return -0.5 * beta * (x - sx / total), -0.5 * beta * (y - sy / total)

    def solve_one(xs):
        solution = dfx.diffeqsolve(
            dfx.ODETerm(velocity), dfx.Dopri5(), *SPAN, None, xs, saveat=dfx.SaveAt(t1=True),
            stepsize_controller=dfx.PIDController(rtol=TOL, atol=TOL), max_steps=100_000,
        )
        return (*(x[-1] for x in solution.ys), solution.stats["num_steps"])

    solve = jax.jit(jax.vmap(solve_one) if per_sample else solve_one)
    start = tuple(jnp.asarray(np.ascontiguousarray(column)) for column in latents().T)
    seconds = timed(lambda: jax.block_until_ready(solve(start)))
    x, y, steps = solve(start)
    # Six evaluations a step; two more begin the solve.
    return seconds, float(6 * jnp.mean(steps) + 2), np.stack([x, y], axis=1)


def torch_velocity():
    import torch

    means, variances, squares = map(torch.as_tensor, (MEANS, VARIANCES, SQUARES))
    log_weights = torch.as_tensor(np.log(WEIGHTS))

    def velocity(t, x):
        t = t.reshape(-1, 1)
        alpha, sigma2, beta = coefficients(t, torch)
        v = alpha * alpha * variances + sigma2
        square = 0.5 * ((x * x).sum(1, keepdim=True) + alpha * alpha * squares)
        logits = (alpha * (x @ means.T) - square) / v + log_weights - torch.log(v)
        r = torch.softmax(logits, 1) / v
        return -0.5 * beta * (x * (1.0 - r.sum(1, keepdim=True)) + alpha * (r @ means))

    return velocity


def torchdiffeq(_, threads):
    import torch
    from torchdiffeq import odeint

    torch.set_num_threads(threads)
    velocity, x = torch_velocity(), torch.as_tensor(latents())
    span, calls = torch.tensor(SPAN, dtype=torch.float64), []

    def counted(t, x):
        calls.append(t)
        return velocity(t, x)

    def solve(f=velocity):
        return odeint(f, x, span, rtol=TOL, atol=TOL, method="dopri5")[-1]

    with torch.no_grad():
        y = solve(counted)
        return timed(solve), len(calls), y.numpy()


def torchode(_, threads):
    import torch
    import torchode as to

    torch.set_num_threads(threads)
    term = to.ODETerm(torch_velocity())
    control = to.IntegralController(atol=TOL, rtol=TOL, term=term)
    solver = to.AutoDiffAdjoint(to.Dopri5(term=term), control)
    x = torch.as_tensor(latents())
    begin, end = (torch.full((POINTS,), t, dtype=torch.float64) for t in SPAN)
    problem = to.InitialValueProblem(y0=x, t_start=begin, t_end=end)
    with torch.no_grad():
        solution = solver.solve(problem)
        seconds = timed(lambda: solver.solve(problem))
    # Its count is of the batch, of which finished samples remain a part.
    return seconds, float(solution.stats["n_f_evals"].double().mean()), solution.ys[:, -1].numpy()


# Name, function, its argument, threads ("all": as many as it takes of the two cores that it is given).
PEERS = [
    ("SciPy RK45, joint", scipy, "RK45", 1),
    ("SciPy DOP853, joint", scipy, "DOP853", 1),
    ("diffrax Dopri5, joint", diffrax, False, "all"),
    ("diffrax Dopri5, vmap", diffrax, True, "all"),
    ("torchdiffeq dopri5, joint", torchdiffeq, None, 1),
    ("torchode dopri5, per sample", torchode, None, 1),
]


def errors(y, reference):
    off = np.abs(y - reference).max(1)
    return float(off.max()), float(np.median(off))


def read_reference(folder):
    return np.fromfile(os.path.join(folder, "reference.f64"), dtype="<f8").reshape(-1, 2)


def child(arguments):
    """One peer, in this process; its row as JSON."""
    warnings.filterwarnings("ignore")
    _, solve, option, threads = PEERS[arguments.peer]
    seconds, nfe, y = solve(option, threads)
    print(json.dumps([*seconds, nfe, *errors(y, read_reference(arguments.folder))]))


def peer_row(arguments, number):
    command = [sys.executable, __file__, "--peer", str(number), "--folder", arguments.folder]
    threads = {"OMP_NUM_THREADS": str(PEERS[number][3]), "JAX_PLATFORMS": "cpu"}
    if PEERS[number][3] == "all":
        del threads["OMP_NUM_THREADS"]
    output = subprocess.run(command, env={**os.environ, **threads}, check=True, stdout=subprocess.PIPE)
    return json.loads(output.stdout.decode().splitlines()[-1])


def own_rows(arguments):
    """The lines of the bench: name, threads, median and least seconds, evaluations, errors."""
    environment = {**os.environ, "PEERS_DIR": arguments.folder}
    output = subprocess.run([arguments.bench], env=environment, check=True, stdout=subprocess.PIPE)
    for line in output.stdout.decode().splitlines():
        name, threads, *numbers = line.split("\t")
        yield (name, int(threads)), [float(number) for number in numbers]


def check_reference(folder):
    """The two references, DOP853 at 1e-12 here and in SciPy, one joint solve."""
    from scipy.integrate import solve_ivp

    flat = np.ascontiguousarray(latents().T).ravel()
    other = solve_ivp(numpy_velocity, SPAN, flat, method="DOP853", rtol=1e-12, atol=1e-12).y[:, -1]
    off = errors(other.reshape(2, -1).T, read_reference(folder))[0]
    print(f"references: DOP853 at 1e-12 here and in SciPy differ by at most {off:.1e}\n", flush=True)
    if not off < 1e-7:
        sys.exit("the two references disagree")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bench", help="the executable of benches/mixture_flow.rs")
    parser.add_argument("--folder", required=True, help="where the reference is kept")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer", type=int, help="run this peer alone")
    arguments = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
    if arguments.peer is not None:
        return child(arguments)
    rows = {}
    for turn in range(arguments.rounds):
        for key, row in own_rows(arguments):
            rows.setdefault(key, []).append(row)
        if turn == 0:
            check_reference(arguments.folder)
        for number, (name, _, _, threads) in enumerate(PEERS):
            rows.setdefault((name, threads), []).append(peer_row(arguments, number))
    best = {key: (statistics.median(r[0] for r in found), min(r[1] for r in found)) for key, found in rows.items()}
    own = [min(times[i] for key, times in best.items() if "score-sde" in key[0]) for i in range(2)]
    print(f"{POINTS} points, t from {SPAN[0]} to {SPAN[1]}, rtol = atol = {TOL}, float64, two cores; milliseconds")
    print(f"{'':28} {'threads':>7} {'median':>8} {'ratio':>6} {'fastest':>8} {'ratio':>6} {'evals':>6} {'max error':>10} {'median':>9}")
    for key, (median, fastest) in best.items():
        nfe, largest, middle = rows[key][0][2:]
        print(
            f"{key[0]:28} {key[1]:>7} {median * 1e3:8.2f} {median / own[0]:6.2f} {fastest * 1e3:8.2f}"
            f" {fastest / own[1]:6.2f} {nfe:6.1f} {largest:10.1e} {middle:9.1e}"
        )


if __name__ == "__main__":
    main()
