#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""scripts/import_checkpoint.py: golden checkpoint, networks described from their shapes, hostile and damaged files."""
import array
import collections
import contextlib
import io
import json
import math
import os
import pathlib
import pickle
import struct
import subprocess
import sys
import tempfile
import unittest
import zipfile

ROOT = pathlib.Path(__file__).parents[2]
GOLDEN = pathlib.Path(os.environ.get("DF_GOLDEN_DIR") or ROOT / "tests" / "golden")
sys.path.insert(0, str(ROOT / "scripts"))
import import_checkpoint as importer  # noqa: E402
import torch_file  # noqa: E402


def read_safetensors(path):
    """-> ({name: (dtype, shape, bytes)}, metadata)"""
    data = pathlib.Path(path).read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    header, body = json.loads(data[8 : 8 + size]), data[8 + size :]
    metadata = header.pop("__metadata__", {})
    assert sum(e["data_offsets"][1] - e["data_offsets"][0] for e in header.values()) == len(body)
    return {n: (e["dtype"], e["shape"], body[slice(*e["data_offsets"])]) for n, e in header.items()}, metadata


def widened(data):
    """bfloat16 -> float32, exactly."""
    return b"".join(b"\0\0" + data[i : i + 2] for i in range(0, len(data), 2))


# A writer of torch.save files. Pickles refer to torch's globals by name without torch being there: protocol 2 writes the opcodes by hand.
class Fake:
    """A tensor to be pickled as torch does: elements of a storage, seen through offset, shape and stride."""

    def __init__(self, values, shape, stride=None, offset=0, storage="FloatStorage", count=None):
        self.values, self.shape, self.offset, self.storage = values, tuple(shape), offset, storage
        self.stride = tuple(stride) if stride else tuple(math.prod(shape[i + 1 :]) for i in range(len(shape)))
        self.count = len(values) if count is None else count


class Global:
    def __init__(self, module, name):
        self.module, self.name = module, name


def emit(value, storages):
    """Protocol 2 pickle of plain containers, Fake tensors and Globals."""
    if isinstance(value, Fake):
        storages.append(value)
        pid = (emit("storage", []) + emit(Global("torch", value.storage), []) + emit(str(len(storages) - 1), []) + emit("cpu", [])
               + emit(value.count, []))
        body = b"((" + pid + b"tQ" + emit(value.offset, []) + emit(value.shape, []) + emit(value.stride, []) + b"\x89"
        return emit(Global("torch._utils", "_rebuild_tensor_v2"), []) + body + emit(Global("collections", "OrderedDict"), []) + b")RtR"
    if isinstance(value, Global):
        return f"c{value.module}\n{value.name}\n".encode()
    if isinstance(value, dict):
        return b"}(" + b"".join(emit(k, storages) + emit(v, storages) for k, v in value.items()) + b"u"
    if isinstance(value, tuple):
        return b"(" + b"".join(emit(v, storages) for v in value) + b"t"
    return pickle.dumps(value, 2)[2:-1]


def write_torch(path, content, pickled=None, **entries):
    storages = []
    data = b"\x80\x02" + emit(content, storages) + b"." if pickled is None else pickled
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("run/data.pkl", data)
        for i, tensor in enumerate(storages):
            archive.writestr(f"run/data/{i}", array.array("f", tensor.values).tobytes())
        for name, text in entries.items():
            archive.writestr(f"run/{name}", text)


def zeros(*shape):
    return Fake([0.0] * math.prod(shape), shape)


def mlp_state(prefix="transition_model.", width=4, token=6, latent=8, condition=0):
    features = latent + token + width + (width if condition else 0)
    state = {"model.time_mlp.1.weight": zeros(width, width), "x_from_z.weight": zeros(token, latent)}
    for side, size in (("before", features), ("after", latent)):
        for i in range(2):
            state[f"model.mlp_{side}_gru.{i}.mlp.0.weight"] = zeros(32 * width, size)
        state[f"model.mlp_{side}_gru.2.weight"] = zeros(latent, 32 * width)
    state["model.gru_stack.0.weight_ih"] = zeros(3 * latent, latent)
    if condition:
        state["model.external_cond_mlp.0.weight"] = zeros(width, condition)
    return {prefix + name: tensor for name, tensor in state.items()}


class ImportTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.source, self.target = self.folder / "in.ckpt", self.folder / "out.safetensors"

    def convert(self, source=None):
        importer.import_checkpoint(str(source or self.source), str(self.target))
        return read_safetensors(self.target)

    def refused(self, *words):
        """The import fails with a message that has all the words, and leaves nothing behind."""
        before = set(self.folder.iterdir())
        errors = io.StringIO()
        with contextlib.redirect_stderr(errors):
            self.assertEqual(importer.main([str(self.source), str(self.target)]), 1)
        self.assertEqual(set(self.folder.iterdir()), before)
        message = errors.getvalue()
        self.assertEqual(message.count("\n"), 1, message)
        for word in (str(self.source), *words):
            self.assertIn(word, message)


class Golden(ImportTest):
    def test_equals_the_golden_weights(self):
        tensors, metadata = self.convert(GOLDEN / "mlp_gru2_v_eta1.ckpt")
        golden, golden_metadata = read_safetensors(GOLDEN / "mlp_gru2_v_eta1.safetensors")
        expected = {n[len("model/") :]: ("F32", s, widened(d)) for n, (_, s, d) in golden.items() if n.startswith("model/")}
        self.assertEqual(tensors, expected)
        theirs, ours = json.loads(golden_metadata["config"]), json.loads(metadata["config"])
        self.assertEqual(ours["model"], {
            "type": "mlp_gru", "width": theirs["network_size"], "latent": theirs["z_shape"][0], "mlp_layers": theirs["num_mlp_layers"],
            "gru_layers": theirs["num_gru_layers"], "latent_init": "zero"})
        self.assertEqual(ours["diffusion"], {"schedule": theirs["beta_schedule"], "levels": theirs["timesteps"], "snr_clip": theirs["snr_clip"]})
        self.assertEqual(json.loads(metadata["token"]), {"token_shape": theirs["x_shape"], "condition_dim": 0, "init_shape": []})
        self.assertIn("diffusion.output", json.loads(metadata["not_derived"]))

    def test_schedules_are_told_apart(self):
        golden, _ = read_safetensors(GOLDEN / "schedules.safetensors")
        seen = 0
        for name, (dtype, shape, data) in golden.items():
            if not name.endswith("alphas_cumprod") or dtype != "F32":
                continue
            kind = next(k for k in ("linear", "cosine", "sigmoid") if k in name)
            values = array.array("f", data)
            table = importer.schedules(len(values))
            self.assertEqual(min(table, key=lambda k: max(abs(a - b) for a, b in zip(values, table[k]))), kind)
            self.assertLess(max(abs(a - b) for a, b in zip(values, table[kind])), 1e-6)
            seen += 1
        self.assertEqual(seen, 3)

    def test_shapes_of_the_other_golden_networks(self):
        expected = {
            "mlp_gru_x0": ({"type": "mlp_gru", "width": 4, "latent": 16, "mlp_layers": 4, "gru_layers": 1}, [12], 0),
            "unet_v": ({"type": "unet_gru", "width": 8, "latent": 4, "multipliers": [1, 2, 4, 8], "blocks": 2, "heads": 4, "gru_layers": 0,
                        "attention": ["linear", "linear", "linear", "full"], "middle_attention": "full", "stem_kernel": 7}, [6], 0),
            "unet_gru_eps_cond": ({"type": "unet_gru", "gru_layers": 1, "multipliers": [1, 2, 4, 8], "blocks": 2}, None, 4),
        }
        for name, (model, token, condition) in expected.items():
            golden, _ = read_safetensors(GOLDEN / f"{name}.safetensors")
            kind = torch_file.StorageType("F32", 4)
            weights = {n[len("model/") :]: torch_file.Tensor(torch_file.Storage(kind, "0", math.prod(s)), 0, tuple(s), ())
                       for n, (_, s, _) in golden.items() if n.startswith("model/")}
            sections, spec, _ = importer.describe(None, weights, {})
            self.assertEqual({key: sections["model"][key] for key in model}, model, name)
            self.assertEqual(spec["condition_dim"], condition)
            if token:
                self.assertEqual(spec["token_shape"][:1], token)

    def test_program(self):
        done = subprocess.run([sys.executable, ROOT / "scripts" / "import_checkpoint.py", GOLDEN / "mlp_gru2_v_eta1.ckpt", self.target],
                              capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn("  schedule: cosine\n", done.stdout)
        usage = subprocess.run([sys.executable, ROOT / "scripts" / "import_checkpoint.py"], capture_output=True, text=True)
        self.assertEqual(usage.returncode, 2)


class Names(ImportTest):
    def test_bare_state_dict(self):
        write_torch(self.source, mlp_state(prefix="", condition=3))
        tensors, metadata = self.convert()
        self.assertEqual(set(tensors), set(mlp_state(prefix="", condition=3)))
        self.assertEqual(json.loads(metadata["config"])["model"]["mlp_layers"], 3)
        self.assertEqual(json.loads(metadata["token"])["condition_dim"], 3)
        self.assertIn("diffusion.levels", json.loads(metadata["not_derived"]))

    def test_compiled_metric_and_optimizer_keys(self):
        state = {name.replace("model.", "model._orig_mod.", 1): t for name, t in mlp_state().items()}
        state |= {"validation_fid_model.inception.weight": zeros(2), "embed.weight": zeros(2), "init_encoder.0.weight": zeros(128, 4),
                  "data_mean": Fake([0.25], ()), "data_std": Fake([1.0, 2.0], (2,))}
        write_torch(self.source, {"state_dict": state, "optimizer_states": ({"state": {0: {"exp_avg": zeros(2)}}},), "global_step": 77})
        tensors, metadata = self.convert()
        self.assertEqual(set(tensors), {"init_encoder.0.weight", *mlp_state(prefix="")})
        self.assertEqual((metadata["data_mean"], metadata["data_std"], metadata["step"]), ("0.25", "[1.0, 2.0]", "77"))
        self.assertEqual(json.loads(metadata["config"])["model"]["latent_init"], "encoded")
        self.assertEqual(json.loads(metadata["token"])["init_shape"], [4])

    def test_strides_offsets_and_shared_storages(self):
        state = mlp_state(prefix="")
        state["x_from_z.weight"] = Fake(list(range(60)), (6, 8), stride=(1, 6), offset=5)  # transposed, within a larger storage
        state["model.time_mlp.1.weight"] = Fake(list(range(40)), (4, 4), stride=(8, 2), offset=1)
        write_torch(self.source, state)
        tensors, _ = self.convert()
        self.assertEqual(list(array.array("f", tensors["x_from_z.weight"][2])), [5 + r + 6 * c for r in range(6) for c in range(8)])
        self.assertEqual(list(array.array("f", tensors["model.time_mlp.1.weight"][2])), [1 + 8 * r + 2 * c for r in range(4) for c in range(4)])

    def test_four_dimensions_channels_last(self):
        data = array.array("f", range(2 * 3 * 4 * 5)).tobytes()
        got = array.array("f", torch_file.gather(data, 4, 0, (2, 3, 4, 5), (60, 1, 15, 3)))
        self.assertEqual(list(got), [60 * a + b + 15 * c + 3 * d for a in range(2) for b in range(3) for c in range(4) for d in range(5)])
        self.assertEqual(torch_file.gather(data, 4, 7, (), ()), data[28:32])
        self.assertEqual(torch_file.gather(data, 4, 0, (0, 3), (3, 1)), b"")
        self.assertEqual(list(array.array("f", torch_file.gather(data, 4, 2, (2, 3), (0, 1)))), [2, 3, 4, 2, 3, 4])

    def test_unknown_keys_are_listed(self):
        write_torch(self.source, {"state_dict": {**mlp_state(), "transition_model.extra.weight": zeros(2)}})
        self.refused("transition_model.extra.weight")

    def test_two_keys_for_one_weight(self):
        state = mlp_state()
        write_torch(self.source, {"state_dict": {**state, "transition_model._orig_mod.x_from_z.weight": zeros(6, 8)}})
        self.refused("two keys for x_from_z.weight")

    def test_no_state_dict_and_no_weights(self):
        write_torch(self.source, {"epoch": 3})
        self.refused("no state_dict", "epoch")
        write_torch(self.source, {"state_dict": {"other.weight": zeros(2)}})
        self.refused("other.weight")


class Attack:
    def __init__(self, function, *arguments):
        self.reduced = (function, arguments)

    def __reduce__(self):
        return self.reduced


class Hostile(ImportTest):
    def pickled(self, data):
        write_torch(self.source, None, pickled=data)

    def test_calls(self):
        marker = self.folder / "owned"
        attacks = {
            "posix.system": Attack(os.system, f"touch {marker}"),
            "builtins.eval": Attack(eval, f"open({str(marker)!r}, 'w')"),
            "builtins.exec": Attack(exec, f"open({str(marker)!r}, 'w')"),
            "builtins.getattr": Attack(getattr, "", "join"),
            "io.open": Attack(open, str(marker), "w"),
            "subprocess.Popen": Attack(subprocess.Popen, ["touch", str(marker)]),
            "_pickle.loads": Attack(pickle.loads, b"N."),
        }
        for protocol in (0, 2, 4):
            for name, attack in attacks.items():
                for content in (attack, {"state_dict": {"a": attack}}, [[(attack,)]], {"callbacks": collections.OrderedDict(x=attack)}):
                    self.pickled(pickle.dumps(content, protocol))
                    old = {"builtins": "__builtin__", "subprocess": "commands", "_pickle": "pickle"} if protocol < 3 else {}  # names of Python 2
                    module, function = name.split(".")
                    self.refused("refused", f"{old.get(module, module)}.{function}")
        self.assertFalse(marker.exists())

    def test_globals_of_torch_that_run_code(self):
        for module, name in (("torch", "load"), ("torch.storage", "_load_from_bytes"), ("torch.jit", "load"), ("torch._utils", "_import_dotted_name"),
                             ("torch._utils", "_rebuild_tensor_v2.__globals__"), ("torch", "_utils"), ("collections", "OrderedDict.fromkeys"),
                             ("omegaconf.dictconfig", "DictConfig"), ("torch.hub", "load"), ("numpy.core.multiarray", "_reconstruct")):
            self.pickled(f"\x80\x02c{module}\n{name}\n(X\x01\x00\x00\x00atR.".encode("latin-1"))
            self.refused(f"{module}.{name}")
            # the same through the stack, with dotted names
            encoded = b"".join(b"\x8c" + bytes([len(s)]) + s.encode() for s in (module, name))
            self.pickled(b"\x80\x04" + encoded + b"\x93.")
            self.refused(f"{module}.{name}")

    def test_build_new_object_and_extensions(self):
        ordered = b"ccollections\nOrderedDict\n"
        self.pickled(b"\x80\x02" + ordered + b"(N}X\x08\x00\x00\x00__call__NsNt\x85b.")
        self.refused()
        self.pickled(b"\x80\x02" + ordered + b"}X\x04\x00\x00\x00bodyNsb.")  # would change the function itself
        self.refused("sets the state")
        self.pickled(b"\x80\x02" + ordered + b")\x81.")
        self.refused("damaged pickle")
        self.pickled(b"\x80\x02\x82\x01.")
        self.refused("extension code")
        self.pickled(b"(iposix\nsystem\n.")
        self.refused("posix.system")

    def test_attributes_of_a_state_dict_are_ignored(self):
        state = emit(mlp_state(prefix=""), storages := [])
        ordered = b"ccollections\nOrderedDict\n)R" + state[1:] + emit({"_metadata": {"version": 1}, "items": 3}, []) + b"b"
        write_torch(self.source, mlp_state(prefix=""))
        with zipfile.ZipFile(self.source) as archive:
            entries = {n: archive.read(n) for n in archive.namelist() if n != "run/data.pkl"}
        write_torch(self.source, None, pickled=b"\x80\x02" + ordered + b".", **{n[len("run/") :]: d for n, d in entries.items()})
        tensors, _ = self.convert()
        self.assertEqual(len(tensors), len(storages))

    def test_persistent_ids(self):
        def pid(*parts):
            return b"\x80\x02" + b"(" + b"".join(emit(p, []) for p in parts) + b"tQ."

        floats = Global("torch", "FloatStorage")
        for key in ("../../etc/passwd", "/etc/passwd", "data.pkl", "0\0", "", "-1", "９"):
            self.pickled(pid("storage", floats, key, "cpu", 4))
            self.refused("storage with the name")
        for parts in (("module", floats, "0", "cpu", 4), ("storage", "FloatStorage", "0", "cpu", 4), ("storage", floats, 0, "cpu", 4),
                      ("storage", floats, "0", "cpu", -4), ("storage", floats, "0", "cpu", "4"), ("storage",)):
            self.pickled(pid(*parts))
            self.refused("persistent id")

    def test_sizes(self):
        for tensor, words in ((Fake([0.0], (1 << 40, 1 << 40)), "does not fit"), (Fake([0.0], (1 << 40,), stride=(0,)), "does not fit"),
                              (Fake([0.0] * 4, (4,), offset=1), "does not fit"), (Fake([0.0] * 4, (2, 2), stride=(4, 1)), "does not fit"),
                              (Fake([0.0], (-1,)), "malformed"), (Fake([0.0], (1,), stride=(1, 1)), "malformed"),
                              (Fake([0.0] * 4, (4,), count=1 << 50), "expected")):
            write_torch(self.source, {**mlp_state(prefix=""), "x_from_z.bias": tensor})
            self.refused(words)
        self.pickled(b"\x80\x02}r\xff\xff\xff\xff.")  # a memo slot far away
        self.refused("memo jumps")
        self.pickled(b"\x80\x04\x8e" + struct.pack("<Q", 1 << 60) + b".")
        self.refused("damaged pickle")
        self.pickled(b"\x80\x04" + b"(" * 200_000 + b"l" * 200_000 + b".")  # deeply nested lists
        self.refused("no state_dict")

    def test_compressed_entries(self):
        with zipfile.ZipFile(self.source, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("run/data.pkl", pickle.dumps({"a": [0] * 100_000}))
        self.refused("compressed")


class Damaged(ImportTest):
    def test_truncated_anywhere(self):
        whole = (GOLDEN / "mlp_gru2_v_eta1.ckpt").read_bytes()
        for size in (0, 1, 3, 40, len(whole) // 3, len(whole) // 2, len(whole) - 100, len(whole) - 1):
            self.source.write_bytes(whole[:size])
            self.refused()

    def test_flipped_bit(self):
        whole = bytearray((GOLDEN / "mlp_gru2_v_eta1.ckpt").read_bytes())
        with zipfile.ZipFile(GOLDEN / "mlp_gru2_v_eta1.ckpt") as archive:
            entry = max((e for e in archive.infolist() if "/data/" in e.filename), key=lambda e: e.file_size)
        whole[entry.header_offset + 400] ^= 1
        self.source.write_bytes(whole)
        with contextlib.suppress(torch_file.ImportFailure):
            self.convert()
            self.fail("a flipped bit went unseen")

    def test_damaged_pickle(self):
        with zipfile.ZipFile(GOLDEN / "mlp_gru2_v_eta1.ckpt") as archive:
            data = next(archive.read(n) for n in archive.namelist() if n.endswith("data.pkl"))
        for size in (0, 1, 2, 10, 100, 1000, len(data) - 1):
            write_torch(self.source, None, pickled=data[:size])
            self.refused("pickle")

    def test_missing_and_short_storages(self):
        write_torch(self.source, mlp_state(prefix=""))
        with zipfile.ZipFile(self.source) as archive:
            entries = {n: archive.read(n) for n in archive.namelist()}
        for change, words in ((None, "no entry run/data/0"), (b"1234", "run/data/0: expected 64 bytes, got 4")):
            with zipfile.ZipFile(self.source, "w") as archive:
                for name, data in entries.items():
                    if name != "run/data/0":
                        archive.writestr(name, data)
                    elif change:
                        archive.writestr(name, change)
            self.refused(words)

    def test_other_files(self):
        self.source.write_bytes(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.")
        self.refused("old torch.save format")
        self.source.write_bytes(b"hello")
        self.refused("not a file of torch.save")
        with zipfile.ZipFile(self.source, "w") as archive:
            archive.writestr("readme.txt", "hello")
        self.refused("found 0")
        write_torch(self.source, mlp_state(), byteorder="big")
        self.refused("little-endian")
        self.source.unlink()
        self.refused("No such file")

    def test_target_folder_that_is_not_there(self):
        self.target = self.folder / "nowhere" / "out.safetensors"
        write_torch(self.source, mlp_state())
        self.refused("No such file")


if __name__ == "__main__":
    unittest.main()
