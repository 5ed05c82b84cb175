#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A small tree with one fault at a time: check_tree.py must find it, and nothing in the tree without faults."""
import pathlib
import tempfile
import unittest

import check_tree

SPDX = "// SPDX-License-Identifier: MIT\n"
HEADER = SPDX + "#pragma once\n"
GOOD = {
    "include/diffusion_forcing/core/tensor.hpp": HEADER + "#include <ATen/core/Tensor.h>\n#include <vector>\n",
    "include/diffusion_forcing/models/causal_model.hpp": HEADER + '#include <torch/nn/module.h>\n#include "diffusion_forcing/core/tensor.hpp"\n',
    "include/diffusion_forcing/config/types.hpp": HEADER + '#include "diffusion_forcing/models/causal_model.hpp"\n',
    "include/diffusion_forcing/sampling/plan.hpp": HEADER + '#include "diffusion_forcing/core/tensor.hpp"\n',
    "src/sampling/plan.cpp": SPDX + '#include "diffusion_forcing/sampling/plan.hpp"\n#include "diffusion_forcing/models/causal_model.hpp"\n',
    "src/media/opencv_reader.cpp": SPDX + "#include <opencv2/videoio.hpp>\n",
    "src/core/accelerator.cpp": SPDX + "auto device = at::kCUDA;\n",
    "src/config/experiment.cpp": SPDX + '#include <yaml-cpp/yaml.h>\n#include "diffusion_forcing/config/types.hpp"\n',
    "apps/df_train.cpp": SPDX + "#include <CLI/CLI.hpp>\n",
    "scripts/test.sh": "#!/usr/bin/env bash\n# SPDX-License-Identifier: MIT\n",
}


class CheckTree(unittest.TestCase):
    def faults(self, **changes):
        with tempfile.TemporaryDirectory() as name:
            root = pathlib.Path(name)
            for path, text in {**GOOD, **changes.get("files", {})}.items():
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                (root / path).write_text(text)
            return list(check_tree.faults_of_tree(root))

    def expect(self, path, text, fault):
        found = self.faults(files={path: text})
        self.assertEqual(len(found), 1, found)
        self.assertIn(fault, found[0])

    def test_good_tree(self):
        self.assertEqual(self.faults(), [])

    def test_higher_room(self):
        self.expect("src/core/seed.cpp", SPDX + '#include "diffusion_forcing/sampling/plan.hpp"\n', "seed.cpp:2: core/seed must not include")

    def test_private_header_of_a_higher_room(self):
        self.expect("src/models/gru.cpp", SPDX + '#include "sampling/cells.hpp"\n', "not a lower layer")

    def test_registry_below_the_experiment(self):
        self.expect("src/sampling/rollout.cpp", SPDX + '#include "diffusion_forcing/config/types.hpp"\n', "not a lower layer")
        self.expect("src/models/mlp_gru.cpp", SPDX + '#include "diffusion_forcing/config/types.hpp"\n', "not a lower layer")

    def test_unknown_room(self):
        self.expect("src/attic/x.cpp", SPDX, "room 'attic'")

    def test_public_headers(self):
        for target in ("torch/torch.h", "torch/nn/module.h", "ATen/ATen.h", "spdlog/spdlog.h", "fmt/format.h", "nlohmann/json.hpp"):
            found = self.faults(files={"include/diffusion_forcing/sampling/x.hpp": HEADER + f"#include <{target}>\n"})
            self.assertTrue(any(f"a public header must not include <{target}>" in f for f in found), (target, found))
        self.expect("include/diffusion_forcing/sampling/x.hpp", HEADER + '#include "sampling/cells.hpp"\n', "must not include the private")

    def test_libraries(self):
        self.expect("src/media/media.cpp", SPDX + "#include <opencv2/core.hpp>\n", "opencv2/core.hpp> may be included in")
        self.expect("src/data/x.cpp", SPDX + "#include <yaml-cpp/yaml.h>\n", "may be included in")
        self.expect("src/data/x.cpp", SPDX + "#include <CLI/CLI.hpp>\n", "may be included in")
        self.expect("src/data/x.cpp", SPDX + "#include <torch/torch.h>\n", "may be included in")
        self.expect("src/maze2d/x.cpp", SPDX + "#include <mujoco/mujoco.h>\n", "may be included in")
        self.expect("src/data/x.cpp", SPDX + "#include <hdf5.h>\n", "may be included in")

    def test_cuda(self):
        for code in ("#include <c10/cuda/CUDAStream.h>", "at::cuda::synchronize();", "cudaMalloc(&p, 1);", "auto d = at::kCUDA;"):
            self.expect("src/training/x.cpp", SPDX + code + "\n", "CUDA is known in")

    def test_licence_pragma_and_size(self):
        self.expect("src/core/x.cpp", "int x;\n", "first line must be")
        self.expect("src/core/x.hpp", SPDX + "int x;\n", "no #pragma once")
        self.expect("src/core/x.cpp", SPDX + "\n" * 400, "more than 400 lines")
        self.expect("scripts/x.py", "print()\n", "no SPDX line")

    def test_readme(self):
        example = {"examples/x.cpp": SPDX + "#include <x>\n\nint main() {\n  int a = 1;\n\n  return a;\n}\n"}
        self.assertEqual(self.faults(files={**example, "README.md": "```cpp\n#include <x>\n\nint a =  1;\nreturn a;\n```\n```\nany text\n```\n"}), [])
        found = self.faults(files={**example, "README.md": "text\n```cpp\nint a = 2;\n```\n"})
        self.assertEqual(found, ["README.md:2: this C++ block is not a part of a file in examples/"])
        found = self.faults(files={**example, "docs/guide/own.md": "```cpp\nint a = 2;\n```\n"})
        self.assertEqual(found, ["docs/guide/own.md:1: this C++ block is not a part of a file in examples/"])

    def test_lengths_of_pages(self):
        self.assertEqual(self.faults(files={"README.md": "x" * 120 + "\n" * 250}), [])
        self.expect("README.md", "x\n" * 251, "README.md:251: more than 250 lines")
        self.assertEqual(self.faults(files={"docs/a.md": "x\n" * 251}), [])
        self.expect("docs/deep/a.md", "x\n" + "y" * 121 + "\n", "docs/deep/a.md:2: 121 characters")
        self.expect("CONTRIBUTING.md", "```\n" + "y" * 121 + "\n```\n", "CONTRIBUTING.md:2: 121 characters")
        self.assertEqual(self.faults(files={"docs/a.md": "[paper](https://example.org/" + "y" * 121 + ")\n", ".deps/a.md": "y" * 121,
                                            "build/_deps/a.md": "y" * 121}), [])

    def test_tables(self):
        self.assertEqual(self.faults(files={"docs/a.md": "| 1 | 2 | 3 | 4 | 5 | a \\| b |\n"}), [])
        self.expect("docs/a.md", "text\n| 1 | 2 | 3 | 4 | 5 | 6 | 7 |\n", "docs/a.md:2: a table of 7 columns")
        self.assertEqual(self.faults(files={"docs/a.md": "```\n| 1 | 2 | 3 | 4 | 5 | 6 | 7 |\n```\n"}), [])

    def test_links(self):
        there = {"docs/guide/a.md": "# A title, of `code`\n", "docs/images/b.png": ""}
        good = "[a](docs/guide/a.md) [a](docs/guide/a.md#a-title-of-code) ![b](docs/images/b.png) [web](https://x.org/a.md) [here](#here)\n# Here\n"
        self.assertEqual(self.faults(files={**there, "README.md": good}), [])
        for link, fault in {"[a](docs/a.md)": "docs/a.md does not exist", "![b](images/b.png)": "images/b.png does not exist",
                            '<img src="b.png">': "b.png does not exist", "[a](docs/guide/a.md#other)": "no heading of a.md has the anchor #other",
                            "[here](#there)": "no heading of README.md has the anchor #there"}.items():
            found = self.faults(files={**there, "README.md": link + "\n"})
            self.assertEqual(found, [f"README.md:1: {fault}"])

    def test_cycle(self):
        found = self.faults(files={
            "include/diffusion_forcing/core/a.hpp": HEADER + '#include "diffusion_forcing/core/b.hpp"\n',
            "include/diffusion_forcing/core/b.hpp": HEADER + '#include "diffusion_forcing/core/a.hpp"\n'})
        self.assertEqual(found, ["include cycle: core/a -> core/b -> core/a"])


if __name__ == "__main__":
    unittest.main()
