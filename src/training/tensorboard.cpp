// SPDX-License-Identifier: MIT
#include "training/tensorboard.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>

#include "diffusion_forcing/core/error.hpp"

namespace df {

namespace {

constexpr std::array<uint32_t, 256> crc32c_table() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t value = i;
    for (int bit = 0; bit < 8; ++bit) value = value & 1 ? 0x82F63B78u ^ (value >> 1) : value >> 1;
    table[i] = value;
  }
  return table;
}

template <class T>
std::string little_endian(T value) {
  std::string bytes(sizeof(T), '\0');
  std::memcpy(bytes.data(), &value, sizeof(T));
  return bytes;
}

double now() { return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count(); }

// Protocol buffers, wire format: each field is a key (number and kind of value) and the value.
enum class Wire : uint64_t { varint = 0, fixed64 = 1, bytes = 2, fixed32 = 5 };

std::string varint(uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes += static_cast<char>(value | 0x80);
  return bytes + static_cast<char>(value);
}
std::string key(uint64_t field, Wire wire) { return varint(field << 3 | static_cast<uint64_t>(wire)); }
std::string integer(uint64_t field, int64_t value) { return key(field, Wire::varint) + varint(static_cast<uint64_t>(value)); }
std::string real64(uint64_t field, double value) { return key(field, Wire::fixed64) + little_endian(value); }
std::string real32(uint64_t field, float value) { return key(field, Wire::fixed32) + little_endian(value); }
std::string bytes(uint64_t field, const std::string& value) { return key(field, Wire::bytes) + varint(value.size()) + value; }

// Event { wall_time = 1; step = 2; and one of: file_version = 3, summary = 5, session_log = 7 }
std::string event(int64_t step, const std::string& what) { return real64(1, now()) + integer(2, step) + what; }

std::string host_name() {
  std::array<char, 256> name{};
  return ::gethostname(name.data(), name.size() - 1) == 0 && name[0] ? name.data() : "localhost";
}

}  // namespace

uint32_t crc32c(std::string_view data) {
  static constexpr auto table = crc32c_table();
  uint32_t value = 0xFFFFFFFFu;
  for (const char c : data) value = table[(value ^ static_cast<uint8_t>(c)) & 0xFF] ^ (value >> 8);
  return ~value;
}

uint32_t masked_crc32c(std::string_view data) {
  const uint32_t crc = crc32c(data);
  return (crc >> 15 | crc << 17) + 0xA282EAD8u;
}

EventFile::EventFile(const std::filesystem::path& folder, int64_t first_step) {
  std::error_code failed;
  std::filesystem::create_directories(folder, failed);
  const std::string base = fmt::format("events.out.tfevents.{}.{}.{}", static_cast<int64_t>(now()), host_name(), ::getpid());
  path_ = folder / base;
  for (int i = 1; std::filesystem::exists(path_); ++i) path_ = folder / fmt::format("{}.{}", base, i);
  out_.open(path_, std::ios::binary);
  if (!out_) throw Error(path_.string() + ": cannot be written: " + std::strerror(errno));
  record(event(0, bytes(3, "brain.Event:2")));
  // SessionLog { status = 1 } with START: events of earlier files with this step or a later one are forgotten.
  if (first_step > 0) record(event(first_step + 1, bytes(7, integer(1, 1))));
  flush();
}

void EventFile::record(const std::string& message) {
  const std::string length = little_endian(static_cast<uint64_t>(message.size()));
  out_ << length << little_endian(masked_crc32c(length)) << message << little_endian(masked_crc32c(message));
}

// Summary { repeated Value value = 1 }
void EventFile::summary(int64_t step, const std::string& values) { record(event(step, bytes(5, values))); }

void EventFile::scalars(int64_t step, const std::map<std::string, double>& values) {
  std::string all;
  for (const auto& [tag, value] : values) all += bytes(1, bytes(1, tag) + real32(2, static_cast<float>(value)));  // tag, simple_value
  summary(step, all);
}

void EventFile::image(int64_t step, const std::string& tag, int64_t height, int64_t width, const std::string& encoded) {
  // Image { height = 1; width = 2; colorspace = 3 (3: RGB); encoded_image_string = 4 }
  const std::string image = integer(1, height) + integer(2, width) + integer(3, 3) + bytes(4, encoded);
  summary(step, bytes(1, bytes(1, tag) + bytes(4, image)));
}

void EventFile::text(int64_t step, const std::string& tag, const std::string& markdown) {
  // TensorProto { dtype = 1 (7: string); tensor_shape = 2 { dim = 2 { size = 1 } }; string_val = 8 }
  const std::string tensor = integer(1, 7) + bytes(2, bytes(2, integer(1, 1))) + bytes(8, markdown);
  // SummaryMetadata { plugin_data = 1 { plugin_name = 1 } }
  const std::string metadata = bytes(1, bytes(1, "text"));
  summary(step, bytes(1, bytes(1, tag) + bytes(8, tensor) + bytes(9, metadata)));
}

void EventFile::flush() {
  out_.flush();
  if (!out_) throw Error(path_.string() + ": cannot be written: " + std::strerror(errno));
}

}  // namespace df
