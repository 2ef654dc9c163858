"""Golden runs of diffusers' schedulers on an analytic noise model, all in float64.

    python tools/reference/diffusers_schedulers.py > fixtures/diffusers_schedulers.json

The data are a mixture of three Gaussians in the plane, the chain has 1000 linear betas. Schedulers keep their alphas and
sigmas in float32; here they are replaced by float64 ones, so that formulas are compared and not roundings.
Needs diffusers and torch.
"""

import json

import diffusers
import numpy as np
import torch

T = 1000
BETAS = np.linspace(1e-4, 0.02, T)
ABAR = np.exp(np.cumsum(np.log1p(-BETAS)))
WEIGHTS = np.array([0.5, 0.3, 0.2])
MEANS = np.array([[-1.5, 0.5], [1.0, -1.0], [0.5, 1.8]])
VARIANCES = np.array([0.09, 0.04, 0.16])
X_T = np.array([[0.4, -0.8], [-1.2, 1.6], [1.1, 0.3]])


def noise(x, label):
    """-sigma times the score of p_label at x, of variance preserved."""
    abar = ABAR[int(label)]
    x = x.numpy()
    d = x[:, None, :] - np.sqrt(abar) * MEANS
    v = abar * VARIANCES + 1 - abar
    log_r = np.log(WEIGHTS) - (d**2).sum(-1) / (2 * v) - np.log(v)
    r = np.exp(log_r - log_r.max(1, keepdims=True))
    r /= r.sum(1, keepdims=True)
    score = -(r[..., None] * d / v[:, None]).sum(1)
    return torch.from_numpy(-np.sqrt(1 - abar) * score)


def prepare(cls, n, **options):
    ends_noisy = options.get("final_sigmas_type") == "sigma_min"
    if cls is diffusers.DEISMultistepScheduler:
        options.pop("final_sigmas_type")  # it knows no other way
    s = cls(num_train_timesteps=T, trained_betas=BETAS, **options)
    s.alphas_cumprod = torch.from_numpy(ABAR)
    for name, value in (("alpha_t", np.sqrt(ABAR)), ("sigma_t", np.sqrt(1 - ABAR))):
        if hasattr(s, name):
            setattr(s, name, torch.from_numpy(value))
    if hasattr(s, "final_alpha_cumprod"):
        one = options.get("set_alpha_to_one", True)
        s.final_alpha_cumprod = torch.tensor(1.0 if one else ABAR[0], dtype=torch.float64)
    s.set_timesteps(n)
    if hasattr(s, "sigmas") and len(s.sigmas) == len(s.timesteps) + 1:
        last = ABAR[0] if ends_noisy else 1.0
        abar = np.append(ABAR[s.timesteps.numpy().astype(int)], last)
        s.sigmas = torch.from_numpy(np.sqrt((1 - abar) / abar))
    return s


def inverse(name, n):
    """DDIM up the labels, with the noise of the label that each step starts from. The scheduler's own first step starts from
    the data, where there is no noise to predict; its pipeline gives each step the noise of the label that it ends at."""
    s = prepare(D.DDIMInverseScheduler, n, clip_sample=False)
    labels = [int(t) for t in s.timesteps]
    x = torch.from_numpy(X_T.copy())
    for start, end in zip(labels, labels[1:]):
        x = s.step(noise(x, start), end, x).prev_sample
    return {"name": name, "labels": labels, "to_data": False, "nfe": n - 1, "x_end": x.numpy().tolist()}


def run(name, cls, n, last, scaled=False, stride=1, **options):
    """`last` is the label after the last timestep, None for the data. Labels inside of steps are none of `stride`."""
    s = prepare(cls, n, **options)
    labels = [int(t) for t in s.timesteps]
    x = torch.from_numpy(X_T.copy())
    if scaled:  # the state is x/alpha
        x = x / np.sqrt(ABAR[labels[0]])
    for t in s.timesteps:
        x = s.step(noise(s.scale_model_input(x, t), t), t, x).prev_sample
    assert x.dtype == torch.float64 and torch.isfinite(x).all(), name
    visited = [k for k in dict.fromkeys(labels) if k % stride == 0]
    if last is not None and visited[-1] != last:
        visited.append(last)
    return {
        "name": name,
        "labels": visited,
        "to_data": last is None,
        "nfe": len(labels),
        "x_end": x.numpy().tolist(),
    }


torch.float32 = torch.float64  # some schedulers cast the state down
D = diffusers
# Noise whose every number is 1: mean and deviation of a step in one run.
diffusers.schedulers.scheduling_ddpm.randn_tensor = lambda shape, **_: torch.ones(shape, dtype=torch.float64)
runs = [
    run("ddim", D.DDIMScheduler, 10, None, clip_sample=False, timestep_spacing="leading"),
    run("ddim-linspace", D.DDIMScheduler, 10, None, clip_sample=False, timestep_spacing="linspace"),
    run("ddpm", D.DDPMScheduler, 10, None, clip_sample=False, variance_type="fixed_small"),
    run("ddpm-large", D.DDPMScheduler, 10, None, clip_sample=False, variance_type="fixed_large"),
    run("dpm++2m", D.DPMSolverMultistepScheduler, 20, None, solver_order=2),
    run("dpm++2m-few", D.DPMSolverMultistepScheduler, 9, None, solver_order=2),
    run("dpm++3m-published", D.DPMSolverMultistepScheduler, 20, None, solver_order=3),
    run("unipc-1", D.UniPCMultistepScheduler, 12, None, solver_order=1),
    run("unipc-2", D.UniPCMultistepScheduler, 12, None, solver_order=2),
    run("unipc-3", D.UniPCMultistepScheduler, 12, None, solver_order=3),
    run("unipc-2-bh1", D.UniPCMultistepScheduler, 12, 0, solver_order=2, solver_type="bh1",
        timestep_spacing="trailing", final_sigmas_type="sigma_min"),
    run("edm-heun", D.HeunDiscreteScheduler, 10, None, scaled=True),
    run("deis", D.DEISMultistepScheduler, 12, 0, solver_order=3, timestep_spacing="trailing",
        final_sigmas_type="sigma_min"),
    run("pndm", D.PNDMScheduler, 10, 0, skip_prk_steps=True, set_alpha_to_one=False),
    run("f-pndm", D.PNDMScheduler, 10, 0, stride=100, skip_prk_steps=False, set_alpha_to_one=False),
    inverse("ddim-inverse", 10),
]
print(json.dumps({
    "made_by": f"tools/reference/diffusers_schedulers.py, diffusers {D.__version__}, torch {torch.__version__}",
    "chain": {"name": "linear", "T": T, "beta_start": 1e-4, "beta_end": 0.02},
    "x_T": X_T.tolist(),
    "runs": runs,
}, indent=1))
