// SPDX-License-Identifier: MIT
// Libraries that are loaded when they are first asked for.
#include "core/load_library.hpp"

#include <fstream>
#include <iterator>
#include <string>

#include "support/support.hpp"

namespace df {

// Who only trains on video needs neither the physics of mazes nor HDF5 files, and their libraries are not in the process.
TEST(LoadLibrary, WhatWasNotAskedForIsNotLoaded) {
  std::ifstream file("/proc/self/maps");
  const std::string maps((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  EXPECT_NE(maps.find("libdiffusion_forcing.so"), std::string::npos);
  for (const char* library : {"libmujoco", "libhdf5", "libopencv"}) EXPECT_EQ(maps.find(library), std::string::npos) << library;
}

TEST(LoadLibrary, AMissingLibraryIsNamedWithItsPurpose) {
  const std::string error = test::error_of([] { library_function("libdiffusion_forcing_magic.so", "df_magic", "magic needs a wand and"); });
  EXPECT_EQ(error.rfind("magic needs a wand and libdiffusion_forcing_magic.so: ", 0), 0u) << error;
  EXPECT_NE(error.find("No such file"), std::string::npos) << error;
  const std::string symbol = test::error_of([] { library_function("libdiffusion_forcing.so", "df_magic", "magic needs"); });
  EXPECT_EQ(symbol, "libdiffusion_forcing.so: expected the symbol df_magic, it is from another version");
  std::string message;
  EXPECT_EQ(open_library("libdiffusion_forcing_magic.so", Symbols::local, &message), nullptr);
  EXPECT_NE(message, "");
}

}  // namespace df
