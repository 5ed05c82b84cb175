// SPDX-License-Identifier: MIT
// Random numbers that are the same on every machine: splitmix64 and nothing of <random>.
#pragma once

#include <cstdint>

namespace df {

class MazeRandom {
 public:
  explicit MazeRandom(uint64_t seed) : state_(seed) {}
  uint64_t next() {
    uint64_t v = state_ += 0x9e3779b97f4a7c15ULL;
    v = (v ^ (v >> 30)) * 0xbf58476d1ce4e5b9ULL;
    v = (v ^ (v >> 27)) * 0x94d049bb133111ebULL;
    return v ^ (v >> 31);
  }
  int64_t below(int64_t n) { return static_cast<int64_t>(((next() >> 32) * static_cast<uint64_t>(n)) >> 32); }  // 0 .. n - 1
  bool chance(int64_t percent) { return below(100) < percent; }

 private:
  uint64_t state_;
};

}  // namespace df
