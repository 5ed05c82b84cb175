#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Rounds the float32 tensors of a safetensors file to bfloat16: half the size, for weights that are shipped.

    scripts/compact_weights.py runs/video_small/checkpoints/step_20000/ema.safetensors assets/video_small/model.safetensors

Programs read such a file as any other and compute in float32. Python's standard library alone.
"""
import array
import json
import struct
import sys


def to_bfloat16(data: bytes) -> bytes:
    words = array.array("I", data)
    # Round to nearest, ties to even; weights are finite.
    halves = array.array("H", (((w + 0x7FFF + ((w >> 16) & 1)) >> 16) & 0xFFFF for w in words))
    return halves.tobytes()


def main() -> int:
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    with open(sys.argv[1], "rb") as source:
        (length,) = struct.unpack("<Q", source.read(8))
        header = json.loads(source.read(length))
        data = source.read()
    metadata = header.pop("__metadata__", None)
    compact, blocks, offset = {}, [], 0
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        block = data[begin:end]
        dtype = entry["dtype"]
        if dtype == "F32":
            block, dtype = to_bfloat16(block), "BF16"
        compact[name] = {"dtype": dtype, "shape": entry["shape"], "data_offsets": [offset, offset + len(block)]}
        blocks.append(block)
        offset += len(block)
    if metadata is not None:
        compact["__metadata__"] = metadata
    text = json.dumps(compact, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(sys.argv[2], "wb") as target:
        target.write(struct.pack("<Q", len(text)) + text + b"".join(blocks))
    print(f"{sys.argv[2]}: {len(compact) - (metadata is not None)} tensors, {8 + len(text) + offset} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
