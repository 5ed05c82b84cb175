// SPDX-License-Identifier: MIT
#include "media/video_cache.hpp"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <type_traits>

#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/core/file.hpp"

namespace df::media {

namespace {

static_assert(std::is_trivially_copyable_v<VideoIndex::Restart>);

// Values as they lie in memory, lists after their length.
class Packer {
 public:
  template <class T>
  void operator()(const T& value) {
    if constexpr (std::is_arithmetic_v<T>) {
      bytes.append(reinterpret_cast<const char*>(&value), sizeof(value));
    } else {
      (*this)(static_cast<uint64_t>(value.size()));
      bytes.append(reinterpret_cast<const char*>(value.data()), value.size() * sizeof(value[0]));
    }
  }
  std::string bytes;
};

class Unpacker {
 public:
  explicit Unpacker(std::string_view bytes) : bytes_(bytes) {}
  template <class T>
  void operator()(T& value) {
    if constexpr (std::is_arithmetic_v<T>) {
      take(&value, sizeof(value));
    } else {
      uint64_t size = 0;
      (*this)(size);
      whole_ = whole_ && size <= bytes_.size() / sizeof(value[0]);
      if (!whole_) return;
      value.resize(size);
      take(value.data(), size * sizeof(value[0]));
    }
  }
  bool whole() const { return whole_ && bytes_.empty(); }

 private:
  void take(void* to, size_t size) {
    whole_ = whole_ && size <= bytes_.size();
    if (!whole_) return;
    std::memcpy(to, bytes_.data(), size);
    bytes_.remove_prefix(size);
  }
  std::string_view bytes_;
  bool whole_ = true;
};

template <class Index, class Visitor>
void visit(Index& index, Visitor& v) {
  v(index.height), v(index.width), v(index.fps), v(index.stream), v(index.reorder), v(index.tick_num), v(index.tick_den), v(index.end);
  v(index.times), v(index.shown), v(index.restarts);
}

bool is_sound(const VideoIndex& index) {
  for (const int32_t packet : index.shown)
    if (packet < 0 || static_cast<size_t>(packet) >= index.times.size()) return false;
  for (const auto& restart : index.restarts)
    if (restart.packet < 0 || static_cast<size_t>(restart.packet) >= index.times.size()) return false;
  return !index.shown.empty() && index.height > 0 && index.width > 0 && index.tick_num > 0 && index.tick_den > 0;
}

uint64_t fnv(std::string_view text) {
  uint64_t value = 14695981039346656037ull;
  for (const char c : text) value = (value ^ static_cast<uint8_t>(c)) * 1099511628211ull;
  return value;
}

std::string key_of(const fs::path& path) {
  struct stat file {};
  if (::stat(path.c_str(), &file) != 0) return "";
  return fmt::format("{}|{}|{}|{}.{:09}|{}", video_backend().version(), file.st_size, file.st_ino, file.st_mtim.tv_sec,
                     file.st_mtim.tv_nsec, path.string());
}

// A cache: without flushing to the disk, and what fails is left for the next time.
void keep(const fs::path& entry, const std::string& bytes) {
  static std::atomic<uint64_t> count{0};
  std::error_code failed;
  fs::create_directories(entry.parent_path(), failed);
  const fs::path partial = entry.parent_path() / fmt::format(".partial-{}-{}", ::getpid(), count++);
  std::ofstream out(partial, std::ios::binary);
  out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  out.close();
  if (out) fs::rename(partial, entry, failed);
  if (!out || failed) fs::remove(partial, failed);
}

}  // namespace

std::string pack_index(const VideoIndex& index, const std::string& key) {
  Packer packer;
  packer(key);
  visit(index, packer);
  packer(crc32(packer.bytes));
  return packer.bytes;
}

std::optional<VideoIndex> unpack_index(std::string_view bytes, const std::string& key) {
  uint32_t sum = 0;
  if (bytes.size() < sizeof(sum)) return {};
  std::memcpy(&sum, bytes.data() + bytes.size() - sizeof(sum), sizeof(sum));
  bytes.remove_suffix(sizeof(sum));
  if (crc32(bytes) != sum) return {};
  Unpacker unpacker(bytes);
  std::string kept_key;
  VideoIndex index;
  unpacker(kept_key);
  visit(index, unpacker);
  if (!unpacker.whole() || kept_key != key || !is_sound(index)) return {};
  return index;
}

fs::path cache_entry(const fs::path& path) {
  std::error_code failed;
  const fs::path whole = fs::canonical(path, failed);
  const char* caches = std::getenv("XDG_CACHE_HOME");
  const char* home = std::getenv("HOME");
  fs::path folder;
  if (caches && fs::path(caches).is_absolute())
    folder = caches;
  else if (home && fs::path(home).is_absolute())
    folder = fs::path(home) / ".cache";
  if (failed || folder.empty()) return {};
  const std::string name = fmt::format("{:016x}", fnv(whole.string()));
  return folder / "diffusion_forcing" / "videos" / name.substr(0, 2) / name;
}

std::shared_ptr<const VideoIndex> index_of(const fs::path& path) {
  std::error_code failed;
  const fs::path whole = fs::canonical(path, failed);
  const std::string key = failed ? "" : key_of(whole);
  const fs::path entry = key.empty() ? fs::path() : cache_entry(path);
  if (!entry.empty()) {
    std::ifstream in(entry, std::ios::binary);
    if (in) {
      const std::string bytes{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
      if (auto index = unpack_index(bytes, key)) return std::make_shared<const VideoIndex>(std::move(*index));
    }
  }
  auto index = std::make_shared<const VideoIndex>(video_backend().make_index(path));
  if (!entry.empty() && key_of(whole) == key) keep(entry, pack_index(*index, key));
  return index;
}

}  // namespace df::media
