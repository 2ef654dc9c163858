"""The likelihood of 64 digits by the recipe of score_sde_pytorch (Song et al. 2021), for `benches/likelihood.rs`.

SciPy's RK45 with rtol = atol = 1e-5 on the whole batch, state and log-density in one vector; at each evaluation the network
runs once for the drift and once more for the product with the Jacobian, along one probe of random signs that stays the same.
The network is `assets/digits-unet` in diffusers. Writes values, work and seconds for each of 8 seeds to the file named as the
first argument, and the data, which the other side reads, beside it. Needs numpy, scipy, torch and diffusers.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from diffusers import UNet2DModel
from scipy.integrate import solve_ivp

ROOT = Path(__file__).resolve().parents[2]
BETA_MIN, BETA_MAX, SIGMA_DATA = 0.1, 20.0, 0.8  # assets/digits-unet/sde.toml
T_MIN, T_MAX, TOLERANCE = 1e-5, 1.0, 1e-5
DIGITS, SEEDS, LEVELS = 64, 8, 17

work = {"forwards": 0, "backwards": 0}


def data():
    """The last digits of the set, each pixel at a random place of its cell, in model coordinates."""
    levels = np.load(ROOT / "assets/digits/images.npy")[-DIGITS:].reshape(DIGITS, 1, 8, 8)
    return 2.0 * (levels + np.random.default_rng(0).random(levels.shape)) / LEVELS - 1.0


def coefficients(t):
    b = t * BETA_MIN + 0.5 * t * t * (BETA_MAX - BETA_MIN)
    return np.exp(-0.5 * b), np.sqrt(-np.expm1(-b)), BETA_MIN + t * (BETA_MAX - BETA_MIN)


def drift(network, x, t):
    """The probability-flow ODE's right-hand side, by the network's EDM parametrisation."""
    work["forwards"] += 1
    alpha, sigma, beta = coefficients(t)
    n = np.hypot(sigma, SIGMA_DATA * alpha)
    label = torch.full((len(x),), 0.25 * np.log(sigma / alpha), dtype=torch.float32)
    f = network((x / n).float(), label).sample.to(x.dtype)
    denoised = alpha * SIGMA_DATA**2 / n**2 * x + sigma * SIGMA_DATA / n * f
    score = (alpha * denoised - x) / sigma**2
    return -0.5 * beta * (x + score)


def divergence(network, x, t, probe):
    with torch.enable_grad():
        x = x.requires_grad_(True)
        product = torch.sum(drift(network, x, t) * probe)
        work["backwards"] += 1
        (gradient,) = torch.autograd.grad(product, x)
    return (gradient * probe).flatten(1).sum(1)


def log_likelihood(network, x, seed):
    probe = torch.from_numpy(np.random.default_rng(100 + seed).choice([-1.0, 1.0], x.shape))

    def augmented(t, flat):
        state = torch.from_numpy(flat[: x.size].reshape(x.shape).copy())
        with torch.no_grad():
            v = drift(network, state, t)
        d = divergence(network, state, t, probe)
        return np.concatenate([v.numpy().ravel(), d.numpy()])

    start = np.concatenate([x.ravel(), np.zeros(len(x))])
    end = solve_ivp(augmented, (T_MIN, T_MAX), start, rtol=TOLERANCE, atol=TOLERANCE).y[:, -1]
    latent, integral = end[: x.size].reshape(len(x), -1), end[x.size :]
    std = coefficients(T_MAX)[1]
    prior = -0.5 * np.sum(latent**2, 1) / std**2 - 0.5 * latent.shape[1] * np.log(2 * np.pi * std**2)
    return prior + integral


def main(path):
    torch.set_num_threads(int(sys.argv[2]) if len(sys.argv) > 2 else 1)
    network = UNet2DModel.from_pretrained(ROOT / "assets/digits-unet").eval()
    x, values, seconds = data(), [], []
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path.with_suffix(".npy"), x)
    for seed in range(SEEDS):
        start = time.perf_counter()
        values.append(log_likelihood(network, x, seed).tolist())
        seconds.append(time.perf_counter() - start)
    counts = {key: count / SEEDS for key, count in work.items()}
    path.write_text(json.dumps({"values": values, "seconds": float(np.median(seconds)), **counts}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
