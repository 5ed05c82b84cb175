// SPDX-License-Identifier: MIT
#include "core/cpu_share.hpp"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <string>
#include <thread>

#include "diffusion_forcing/core/file.hpp"

namespace df {

namespace {

int64_t processors() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (sched_getaffinity(0, sizeof(allowed), &allowed) == 0) return std::max(1, CPU_COUNT(&allowed));
  return std::max(1u, std::thread::hardware_concurrency());
}

constexpr double kNoLimit = std::numeric_limits<double>::infinity();

double quota_in(const fs::path& folder) {
  double quota = -1, period = 0;
  std::string text;
  if (std::ifstream in(folder / "cpu.max"); in >> text >> period) {  // version 2: "max 100000" or "150000 100000"
    if (text != "max") quota = std::strtod(text.c_str(), nullptr);
  } else {
    std::ifstream(folder / "cpu.cfs_quota_us") >> quota;  // version 1: -1 is no limit
    std::ifstream(folder / "cpu.cfs_period_us") >> period;
  }
  return quota > 0 && period > 0 ? quota / period : kNoLimit;
}

// The smallest quota of this process's control group and of those above it.
double quota() {
  double least = std::min(quota_in("/sys/fs/cgroup"), quota_in("/sys/fs/cgroup/cpu"));
  std::ifstream groups("/proc/self/cgroup");  // "0::/a/b", or "4:cpu,cpuacct:/a/b"
  for (std::string line; std::getline(groups, line);) {
    const auto first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const bool second_version = controllers.empty();
    if (!second_version && controllers.find("cpu") == std::string::npos) continue;
    const fs::path root = second_version ? "/sys/fs/cgroup" : "/sys/fs/cgroup/cpu";
    for (fs::path group = fs::path(line.substr(second + 1)).relative_path(); !group.empty(); group = group.parent_path())
      least = std::min(least, quota_in(root / group));
  }
  return least;
}

}  // namespace

int64_t cpu_share() {
  const double limit = quota();
  const int64_t allowed = processors();
  return limit < static_cast<double>(allowed) ? std::max<int64_t>(1, static_cast<int64_t>(std::ceil(limit))) : allowed;
}

}  // namespace df
