// SPDX-License-Identifier: MIT
// NumPy's legacy RandomState (MT19937) as far as gym's environments draw from it, and gym's way of seeding it: the same seed gives the same
// episodes as in papers that report seeds.
#pragma once

#include <array>
#include <cstdint>
#include <random>
#include <string_view>
#include <vector>

namespace df {

// numpy.random.RandomState as gym seeds it: the same numbers, bit for bit.
class NumpyRandom {
 public:
  // gym 0.17 .. 0.21: the first 8 bytes of SHA-512 of the decimal number seed the state.
  explicit NumpyRandom(uint64_t seed);
  // RandomState(key), key a list of 32-bit numbers, not empty.
  explicit NumpyRandom(const std::vector<uint32_t>& key);

  int64_t below(int64_t n);                 // randint(0, n), which is choice(n); 1 <= n <= 2^32
  double uniform(double low, double high);  // [low, high)
  double normal();                          // randn()

 private:
  double unit();  // [0, 1), 53 bits
  std::mt19937 engine_;
  double second_normal_ = 0;
  bool has_second_normal_ = false;
};

// SHA-512, from which gym derives its seeds.
std::array<uint8_t, 64> sha512(std::string_view bytes);

}  // namespace df
