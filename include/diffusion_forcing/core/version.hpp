// SPDX-License-Identifier: MIT
// What was built: for --version and for run folders.
#pragma once

#include <string>

namespace df {

std::string version();  // "0.2.0"
std::string commit();   // of the source tree when it was configured, "unknown" outside git

}  // namespace df
