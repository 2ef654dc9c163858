"""Makes a model of a network of EDM (network-snapshot-N.pkl, edm-….pkl). No code of the file is run.

usage: python3 tools/convert/edm.py NETWORK.pkl DIRECTORY
needs: torch, safetensors

Such a file is a pickle that carries the source of its classes. Here every class is replaced by a record of its state, and
whatever is neither such a record nor a tensor, a number or a container is refused.
"""

import collections
import io
import pickle
import sys
from pathlib import Path

import torch
from _write import write_model


class Record:
    """A module's state, without its class."""

    def __init__(self, name: str, state: dict):
        self.name, self.state = name, state


def record(meta: dict) -> Record:
    return Record(meta["class_name"], meta["state"])


def tensor_of_bytes(data: bytes):
    return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)


class Bag(dict):
    """A dictionary."""

    def __setstate__(self, state: dict) -> None:
        self.update(state)


SAFE = {
    ("torch_utils.persistence", "_reconstruct_persistent_obj"): record,
    ("dnnlib.util", "EasyDict"): Bag,
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): torch._utils._rebuild_parameter,
    ("torch.storage", "_load_from_bytes"): tensor_of_bytes,
    ("torch", "Size"): torch.Size,
    ("builtins", "set"): set,
}
# Of numbers that numpy computed, such as the square root of one half.
NUMBERS = {("numpy", "dtype"), ("numpy.core.multiarray", "scalar"), ("numpy._core.multiarray", "scalar")}


class Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str):
        if (module, name) in SAFE:
            return SAFE[module, name]
        if (module, name) in NUMBERS:
            return super().find_class(module, name)
        if module.startswith("torch.nn.modules.") and name.isidentifier():
            return type(name, (Record,), {"__init__": lambda self: None, "__setstate__": keep, "name": name})
        raise pickle.UnpicklingError(f"found {module}.{name}, expected weights")


def keep(self: Record, state: dict) -> None:
    self.state = state


def tensors(module: Record, place: str = "") -> dict[str, torch.Tensor]:
    """The tensors of a module and of those in it, by name."""
    found = {}
    for kind in ("_parameters", "_buffers"):
        found |= {place + name: t for name, t in module.state.get(kind, {}).items() if t is not None}
    for name, inner in module.state.get("_modules", {}).items():
        if inner is not None:
            found |= tensors(inner, f"{place}{name}.")
    return found


def meaning(wrapper: Record, config: dict) -> str:
    """The text of sde.toml."""
    state, kind = wrapper.state, wrapper.name
    if kind == "EDMPrecond":
        process = '{ name = "edm", sigma_max = 80.0 }'
        words = f'prediction = {{ edm = {{ sigma_data = {float(state["sigma_data"])} }} }}\nlabel = "c-noise"'
        t_min = 0.002
    elif kind == "VPPrecond":
        if state["M"] != 1000:
            sys.exit(f"M: found {state['M']}, expected 1000, whose labels are 999 t")
        low = float(state["beta_min"])
        high = low + float(state["beta_d"])
        process = f'{{ name = "vp-linear", beta_min = {low}, beta_max = {high} }}'
        words, t_min = 'prediction = "epsilon"\nlabel = "999t"', 1e-5
    elif kind == "VEPrecond":
        low, high = float(state["sigma_min"]), float(state["sigma_max"])
        process = f'{{ name = "ve", sigma_min = {low}, sigma_max = {high} }}'
        words, t_min = 'prediction = "score"\nlabel = "sigma"', 1e-5
        config["precond"] = "ve"
    else:
        sys.exit(f"found {kind}, expected EDMPrecond, VPPrecond or VEPrecond")
    c, n = config["in_channels"], config["img_resolution"]
    return f"process = {process}\n{words}\nshape = [{c}, {n}, {n}]\nt_min = {t_min}\nlevels = 256\n"


# Of a network; a sequence may have been given as a tuple.
ARGUMENTS = """augment_dim model_channels channel_mult channel_mult_emb num_blocks attn_resolutions dropout embedding_type
channel_mult_noise encoder_type decoder_type resample_filter""".split()


def config_of(wrapper: Record, network: Record) -> dict:
    """The arguments that the network was made with; the wrapper keeps those that are not at their defaults."""
    given = dict(wrapper.state.get("_init_kwargs", {}))
    own = dict(network.state.get("_init_kwargs", {}))
    config = {key: value for key, value in {**given, **own}.items() if key in ARGUMENTS}
    state = wrapper.state
    config |= dict(
        _class_name=network.name,
        img_resolution=int(state["img_resolution"]),
        in_channels=int(state["img_channels"]),
        out_channels=int(state["img_channels"]),
        label_dim=int(state["label_dim"]),
    )
    if network.name not in ("SongUNet", "DhariwalUNet"):
        sys.exit(f"found the network {network.name}, expected SongUNet or DhariwalUNet")
    return config


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    with open(sys.argv[1], "rb") as file:
        data = Reader(file).load()
    wrapper = data["ema"]
    network = wrapper.state["_modules"]["model"]
    weights = {k: t for k, t in tensors(network).items() if not k.endswith("resample_filter")}
    config = config_of(wrapper, network)
    write_model(Path(sys.argv[2]), config, meaning(wrapper, config), weights)


main()
