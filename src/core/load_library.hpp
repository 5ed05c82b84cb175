// SPDX-License-Identifier: MIT
// Our own libraries that are loaded when they are first asked for, so that programs start without what these need (OpenCV, MuJoCo, ...).
#pragma once

#include <string>

namespace df {

enum class Symbols {
  local,  // others do not see them
  global  // libraries that are loaded later do
};

// `file` (libdiffusion_forcing_media.so) beside this library, or wherever the loader looks; never unloaded. Null and the loader's message
// where it cannot be had.
void* open_library(const std::string& file, Symbols symbols, std::string* message);

// The function `symbol` of that library. Throws df::Error "<purpose> <file>: <the loader's message>", such as "HDF5 files need ...".
void* library_function(const std::string& file, const char* symbol, const std::string& purpose);

}  // namespace df
