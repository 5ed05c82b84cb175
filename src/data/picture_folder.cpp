// SPDX-License-Identifier: MIT
#include "data/picture_folder.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cstring>
#include <utility>

#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/core/file.hpp"
#include "media/backend.hpp"

namespace df::data {

namespace {

// True where `a` comes first: runs of digits compare as numbers.
bool in_order(const std::string& a, const std::string& b) {
  const auto digit = [](char c) { return std::isdigit(static_cast<unsigned char>(c)) != 0; };
  size_t i = 0, j = 0;
  while (i < a.size() && j < b.size()) {
    if (!digit(a[i]) || !digit(b[j])) {
      if (a[i] != b[j]) return a[i] < b[j];
      ++i, ++j;
      continue;
    }
    const auto number = [&](const std::string& text, size_t& at) {
      while (at < text.size() && text[at] == '0') ++at;
      const size_t first = at;
      while (at < text.size() && digit(text[at])) ++at;
      return std::pair{at - first, text.substr(first, at - first)};  // more digits: larger
    };
    const auto left = number(a, i), right = number(b, j);
    if (left != right) return left < right;
  }
  return std::pair{a.size() - i, a} < std::pair{b.size() - j, b};
}

class PictureFolder final : public media::FrameSource {
 public:
  explicit PictureFolder(const fs::path& folder) : files_(pictures_in(folder)) {
    if (files_.empty()) throw Error(folder.string() + ": expected PNG or JPEG pictures, got none");
    const media::Image first = load(0);
    height_ = first.height;
    width_ = first.width;
  }
  int64_t frames() const override { return static_cast<int64_t>(files_.size()); }
  int64_t height() const override { return height_; }
  int64_t width() const override { return width_; }
  bool read(int64_t frame, uint8_t* rgb) override {
    const media::Image image = load(frame);
    if (image.height == height_ && image.width == width_)
      std::memcpy(rgb, image.rgb.data(), image.rgb.size());
    else
      media::backend().fit(image.rgb.data(), image.height, image.width, rgb, height_, width_);
    return true;
  }

 private:
  media::Image load(int64_t frame) const {
    const fs::path& file = files_.at(static_cast<size_t>(frame));
    return media::backend().decode_image(read_file(file), file.string());
  }
  std::vector<fs::path> files_;
  int64_t height_ = 0, width_ = 0;
};

}  // namespace

bool is_picture(const fs::path& path) {
  std::string ending = path.extension();
  std::transform(ending.begin(), ending.end(), ending.begin(), [](unsigned char c) { return std::tolower(c); });
  return ending == ".png" || ending == ".jpg" || ending == ".jpeg";
}

std::vector<fs::path> pictures_in(const fs::path& folder) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(folder))
    if (is_picture(entry.path()) && !entry.path().filename().string().starts_with('.') && entry.is_regular_file())
      files.push_back(entry.path());
  std::sort(files.begin(), files.end(),
            [](const fs::path& a, const fs::path& b) { return in_order(a.filename().string(), b.filename().string()); });
  return files;
}

std::unique_ptr<media::FrameSource> open_pictures(const fs::path& folder) { return std::make_unique<PictureFolder>(folder); }

}  // namespace df::data
