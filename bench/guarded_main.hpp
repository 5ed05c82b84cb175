// SPDX-License-Identifier: MIT
// The main() of benchmarks that are programs of their own.
#pragma once

#include <fmt/format.h>

#include <cstdio>
#include <exception>

namespace df::bench {

// `run`, whose errors become one line and exit code 1.
inline int guarded_main(const char* program, int (*run)(int, char**), int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}: {}\n", program, error.what());
    return 1;
  }
}

}  // namespace df::bench
