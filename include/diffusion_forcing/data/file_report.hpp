// SPDX-License-Identifier: MIT
// What a look at one file of a data set found.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace df {

// One file of a data set, and what is wrong with it.
struct FileReport {
  std::filesystem::path path;
  int64_t frames = 0, height = 0, width = 0;
  std::string problem;  // empty: good
};

}  // namespace df
