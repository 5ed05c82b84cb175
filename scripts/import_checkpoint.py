#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Turns a checkpoint of the authors' Python code (a Lightning .ckpt, or a .pt with a bare state_dict) into safetensors.

    import_checkpoint.py FILE.ckpt OUT.safetensors

Needs Python 3.9 and nothing else; no code in the file is run. The pickle inside may build tensors and plain containers only, everything
else is refused by name. The weights keep the authors' names, which are also this library's. The file's metadata gets `config` (the
`model` and `diffusion` sections of an experiment file, as JSON, as far as shapes and buffers tell), `token` (shape of a token and of its
condition), `data_mean`, `data_std`, and `not_derived` (keys that only the author of the checkpoint knows). The sections are also printed.
"""
import argparse
import json
import math
import os
import re
import struct
import sys
import tempfile

from torch_file import Checkpoint, ImportFailure, Tensor


# ---- Names: what belongs to the network. ----

BUFFERS = {
    "betas", "alphas_cumprod", "alphas_cumprod_prev", "sqrt_alphas_cumprod", "sqrt_one_minus_alphas_cumprod", "log_one_minus_alphas_cumprod",
    "sqrt_recip_alphas_cumprod", "sqrt_recipm1_alphas_cumprod", "posterior_variance", "posterior_log_variance_clipped",
    "posterior_mean_coef1", "posterior_mean_coef2", "p2_loss_weight", "clipped_snr", "snr",
}
NETWORK = re.compile(r"(model|x_from_z)\.|init_z$|init_encoder\.")


def state_dict_of(content):
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        return content["state_dict"]
    if isinstance(content, dict) and content and all(isinstance(v, Tensor) for v in content.values()):
        return content
    keys = ", ".join(map(str, list(content)[:10])) if isinstance(content, dict) else type(content).__name__
    raise ImportFailure(f"no state_dict in the file; it holds: {keys}")


def sort_names(state):
    """state_dict -> (weights, diffusion buffers, {data_mean, data_std}, dropped keys)."""
    weights, buffers, statistics, dropped, unknown = {}, {}, {}, [], []
    inside = any("transition_model." in str(key) for key in state)
    for key, tensor in state.items():
        if not isinstance(key, str) or not isinstance(tensor, Tensor):
            raise ImportFailure(f"state_dict: {key!r} is not the name of a tensor")
        name = key.replace("_orig_mod.", "").removeprefix("module.")  # torch.compile, DistributedDataParallel
        own = not inside or name.startswith("transition_model.")
        name = name.removeprefix("transition_model.")
        if name.startswith("validation_"):
            dropped.append(key)
        elif name in ("data_mean", "data_std"):
            statistics[name] = tensor
        elif name in BUFFERS:
            buffers[name] = tensor
        elif NETWORK.match(name) and (own or name.startswith("init_")):
            if name in weights:
                raise ImportFailure(f"state_dict: two keys for {name}, one of them {key}")
            weights[name] = tensor
        elif inside and not own:
            dropped.append(key)
        else:
            unknown.append(key)
    if unknown:
        raise ImportFailure(f"state_dict: {len(unknown)} keys do not belong to the authors' networks: {', '.join(unknown[:10])}")
    if not weights:
        raise ImportFailure("state_dict: no weights of the authors' networks (transition_model.model.*)")
    return weights, buffers, statistics, dropped


# ---- Configuration: what shapes and buffers tell. ----


class Shapes:
    def __init__(self, weights):
        self.weights = weights

    def __contains__(self, name):
        return name in self.weights

    def of(self, name, dimensions):
        if name not in self.weights:
            raise ImportFailure(f"the network has no {name}; expected the authors' U-Net or MLP-GRU-MLP")
        shape = list(self.weights[name].shape)
        if len(shape) != dimensions:
            raise ImportFailure(f"{name}: expected {dimensions} dimensions, got shape {shape}")
        return shape

    def children(self, prefix, suffix=""):
        """How many of prefix0, prefix1, ... have a weight that continues with `suffix`."""
        numbers = {int(m.group(1)) for m in (re.match(re.escape(prefix) + r"(\d{1,4})\." + suffix, name) for name in self.weights) if m}
        if numbers != set(range(len(numbers))):
            raise ImportFailure(f"the network's {prefix}* are not numbered from 0 without a gap: {sorted(numbers)}")
        return len(numbers)


def describe_latent_init(shapes):
    return "learned" if "init_z" in shapes else "encoded" if "init_encoder.0.weight" in shapes else "zero"


def describe_mlp_gru(shapes):
    width = shapes.of("model.time_mlp.1.weight", 2)[0]
    token, latent = shapes.of("x_from_z.weight", 2)
    single = "model.mlp_before_gru.mlp.0.weight" in shapes
    config = {
        "type": "mlp_gru", "width": width, "latent": latent,
        "mlp_layers": 1 if single else shapes.children("model.mlp_before_gru."),
        "gru_layers": shapes.children("model.gru_stack."),
        "latent_init": describe_latent_init(shapes),
    }
    return config, {"token_shape": [token]}, []


def describe_attention(shapes, name):
    return "linear" if f"{name}.to_out.0.weight" in shapes else "full" if f"{name}.to_out.weight" in shapes else "none"


def describe_unet_gru(shapes):
    width, channels, kernel, _ = shapes.of("model.init_conv.weight", 4)
    latent = shapes.of("model.final_conv.weight", 4)[0]
    levels, blocks = shapes.children("model.downs."), shapes.children("model.downs.0.", "block1")
    multipliers, attention = [], []
    for i in range(levels):
        resize = f"model.downs.{i}.{blocks + 1}"
        out = shapes.of(f"{resize}.1.weight" if f"{resize}.1.weight" in shapes else f"{resize}.weight", 4)[0]
        if out % width:
            raise ImportFailure(f"{resize}: {out} channels are no multiple of the network size {width}")
        multipliers.append(out // width)
        attention.append(describe_attention(shapes, f"model.downs.{i}.{blocks}"))
    middle = describe_attention(shapes, "model.mid_attn")
    heads = next((t.shape[1] for n, t in sorted(shapes.weights.items()) if n.endswith("mem_kv") and len(t.shape) == 4), 4)
    config = {
        "type": "unet_gru", "width": width, "latent": latent, "multipliers": multipliers, "blocks": blocks, "attention": attention,
        "middle_attention": middle, "heads": heads, "gru_layers": int("model.gru.x2h.weight" in shapes), "patch": 1, "stem_kernel": kernel,
        "decoder_width": 0, "latent_init": describe_latent_init(shapes),
    }
    size = shapes.of("init_z", 3)[1:] if "init_z" in shapes else [None, None]
    return config, {"token_shape": [channels - latent, *size]}, [] if size[0] else ["data.height", "data.width"]


def clipped_product(betas):
    alphas, total = [], 1.0
    for beta in betas:
        total *= 1.0 - min(max(beta, 0.0), 0.999)
        alphas.append(total)
    return alphas


def schedules(levels):
    """alphas_cumprod of the three noise schedules."""
    scale = 1000 / levels
    linear = [scale * (1e-4 + (0.02 - 1e-4) * i / max(levels - 1, 1)) for i in range(levels)]

    def from_signal(signal):
        values = [signal(i / levels) for i in range(levels + 1)]
        return [1.0 - b / a if a else 1.0 for a, b in zip(values, values[1:])]

    def sigmoid(x):
        return 1.0 / (1.0 + math.exp(-x))

    cosine = from_signal(lambda u: math.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2)
    sigmoid_betas = from_signal(lambda u: sigmoid(3.0) - sigmoid(6.0 * u - 3.0))
    return {"linear": clipped_product(linear), "cosine": clipped_product(cosine), "sigmoid": clipped_product(sigmoid_betas)}


def numbers_of(checkpoint, tensor, name):
    code = {"F32": "f", "F64": "d", "F16": "e"}.get(tensor.storage.type.dtype)
    if code is None:
        raise ImportFailure(f"{name}: expected floating-point numbers, got {tensor.storage.type.dtype}")
    values = list(struct.unpack(f"<{tensor.count}{code}", checkpoint.data(tensor)))
    if not all(map(math.isfinite, values)):
        raise ImportFailure(f"{name}: holds values that are not finite")
    return values


def describe_diffusion(checkpoint, buffers):
    unknown = ["diffusion.output", "diffusion.loss", "diffusion.weight", "diffusion.snr_decay", "diffusion.clip_noise"]
    if "alphas_cumprod" not in buffers:
        return {}, ["diffusion.schedule", "diffusion.levels", "diffusion.snr_clip", *unknown]
    alphas = numbers_of(checkpoint, buffers["alphas_cumprod"], "alphas_cumprod")
    if not 1 <= len(alphas) <= 1_000_000:
        raise ImportFailure(f"alphas_cumprod: {len(alphas)} noise levels")
    config = {"levels": len(alphas)}
    distance = {kind: max(abs(a - b) for a, b in zip(alphas, table)) for kind, table in schedules(len(alphas)).items()}
    nearest = min(distance, key=distance.get)
    if distance[nearest] < 1e-5:
        config = {"schedule": nearest, **config}
    else:
        unknown.insert(0, f"diffusion.schedule (nearest is {nearest}, off by {distance[nearest]:.2g})")
    if "clipped_snr" in buffers and "snr" in buffers:
        bound = max(numbers_of(checkpoint, buffers["clipped_snr"], "clipped_snr"))
        if bound < max(alphas) / (1.0 - max(alphas)):
            config["snr_clip"] = bound
    return config, unknown


def describe(checkpoint, weights, buffers):
    """-> (sections of an experiment file, token, keys that could not be derived)"""
    shapes = Shapes(weights)
    model, token, unknown = (describe_unet_gru if "model.init_conv.weight" in shapes else describe_mlp_gru)(shapes)
    condition = "model.external_cond_mlp.0.weight"
    token["condition_dim"] = shapes.of(condition, 2)[1] if condition in shapes else 0
    token["init_shape"] = shapes.of("init_encoder.0.weight", 2)[1:] if model["latent_init"] == "encoded" else []
    diffusion, more = describe_diffusion(checkpoint, buffers)
    return {"model": model, "diffusion": diffusion}, token, [*unknown, *more, "data.frame_stack"]


# ---- Output. ----


def write_safetensors(path, checkpoint, weights, metadata):
    header, offset = {"__metadata__": metadata}, 0
    names = sorted(weights)
    for name in names:
        tensor = weights[name]
        header[name] = {"dtype": tensor.storage.type.dtype, "shape": list(tensor.shape), "data_offsets": [offset, offset + tensor.bytes]}
        offset += tensor.bytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    handle, temporary = tempfile.mkstemp(prefix=os.path.basename(path) + ".", dir=os.path.dirname(os.path.abspath(path)))
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(struct.pack("<Q", len(text)) + text)
            for name in names:
                file.write(checkpoint.data(weights[name]))
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def as_yaml(sections, unknown):
    lines = []
    for section, values in sections.items():
        lines.append(f"{section}:")
        lines += [f"  {key}: {value if isinstance(value, str) else json.dumps(value)}" for key, value in values.items()]
    return "\n".join([*lines, "# not in the checkpoint: " + ", ".join(unknown)])


def import_checkpoint(source, target):
    checkpoint = Checkpoint(source)
    weights, buffers, statistics, dropped = sort_names(state_dict_of(checkpoint.content))
    sections, token, unknown = describe(checkpoint, weights, buffers)
    metadata = {"config": json.dumps(sections), "token": json.dumps(token), "not_derived": json.dumps(unknown),
                "source": os.path.basename(source)}
    for name, tensor in statistics.items():
        values = numbers_of(checkpoint, tensor, name)
        metadata[name] = json.dumps(values if tensor.shape else values[0])
    if isinstance(checkpoint.content.get("global_step"), int):
        metadata["step"] = str(checkpoint.content["global_step"])
    write_safetensors(target, checkpoint, weights, metadata)
    return weights, sections, token, unknown, dropped


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", metavar="FILE.ckpt")
    parser.add_argument("target", metavar="OUT.safetensors")
    options = parser.parse_args(arguments)
    try:
        weights, sections, token, unknown, dropped = import_checkpoint(options.source, options.target)
    except (ImportFailure, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        print(f"import_checkpoint.py: {options.source}: {reason}", file=sys.stderr)
        return 1
    count = sum(tensor.count for tensor in weights.values())
    print(f"# {options.target}: {len(weights)} tensors, {count:,} numbers; a token is {token['token_shape']}")
    if dropped:
        print(f"# left out, not of the network: {len(dropped)} keys, {dropped[0]} and the like")
    print(as_yaml(sections, unknown))
    return 0


if __name__ == "__main__":
    sys.exit(main())
