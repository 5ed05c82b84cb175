#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What docs/doxygen_filter.py makes of a header's comments."""
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "docs"))
import doxygen_filter


class DoxygenFilter(unittest.TestCase):
    def expect(self, header, filtered):
        self.assertEqual("\n".join(doxygen_filter.filtered(header.split("\n"))), filtered)

    def test_header_comment_describes_the_file(self):
        self.expect("// SPDX-License-Identifier: MIT\n// Seeds.\n#pragma once", "/// @file\n/// Seeds.\n#pragma once")

    def test_comment_above_and_behind(self):
        self.expect("// A switch.\nbool on = true;  // off: false", "/// A switch.\nbool on = true;  ///< off: false")

    def test_comment_behind_goes_on(self):
        self.expect("int a;  // first\n        // line\n// other\nint b;", "int a;  ///< first\n        ///< line\n/// other\nint b;")

    def test_formulas_keep_their_lines(self):
        self.expect("// With s:\n//   f = s\n//   g = 1\n// and h.", "/// With s:\n/// @n   f = s\n/// @n   g = 1\n/// @n and h.")

    def test_what_doxygen_would_read_is_escaped(self):
        self.expect("// <run>/a, @b, #1, `vector<T>`", "/// \\<run\\>/a, \\@b, \\#1, `vector<T>`")

    def test_code_is_left_alone(self):
        self.expect('const char* link = "https://x.org";', 'const char* link = "https://x.org";')


if __name__ == "__main__":
    unittest.main()
