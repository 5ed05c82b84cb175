// SPDX-License-Identifier: MIT
// How many processors this process may keep busy: those that it may run on, and no more than its container's or job's quota allows.
#pragma once

#include <cstdint>

namespace df {

int64_t cpu_share();  // at least 1

}  // namespace df
