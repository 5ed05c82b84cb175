// SPDX-License-Identifier: MIT
#include "media/gif.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <unordered_map>

namespace df::media {

namespace {

using Colour = std::array<uint8_t, 3>;

uint32_t key(const uint8_t* rgb) { return static_cast<uint32_t>(rgb[0]) << 16 | static_cast<uint32_t>(rgb[1]) << 8 | rgb[2]; }
Colour colour(uint32_t key) { return {static_cast<uint8_t>(key >> 16), static_cast<uint8_t>(key >> 8), static_cast<uint8_t>(key)}; }

// Palette indices by colour. The table covers all 2^24 colours, so that looking up a pixel is one read.
class Palette {
 public:
  Palette(const std::vector<const uint8_t*>& frames, int64_t pixels) : index_(size_t{1} << 24, kUnknown) {
    if (exact(frames, pixels)) return;
    colours_.clear();
    std::fill(index_.begin(), index_.end(), kUnknown);
    median_cut(frames, pixels);
  }
  const std::vector<Colour>& colours() const { return colours_; }
  uint8_t operator()(const uint8_t* rgb) {
    uint16_t& found = index_[key(rgb)];
    if (found == kUnknown) found = nearest(rgb);
    return static_cast<uint8_t>(found);
  }

 private:
  static constexpr uint16_t kUnknown = 0xFFFF;

  // False where there are more than 256 colours.
  bool exact(const std::vector<const uint8_t*>& frames, int64_t pixels) {
    for (const uint8_t* frame : frames)
      for (int64_t i = 0; i < pixels; ++i) {
        uint16_t& found = index_[key(frame + 3 * i)];
        if (found != kUnknown) continue;
        if (colours_.size() == 256) return false;
        found = static_cast<uint16_t>(colours_.size());
        colours_.push_back(colour(key(frame + 3 * i)));
      }
    return true;
  }

  // Splits the box with the largest spread (weighted by its pixels) at the median of its longest side until there are 256.
  void median_cut(const std::vector<const uint8_t*>& frames, int64_t pixels) {
    struct Bin {
      std::array<double, 3> mean{};
      double count = 0;
    };
    std::vector<Bin> bins(size_t{1} << 15);  // 5 bits a channel
    for (const uint8_t* frame : frames)
      for (int64_t i = 0; i < pixels; ++i) {
        const uint8_t* p = frame + 3 * i;
        Bin& bin = bins[static_cast<size_t>((p[0] >> 3) << 10 | (p[1] >> 3) << 5 | (p[2] >> 3))];
        for (size_t c = 0; c < 3; ++c) bin.mean[c] += p[c];
        ++bin.count;
      }
    std::erase_if(bins, [](const Bin& bin) { return bin.count == 0; });
    for (Bin& bin : bins)
      for (double& value : bin.mean) value /= bin.count;

    struct Box {
      size_t first, last;
      size_t axis = 0;
      double spread = 0;  // range of the longest side times the root of the pixels: 0 where it cannot be split
    };
    const auto measured = [&](size_t first, size_t last) {
      Box box{first, last};
      double count = 0, longest = 0;
      for (size_t i = first; i < last; ++i) count += bins[i].count;
      for (size_t c = 0; c < 3; ++c) {
        const auto [low, high] = std::minmax_element(bins.begin() + static_cast<int64_t>(first), bins.begin() + static_cast<int64_t>(last),
                                                     [c](const Bin& a, const Bin& b) { return a.mean[c] < b.mean[c]; });
        if (high->mean[c] - low->mean[c] > longest) {
          longest = high->mean[c] - low->mean[c];
          box.axis = c;
        }
      }
      box.spread = last - first > 1 ? longest * std::sqrt(count) : 0;
      return box;
    };
    std::vector<Box> boxes{measured(0, bins.size())};
    while (boxes.size() < 256) {
      const auto widest = std::max_element(boxes.begin(), boxes.end(), [](const Box& a, const Box& b) { return a.spread < b.spread; });
      if (widest->spread == 0) break;
      const Box box = *widest;
      std::sort(bins.begin() + static_cast<int64_t>(box.first), bins.begin() + static_cast<int64_t>(box.last),
                [&](const Bin& a, const Bin& b) { return a.mean[box.axis] < b.mean[box.axis]; });
      double half = 0;
      for (size_t i = box.first; i < box.last; ++i) half += bins[i].count / 2;
      size_t middle = box.first;
      for (double count = 0; count < half; ++middle) count += bins[middle].count;
      middle = std::clamp(middle, box.first + 1, box.last - 1);
      *widest = measured(box.first, middle);
      boxes.push_back(measured(middle, box.last));
    }
    for (const Box& box : boxes) {
      std::array<double, 3> sum{};
      double count = 0;
      for (size_t i = box.first; i < box.last; ++i) {
        for (size_t c = 0; c < 3; ++c) sum[c] += bins[i].mean[c] * bins[i].count;
        count += bins[i].count;
      }
      Colour mean{};
      for (size_t c = 0; c < 3; ++c) mean[c] = static_cast<uint8_t>(std::lround(sum[c] / count));
      colours_.push_back(mean);
    }
  }

  uint16_t nearest(const uint8_t* rgb) const {
    int best = 1 << 30;
    uint16_t found = 0;
    for (size_t i = 0; i < colours_.size(); ++i) {
      const int r = colours_[i][0] - rgb[0], g = colours_[i][1] - rgb[1], b = colours_[i][2] - rgb[2];
      if (const int distance = r * r + g * g + b * b; distance < best) {
        best = distance;
        found = static_cast<uint16_t>(i);
      }
    }
    return found;
  }

  std::vector<Colour> colours_;
  std::vector<uint16_t> index_;
};

// Codes of 9 to 12 bits for 8-bit symbols, in sub-blocks of at most 255 bytes.
class Lzw {
 public:
  explicit Lzw(std::string& out) : out_(out), keys_(kSlots), codes_(kSlots) {}

  void encode(const std::vector<uint8_t>& symbols) {
    out_ += '\x08';
    restart();
    uint32_t prefix = symbols[0];
    for (size_t i = 1; i < symbols.size(); ++i) {
      const uint32_t string = (prefix << 8 | symbols[i]) + 1;  // 0 marks an empty slot
      uint32_t slot = string * 2654435761u >> (32 - kSlotBits);
      while (keys_[slot] != 0 && keys_[slot] != string) slot = (slot + 1) % kSlots;
      if (keys_[slot] == string) {
        prefix = codes_[slot];
        continue;
      }
      put(prefix);
      prefix = symbols[i];
      if (next_ == 4096) {
        restart();
        continue;
      }
      keys_[slot] = string;
      codes_[slot] = static_cast<uint16_t>(next_);
      // The decoder's table lags by one entry: the width grows once the code that no longer fits has been defined.
      if (next_++ == uint32_t{1} << width_) ++width_;
    }
    put(prefix);
    if (next_ == uint32_t{1} << width_ && width_ < 12) ++width_;
    put(kEnd);
    if (bits_ > 0) byte(static_cast<uint8_t>(buffer_));
    flush();
    out_ += '\0';
  }

 private:
  static constexpr uint32_t kClear = 256, kEnd = 257, kSlotBits = 13, kSlots = 1 << kSlotBits;

  void restart() {
    put(kClear);
    std::fill(keys_.begin(), keys_.end(), 0);
    next_ = kEnd + 1;
    width_ = 9;
  }
  void put(uint32_t code) {
    buffer_ |= code << bits_;
    for (bits_ += width_; bits_ >= 8; bits_ -= 8, buffer_ >>= 8) byte(static_cast<uint8_t>(buffer_));
  }
  void byte(uint8_t value) {
    block_ += static_cast<char>(value);
    if (block_.size() == 255) flush();
  }
  void flush() {
    if (block_.empty()) return;
    out_ += static_cast<char>(block_.size());
    out_ += block_;
    block_.clear();
  }

  std::string& out_;
  std::string block_;
  std::vector<uint32_t> keys_;
  std::vector<uint16_t> codes_;
  uint32_t next_ = 0, width_ = 9, buffer_ = 0, bits_ = 0;
};

void put16(std::string& out, int64_t value) {
  out += static_cast<char>(value & 0xFF);
  out += static_cast<char>(value >> 8 & 0xFF);
}

}  // namespace

std::string encode_gif(const std::vector<const uint8_t*>& frames, int64_t height, int64_t width, double fps) {
  const int64_t pixels = height * width;
  Palette palette(frames, pixels);
  std::string out = "GIF89a";
  put16(out, width);
  put16(out, height);
  out += {'\xF7', '\0', '\0'};  // a global table of 256 colours
  for (size_t i = 0; i < 256; ++i)
    for (size_t c = 0; c < 3; ++c) out += i < palette.colours().size() ? static_cast<char>(palette.colours()[i][c]) : '\0';
  out.append("\x21\xFF\x0BNETSCAPE2.0\x03\x01\x00\x00\x00", 19);  // repeat forever
  std::vector<uint8_t> symbols(static_cast<size_t>(pixels));
  for (size_t t = 0; t < frames.size(); ++t) {
    // Delays are hundredths of a second, rounded so that they add up to the length; viewers replace those below 2 by 10.
    const auto time = [&](size_t frame) { return std::llround(100.0 * static_cast<double>(frame) / fps); };
    out.append("\x21\xF9\x04\x04", 4);
    put16(out, std::clamp<int64_t>(time(t + 1) - time(t), 2, 65535));
    out.append("\0\0", 2);
    out += ',';
    put16(out, 0);
    put16(out, 0);
    put16(out, width);
    put16(out, height);
    out += '\0';
    for (size_t i = 0; i < symbols.size(); ++i) symbols[i] = palette(frames[t] + 3 * i);
    Lzw(out).encode(symbols);
  }
  out += ';';
  return out;
}

}  // namespace df::media
