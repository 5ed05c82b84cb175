// SPDX-License-Identifier: MIT
// The main() of benchmarks that are programs of their own.
#pragma once

#include <fmt/format.h>

#include <cstdio>
#include <exception>

#include "diffusion_forcing/core/fast_math.hpp"

namespace df::bench {

// `run` with the choices of the programs, whose errors become one line and exit code 1.
inline int guarded_main(const char* program, int (*run)(int, char**), int argc, char** argv) {
  const FastMath fast;
  try {
    return run(argc, argv);
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}: {}\n", program, error.what());
    return 1;
  }
}

}  // namespace df::bench
