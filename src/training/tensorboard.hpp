// SPDX-License-Identifier: MIT
// TensorBoard's event files: records framed as in TFRecord, each an Event message of tensorflow/core/util/event.proto. The few messages
// that are needed are encoded by hand; LibTorch carries a protobuf library of its own, which a second one would collide with.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <string_view>

namespace df {

// CRC-32C (Castagnoli) of bytes; TFRecord stores it rotated and offset.
uint32_t crc32c(std::string_view bytes);
uint32_t masked_crc32c(std::string_view bytes);

class EventFile {
 public:
  // A new file events.out.tfevents.<seconds>.<host>.<pid> in `folder`. first_step > 0: TensorBoard forgets what earlier files hold of
  // steps after it.
  EventFile(const std::filesystem::path& folder, int64_t first_step);

  void scalars(int64_t step, const std::map<std::string, double>& values);
  // encoded: the bytes of a PNG, or of a GIF, which TensorBoard shows moving.
  void image(int64_t step, const std::string& tag, int64_t height, int64_t width, const std::string& encoded);
  void text(int64_t step, const std::string& tag, const std::string& markdown);
  void flush();  // throws df::Error naming the file where it cannot be written
  const std::filesystem::path& path() const { return path_; }

 private:
  void summary(int64_t step, const std::string& values);
  void record(const std::string& event);

  std::filesystem::path path_;
  std::ofstream out_;
};

}  // namespace df
