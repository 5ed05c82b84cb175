// SPDX-License-Identifier: MIT
#include "diffusion_forcing/core/npy.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <zip.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <fstream>
#include <functional>
#include <optional>
#include <vector>

#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/core/file.hpp"
#include "diffusion_forcing/core/shape.hpp"

namespace df {

namespace {

static_assert(std::endian::native == std::endian::little, "arrays are read and written as they lie in memory");

struct Dtype {
  std::string_view descr;
  at::ScalarType type;
};
constexpr std::array<Dtype, 9> kDtypes{{{"|b1", at::kBool},
                                        {"|i1", at::kChar},
                                        {"|u1", at::kByte},
                                        {"<i2", at::kShort},
                                        {"<i4", at::kInt},
                                        {"<i8", at::kLong},
                                        {"<f2", at::kHalf},
                                        {"<f4", at::kFloat},
                                        {"<f8", at::kDouble}}};
constexpr std::string_view kMagic = "\x93NUMPY";

// Fills exactly `size` bytes or throws.
using Read = std::function<void(char* to, size_t size)>;

// The text after `'key':` in the header's Python dictionary, without leading spaces.
std::string_view value_of(std::string_view header, std::string_view key, const std::string& name) {
  const auto at = header.find(fmt::format("'{}':", key));
  if (at == std::string_view::npos) throw Error(fmt::format("{}: expected a .npy header with '{}', got {}", name, key, header));
  header.remove_prefix(at + key.size() + 3);
  header.remove_prefix(std::min(header.find_first_not_of(' '), header.size()));
  return header;
}

at::ScalarType dtype_of(std::string_view header, const std::string& name) {
  const std::string_view value = value_of(header, "descr", name);
  const auto end = value.size() > 1 ? value.find(value[0], 1) : std::string_view::npos;
  const std::string descr(value[0] == '\'' && end != std::string_view::npos ? value.substr(1, end - 1) : value.substr(0, 40));
  for (const Dtype& known : kDtypes)
    if (descr == known.descr) return known.type;
  std::string expected;
  for (const Dtype& known : kDtypes) expected += (expected.empty() ? "" : ", ") + std::string(known.descr);
  const char* hint = descr.size() > 1 && descr[0] == '>' ? " (big-endian)" : "";
  throw Error(fmt::format("{}: expected a dtype among {}, got {}{}", name, expected, descr, hint));
}

Shape shape_of(std::string_view header, const std::string& name) {
  const std::string_view value = value_of(header, "shape", name);
  const auto end = value.find(')');
  const auto fail = [&] { return Error(fmt::format("{}: expected a .npy shape like (2, 3), got {}", name, value.substr(0, 40))); };
  if (value.empty() || value[0] != '(' || end == std::string_view::npos) throw fail();
  Shape sizes;
  for (size_t i = 1; i < end;) {
    if (value[i] == ' ' || value[i] == ',') {
      ++i;
      continue;
    }
    int64_t size = 0;
    const size_t first = i;
    for (; i < end && std::isdigit(static_cast<unsigned char>(value[i])) && i - first < 18; ++i) size = size * 10 + (value[i] - '0');
    if (i == first || (value[i] != ',' && value[i] != ')')) throw fail();
    sizes.push_back(size);
  }
  return sizes;
}

// `size`: bytes of the whole array file.
Tensor parse_npy(const Read& read, uint64_t size, const std::string& name) {
  std::array<char, 12> start{};
  if (size < start.size()) throw Error(fmt::format("{}: expected a .npy array, got {} bytes", name, size));
  read(start.data(), 10);
  if (std::string_view(start.data(), kMagic.size()) != kMagic)
    throw Error(name + ": expected a .npy array (magic \\x93NUMPY), got other content");
  const int version = start[6];
  if (version < 1 || version > 3) throw Error(fmt::format("{}: expected .npy version 1, 2 or 3, got {}", name, version));
  const auto byte = [&](int i) { return static_cast<uint64_t>(static_cast<uint8_t>(start[i])); };
  uint64_t length = byte(8) | byte(9) << 8, used = 10;
  if (version > 1) {
    read(start.data() + 10, 2);
    length |= byte(10) << 16 | byte(11) << 24;
    used = 12;
  }
  if (used + length > size) throw Error(fmt::format("{}: truncated: expected a header of {} bytes, got {}", name, length, size - used));
  std::string header(length, '\0');
  read(header.data(), length);
  const uint64_t data = size - used - length;

  const at::ScalarType type = dtype_of(header, name);
  Shape sizes = shape_of(header, name);
  uint64_t bytes = c10::elementSize(type);
  for (const int64_t n : sizes)
    if (__builtin_mul_overflow(bytes, static_cast<uint64_t>(n), &bytes))
      throw Error(fmt::format("{}: shape {} is too large", name, to_string(sizes)));
  if (bytes != data)
    throw Error(fmt::format("{}: {}: expected {} bytes of data for {} {}, got {}", name, data < bytes ? "truncated" : "too long", bytes,
                            c10::toString(type), to_string(sizes), data));
  const bool fortran = value_of(header, "fortran_order", name).rfind("True", 0) == 0;
  if (fortran) std::reverse(sizes.begin(), sizes.end());
  Tensor array = at::empty(sizes, type);
  if (bytes) read(static_cast<char*>(array.data_ptr()), bytes);
  return fortran ? array.numpy_T().contiguous() : array;
}

std::string header_of(const Tensor& array, const std::string& name) {
  const auto known = std::find_if(kDtypes.begin(), kDtypes.end(), [&](const Dtype& d) { return d.type == array.scalar_type(); });
  if (known == kDtypes.end()) throw Error(fmt::format("{}: {} tensors have no NumPy dtype", name, c10::toString(array.scalar_type())));
  std::string sizes;
  for (const int64_t n : array.sizes()) sizes += fmt::format("{}, ", n);
  if (array.dim() > 1) sizes.resize(sizes.size() - 2);
  std::string dictionary = fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': ({}), }}", known->descr, sizes);
  dictionary.resize((10 + dictionary.size() + 1 + 63) / 64 * 64 - 10 - 1, ' ');  // the data starts at a multiple of 64
  dictionary += '\n';
  std::string header(kMagic);
  header += {'\1', '\0', static_cast<char>(dictionary.size() & 0xFF), static_cast<char>(dictionary.size() >> 8)};
  return header + dictionary;
}

Tensor plain(const Tensor& array) { return array.detach().to(at::kCPU).contiguous(); }

struct CloseArchive {
  void operator()(zip_t* archive) const { zip_discard(archive); }
};
using Archive = std::unique_ptr<zip_t, CloseArchive>;
struct CloseEntry {
  void operator()(zip_file_t* entry) const { zip_fclose(entry); }
};

Archive open_archive(const fs::path& path) {
  if (!fs::exists(path)) throw Error(path.string() + ": no such file");
  int code = 0;
  Archive archive(zip_open(path.c_str(), ZIP_RDONLY, &code));
  if (archive) return archive;
  zip_error_t error;
  zip_error_init_with_code(&error, code);
  const std::string message = zip_error_strerror(&error);
  zip_error_fini(&error);
  throw Error(fmt::format("{}: expected an .npz archive: {}", path.string(), message));
}

Tensor read_entry(zip_t* archive, uint64_t index, const std::string& name) {
  zip_stat_t stat;
  zip_stat_init(&stat);
  if (zip_stat_index(archive, index, 0, &stat) != 0) throw Error(name + ": " + zip_strerror(archive));
  const std::unique_ptr<zip_file_t, CloseEntry> entry(zip_fopen_index(archive, index, 0));
  if (!entry) throw Error(name + ": " + zip_strerror(archive));
  const Read read = [&](char* to, size_t size) {
    while (size > 0) {
      const zip_int64_t got = zip_fread(entry.get(), to, size);
      if (got < 0) throw Error(name + ": damaged: " + zip_file_strerror(entry.get()));
      if (got == 0) throw Error(name + ": truncated");
      to += got;
      size -= static_cast<size_t>(got);
    }
  };
  Tensor array = parse_npy(read, stat.size, name);
  char beyond = 0;
  if (zip_fread(entry.get(), &beyond, 1) != 0)  // the checksum is compared when the end is met
    throw Error(name + ": damaged: " + zip_file_strerror(entry.get()));
  return array;
}

// Calls f(name without ".npy", index) for each array.
void for_each_array(zip_t* archive, const std::function<void(const std::string&, uint64_t)>& f) {
  const zip_int64_t count = zip_get_num_entries(archive, 0);
  for (zip_int64_t i = 0; i < count; ++i) {
    const std::string name = zip_get_name(archive, static_cast<uint64_t>(i), 0);
    if (name.ends_with(".npy")) f(name.substr(0, name.size() - 4), static_cast<uint64_t>(i));
  }
}

}  // namespace

Tensor read_npy(const fs::path& path) {
  std::error_code failed;
  const auto size = fs::file_size(path, failed);
  std::ifstream in(path, std::ios::binary);
  if (failed || !in) throw Error(path.string() + ": cannot be read: " + (failed ? failed.message() : std::strerror(errno)));
  const Read read = [&](char* to, size_t n) {
    if (!in.read(to, static_cast<std::streamsize>(n))) throw Error(path.string() + ": truncated");
  };
  return parse_npy(read, size, path.string());
}

void write_npy(const fs::path& path, const Tensor& array) {
  const Tensor data = plain(array);
  const std::string header = header_of(data, path.string());
  write_atomically(path, [&](const fs::path& temporary) {
    std::ofstream out(temporary, std::ios::binary);
    out.write(header.data(), static_cast<std::streamsize>(header.size()));
    out.write(static_cast<const char*>(data.data_ptr()), static_cast<std::streamsize>(data.nbytes()));
    out.flush();
    if (!out) throw Error(path.string() + ": cannot be written: " + std::strerror(errno));
  });
}

std::map<std::string, Tensor> read_npz(const fs::path& path) {
  const Archive archive = open_archive(path);
  std::map<std::string, Tensor> arrays;
  for_each_array(archive.get(), [&](const std::string& name, uint64_t index) {
    arrays[name] = read_entry(archive.get(), index, path.string() + ": " + name);
  });
  return arrays;
}

Tensor read_npz(const fs::path& path, const std::string& only) {
  const Archive archive = open_archive(path);
  std::optional<uint64_t> found;
  std::string names;
  for_each_array(archive.get(), [&](const std::string& name, uint64_t index) {
    if (name == only) found = index;
    names += (names.empty() ? "" : ", ") + name;
  });
  if (!found) throw Error(fmt::format("{}: expected an array '{}', got: {}", path.string(), only, names.empty() ? "no arrays" : names));
  return read_entry(archive.get(), *found, path.string() + ": " + only);
}

namespace {

// The first moment a zip entry can name, in every time zone: the same arrays give the same bytes whenever they are written.
std::time_t no_time() {
  std::tm first{};
  first.tm_year = 80;
  first.tm_mday = 1;
  first.tm_isdst = -1;
  return std::mktime(&first);
}

}  // namespace

void write_npz(const fs::path& path, const std::map<std::string, Tensor>& arrays) {
  std::vector<std::string> contents;  // libzip reads them when the archive is closed
  contents.reserve(arrays.size());
  write_atomically(path, [&](const fs::path& temporary) {
    int code = 0;
    Archive archive(zip_open(temporary.c_str(), ZIP_CREATE | ZIP_TRUNCATE, &code));
    if (!archive) throw Error(fmt::format("{}: cannot be written (libzip error {})", path.string(), code));
    const auto fail = [&] { return Error(path.string() + ": cannot be written: " + zip_strerror(archive.get())); };
    for (const auto& [name, array] : arrays) {
      const Tensor data = plain(array);
      std::string& content = contents.emplace_back(header_of(data, path.string() + ": " + name));
      content.append(static_cast<const char*>(data.data_ptr()), data.nbytes());
      zip_source_t* source = zip_source_buffer(archive.get(), content.data(), content.size(), 0);
      if (!source) throw fail();
      const zip_int64_t index = zip_file_add(archive.get(), (name + ".npy").c_str(), source, ZIP_FL_ENC_UTF_8);
      if (index < 0) {
        zip_source_free(source);
        throw fail();
      }
      zip_set_file_compression(archive.get(), static_cast<uint64_t>(index), ZIP_CM_DEFLATE,
                               1);  // level 1: frames compress little more at 9
      if (zip_file_set_mtime(archive.get(), static_cast<uint64_t>(index), no_time(), 0) != 0) throw fail();
    }
    if (zip_close(archive.get()) != 0) throw fail();
    archive.release();
  });
}

}  // namespace df
