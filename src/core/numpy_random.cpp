// SPDX-License-Identifier: MIT
#include "diffusion_forcing/core/numpy_random.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <string>

#include "diffusion_forcing/core/error.hpp"

namespace df {

namespace {

// FIPS 180-4: the fractional parts of the cube roots of the first 80 primes, and of the square roots of the first 8.
constexpr uint64_t sha_rounds[80] = {
    0x428a2f98d728ae22ULL, 0x7137449123ef65cdULL, 0xb5c0fbcfec4d3b2fULL, 0xe9b5dba58189dbbcULL, 0x3956c25bf348b538ULL,
    0x59f111f1b605d019ULL, 0x923f82a4af194f9bULL, 0xab1c5ed5da6d8118ULL, 0xd807aa98a3030242ULL, 0x12835b0145706fbeULL,
    0x243185be4ee4b28cULL, 0x550c7dc3d5ffb4e2ULL, 0x72be5d74f27b896fULL, 0x80deb1fe3b1696b1ULL, 0x9bdc06a725c71235ULL,
    0xc19bf174cf692694ULL, 0xe49b69c19ef14ad2ULL, 0xefbe4786384f25e3ULL, 0x0fc19dc68b8cd5b5ULL, 0x240ca1cc77ac9c65ULL,
    0x2de92c6f592b0275ULL, 0x4a7484aa6ea6e483ULL, 0x5cb0a9dcbd41fbd4ULL, 0x76f988da831153b5ULL, 0x983e5152ee66dfabULL,
    0xa831c66d2db43210ULL, 0xb00327c898fb213fULL, 0xbf597fc7beef0ee4ULL, 0xc6e00bf33da88fc2ULL, 0xd5a79147930aa725ULL,
    0x06ca6351e003826fULL, 0x142929670a0e6e70ULL, 0x27b70a8546d22ffcULL, 0x2e1b21385c26c926ULL, 0x4d2c6dfc5ac42aedULL,
    0x53380d139d95b3dfULL, 0x650a73548baf63deULL, 0x766a0abb3c77b2a8ULL, 0x81c2c92e47edaee6ULL, 0x92722c851482353bULL,
    0xa2bfe8a14cf10364ULL, 0xa81a664bbc423001ULL, 0xc24b8b70d0f89791ULL, 0xc76c51a30654be30ULL, 0xd192e819d6ef5218ULL,
    0xd69906245565a910ULL, 0xf40e35855771202aULL, 0x106aa07032bbd1b8ULL, 0x19a4c116b8d2d0c8ULL, 0x1e376c085141ab53ULL,
    0x2748774cdf8eeb99ULL, 0x34b0bcb5e19b48a8ULL, 0x391c0cb3c5c95a63ULL, 0x4ed8aa4ae3418acbULL, 0x5b9cca4f7763e373ULL,
    0x682e6ff3d6b2b8a3ULL, 0x748f82ee5defb2fcULL, 0x78a5636f43172f60ULL, 0x84c87814a1f0ab72ULL, 0x8cc702081a6439ecULL,
    0x90befffa23631e28ULL, 0xa4506cebde82bde9ULL, 0xbef9a3f7b2c67915ULL, 0xc67178f2e372532bULL, 0xca273eceea26619cULL,
    0xd186b8c721c0c207ULL, 0xeada7dd6cde0eb1eULL, 0xf57d4f7fee6ed178ULL, 0x06f067aa72176fbaULL, 0x0a637dc5a2c898a6ULL,
    0x113f9804bef90daeULL, 0x1b710b35131c471bULL, 0x28db77f523047d84ULL, 0x32caab7b40c72493ULL, 0x3c9ebe0a15c9bebcULL,
    0x431d67c49c100d4cULL, 0x4cc5d4becb3e42b6ULL, 0x597f299cfc657e2aULL, 0x5fcb6fab3ad6faecULL, 0x6c44198c4a475817ULL,
};
constexpr std::array<uint64_t, 8> sha_start = {
    0x6a09e667f3bcc908ULL, 0xbb67ae8584caa73bULL, 0x3c6ef372fe94f82bULL, 0xa54ff53a5f1d36f1ULL,
    0x510e527fade682d1ULL, 0x9b05688c2b3e6c1fULL, 0x1f83d9abfb41bd6bULL, 0x5be0cd19137e2179ULL,
};

void sha_block(std::array<uint64_t, 8>& hash, const char* block) {
  uint64_t w[80];
  for (int i = 0; i < 16; ++i) {
    w[i] = 0;
    for (int b = 0; b < 8; ++b) w[i] = w[i] << 8 | static_cast<uint8_t>(block[8 * i + b]);
  }
  for (int i = 16; i < 80; ++i) {
    const uint64_t s0 = std::rotr(w[i - 15], 1) ^ std::rotr(w[i - 15], 8) ^ (w[i - 15] >> 7);
    const uint64_t s1 = std::rotr(w[i - 2], 19) ^ std::rotr(w[i - 2], 61) ^ (w[i - 2] >> 6);
    w[i] = w[i - 16] + s0 + w[i - 7] + s1;
  }
  auto [a, b, c, d, e, f, g, h] = hash;
  for (int i = 0; i < 80; ++i) {
    const uint64_t s1 = std::rotr(e, 14) ^ std::rotr(e, 18) ^ std::rotr(e, 41), choose = (e & f) ^ (~e & g);
    const uint64_t s0 = std::rotr(a, 28) ^ std::rotr(a, 34) ^ std::rotr(a, 39), major = (a & b) ^ (a & c) ^ (b & c);
    const uint64_t t1 = h + s1 + choose + sha_rounds[i] + w[i], t2 = s0 + major;
    h = g, g = f, f = e, e = d + t1, d = c, c = b, b = a, a = t1 + t2;
  }
  const uint64_t parts[8] = {a, b, c, d, e, f, g, h};
  for (size_t i = 0; i < 8; ++i) hash[i] += parts[i];
}

// The bytes as one little-endian number, in 32-bit digits without leading zeros.
std::vector<uint32_t> gym_key(uint64_t seed) {
  const auto hash = sha512(std::to_string(seed));
  std::vector<uint32_t> key(2, 0);
  for (size_t i = 0; i < 8; ++i) key[i / 4] |= static_cast<uint32_t>(hash[i]) << (8 * (i % 4));
  while (key.size() > 1 && key.back() == 0) key.pop_back();
  return key;
}

// What seeds std::mt19937 as init_by_array of Matsumoto and Nishimura's mt19937ar does.
struct ArraySeed {
  using result_type = uint32_t;
  const std::vector<uint32_t>& key;

  template <class Iterator>
  void generate(Iterator begin, Iterator) const {
    constexpr uint32_t n = std::mt19937::state_size;
    std::array<uint32_t, n> state;
    const auto mixed = [&state](uint32_t i) { return state[i - 1] ^ (state[i - 1] >> 30); };
    state[0] = 19650218u;
    for (uint32_t i = 1; i < n; ++i) state[i] = 1812433253u * mixed(i) + i;
    const auto wrap = [&state](uint32_t i) {
      if (i < n) return i;
      state[0] = state[n - 1];
      return uint32_t{1};
    };
    uint32_t i = 1, j = 0;
    for (size_t k = std::max<size_t>(n, key.size()); k > 0; --k) {
      state[i] = (state[i] ^ (mixed(i) * 1664525u)) + key[j] + j;
      i = wrap(i + 1);
      j = j + 1 < key.size() ? j + 1 : 0;
    }
    for (uint32_t k = n - 1; k > 0; --k) {
      state[i] = (state[i] ^ (mixed(i) * 1566083941u)) - i;
      i = wrap(i + 1);
    }
    state[0] = 0x80000000u;
    std::copy(state.begin(), state.end(), begin);
  }
};

}  // namespace

std::array<uint8_t, 64> sha512(std::string_view bytes) {
  std::string padded(bytes);
  padded += static_cast<char>(0x80);
  while (padded.size() % 128 != 112) padded += '\0';
  for (int i = 15; i >= 0; --i) padded += i >= 8 ? '\0' : static_cast<char>((8 * uint64_t{bytes.size()}) >> (8 * i));
  std::array<uint64_t, 8> hash = sha_start;
  for (size_t at = 0; at < padded.size(); at += 128) sha_block(hash, padded.data() + at);
  std::array<uint8_t, 64> digest{};
  for (size_t i = 0; i < 64; ++i) digest[i] = static_cast<uint8_t>(hash[i / 8] >> (56 - 8 * (i % 8)));
  return digest;
}

NumpyRandom::NumpyRandom(uint64_t seed) : NumpyRandom(gym_key(seed)) {}

NumpyRandom::NumpyRandom(const std::vector<uint32_t>& key) {
  if (key.empty()) throw Error("NumpyRandom: expected a key of at least one number, got none");
  ArraySeed seed{key};
  engine_.seed(seed);
}

double NumpyRandom::unit() {
  const auto high = static_cast<uint32_t>(engine_()) >> 5, low = static_cast<uint32_t>(engine_()) >> 6;
  return (high * 67108864.0 + low) / 9007199254740992.0;
}

int64_t NumpyRandom::below(int64_t n) {
  if (n < 1 || n > int64_t{1} << 32) throw Error("NumpyRandom::below: expected 1 .. 2^32, got " + std::to_string(n));
  if (n == 1) return 0;
  const auto most = static_cast<uint32_t>(n - 1);
  const uint32_t mask = std::bit_width(most) == 32 ? ~0u : (1u << std::bit_width(most)) - 1;
  uint32_t value = 0;
  do value = static_cast<uint32_t>(engine_()) & mask;
  while (value > most);
  return value;
}

double NumpyRandom::uniform(double low, double high) { return low + (high - low) * unit(); }

// Marsaglia's polar method; the second number of a pair waits for the next call.
double NumpyRandom::normal() {
  if (has_second_normal_) {
    has_second_normal_ = false;
    return second_normal_;
  }
  double x1 = 0, x2 = 0, r2 = 0;
  do {
    x1 = 2.0 * unit() - 1.0;
    x2 = 2.0 * unit() - 1.0;
    r2 = x1 * x1 + x2 * x2;
  } while (r2 >= 1.0 || r2 == 0.0);
  const double factor = std::sqrt(-2.0 * std::log(r2) / r2);
  second_normal_ = factor * x1;
  has_second_normal_ = true;
  return factor * x2;
}

}  // namespace df
