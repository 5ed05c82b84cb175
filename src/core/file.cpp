// SPDX-License-Identifier: MIT
#include "diffusion_forcing/core/file.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <vector>

#include "diffusion_forcing/core/error.hpp"

namespace df {

namespace {

void flush_to_disk(const fs::path& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY);
  if (descriptor < 0) return;  // a folder without read permission: the rename still orders the content on journalling file systems
  ::fsync(descriptor);
  ::close(descriptor);
}

constexpr std::array<uint32_t, 256> crc_table() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t value = i;
    for (int bit = 0; bit < 8; ++bit) value = value & 1 ? 0xEDB88320u ^ (value >> 1) : value >> 1;
    table[i] = value;
  }
  return table;
}

}  // namespace

std::string read_file(const fs::path& path) {
  if (fs::is_directory(path)) throw Error(path.string() + ": expected a file, got a folder");
  std::ifstream in(path, std::ios::binary);
  if (!in) throw Error(path.string() + ": cannot be read: " + std::strerror(errno));
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

void write_atomically(const fs::path& path, const std::function<void(const fs::path&)>& write) {
  static std::atomic<uint64_t> count{0};
  std::error_code failed;
  if (path.has_parent_path()) fs::create_directories(path.parent_path(), failed);
  if (failed) throw Error(path.parent_path().string() + ": cannot be created: " + failed.message());
  // The ending stays, for writers that choose a format by it.
  fs::path temporary = path;
  temporary.replace_filename(".partial-" + std::to_string(::getpid()) + "-" + std::to_string(count++) + "-" + path.filename().string());
  try {
    write(temporary);
    flush_to_disk(temporary);
    fs::rename(temporary, path);
  } catch (...) {
    fs::remove_all(temporary, failed);
    throw;
  }
}

void write_atomically(const fs::path& path, std::string_view content) {
  write_atomically(path, [&](const fs::path& temporary) {
    std::ofstream out(temporary, std::ios::binary);
    out.write(content.data(), static_cast<std::streamsize>(content.size()));
    out.flush();
    if (!out) throw Error(path.string() + ": cannot be written: " + std::strerror(errno));
  });
}

uint32_t crc32(std::string_view bytes, uint32_t start) {
  static constexpr auto table = crc_table();
  uint32_t value = ~start;
  for (const char c : bytes) value = table[(value ^ static_cast<uint8_t>(c)) & 0xFF] ^ (value >> 8);
  return ~value;
}

uint32_t crc32_of_file(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw Error(path.string() + ": cannot be read: " + std::strerror(errno));
  std::vector<char> block(1 << 20);
  uint32_t value = 0;
  while (in) {
    in.read(block.data(), static_cast<std::streamsize>(block.size()));
    value = crc32({block.data(), static_cast<size_t>(in.gcount())}, value);
  }
  return value;
}

fs::path find_installed(const fs::path& name, const std::string& folder) {
  std::error_code ignored;
  const fs::path program = fs::read_symlink("/proc/self/exe", ignored);
  const fs::path bin = program.parent_path();
  // <prefix>/bin/df-train, or <source>/build*/bin/df-train.
  const std::vector<fs::path> places = {bin / ".." / "share" / "diffusion_forcing" / folder / name, bin / ".." / ".." / folder / name};
  std::string looked;
  for (const auto& place : places) {
    const fs::path path = place.lexically_normal();
    if (fs::exists(path, ignored)) return path;
    looked += (looked.empty() ? "" : ", ") + path.string();
  }
  throw Error(name.string() + ": not found; looked for " + name.string() + ", " + looked);
}

}  // namespace df
