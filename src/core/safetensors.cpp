// SPDX-License-Identifier: MIT
#include "diffusion_forcing/core/safetensors.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>
#include <utility>
#include <vector>

#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/core/file.hpp"
#include "diffusion_forcing/core/shape.hpp"

namespace df {

static_assert(std::endian::native == std::endian::little, "safetensors data are little-endian and are read as they are");

namespace {

using nlohmann::json;

constexpr std::pair<std::string_view, at::ScalarType> dtypes[] = {
    {"BOOL", at::kBool},     {"U8", at::kByte},    {"I8", at::kChar},   {"I16", at::kShort},  {"U16", at::kUInt16},
    {"I32", at::kInt},       {"U32", at::kUInt32}, {"I64", at::kLong},  {"U64", at::kUInt64}, {"F16", at::kHalf},
    {"BF16", at::kBFloat16}, {"F32", at::kFloat},  {"F64", at::kDouble}};

constexpr const char* metadata_key = "__metadata__";
constexpr uint64_t prefix_bytes = 8;  // u64 length of the header

// One tensor as the header describes it; offsets count from the first byte after the header.
struct Entry {
  std::string name;
  at::ScalarType dtype{};
  Shape sizes;
  uint64_t begin = 0, end = 0;
};

// JSON objects may repeat a name; the parser would keep the last silently.
json parse_header(const std::string& text, const std::string& file) {
  std::set<std::string> names;
  const auto note_name = [&](int depth, json::parse_event_t event, json& value) {
    if (depth == 1 && event == json::parse_event_t::key && !names.insert(value.get<std::string>()).second)
      throw Error(fmt::format("{}: header: tensor {} appears twice", file, value.get<std::string>()));
    return true;
  };
  json header;
  try {
    header = json::parse(text, note_name);
  } catch (const json::exception& error) {
    throw Error(fmt::format("{}: header is not JSON: {}", file, error.what()));
  }
  if (!header.is_object()) throw Error(fmt::format("{}: header: expected a JSON object, got {}", file, header.type_name()));
  return header;
}

at::ScalarType dtype_of(const json& value, const std::string& where) {
  if (value.is_string())
    for (const auto& [name, dtype] : dtypes)
      if (name == value.get_ref<const std::string&>()) return dtype;
  throw Error(fmt::format("{}: unknown dtype {}", where, value.dump()));
}

// Bytes of a tensor; refuses sizes whose product does not fit.
uint64_t byte_size(const Shape& sizes, at::ScalarType dtype, const std::string& where) {
  uint64_t bytes = c10::elementSize(dtype);
  for (const int64_t size : sizes)
    if (__builtin_mul_overflow(bytes, static_cast<uint64_t>(size), &bytes) || bytes > uint64_t(std::numeric_limits<int64_t>::max()))
      throw Error(fmt::format("{}: shape {} is too large", where, to_string(sizes)));
  return bytes;
}

Entry parse_entry(const std::string& name, const json& value, const std::string& where) {
  if (!value.is_object() || value.size() != 3 || !value.contains("dtype") || !value.contains("shape") || !value.contains("data_offsets"))
    throw Error(fmt::format("{}: expected dtype, shape and data_offsets, got {}", where, value.dump()));
  Entry entry;
  entry.name = name;
  entry.dtype = dtype_of(value["dtype"], where);
  const auto is_size = [](const json& v) {
    return v.is_number_unsigned() && v.get<uint64_t>() <= uint64_t(std::numeric_limits<int64_t>::max());
  };
  const json& sizes = value["shape"];
  const json& offsets = value["data_offsets"];
  if (!sizes.is_array() || !std::all_of(sizes.begin(), sizes.end(), is_size))
    throw Error(fmt::format("{}: shape: expected a list of sizes, got {}", where, sizes.dump()));
  if (!offsets.is_array() || offsets.size() != 2 || !std::all_of(offsets.begin(), offsets.end(), is_size))
    throw Error(fmt::format("{}: data_offsets: expected [begin, end], got {}", where, offsets.dump()));
  entry.sizes = sizes.get<Shape>();
  entry.begin = offsets[0].get<uint64_t>();
  entry.end = offsets[1].get<uint64_t>();
  const uint64_t bytes = byte_size(entry.sizes, entry.dtype, where);
  if (entry.end < entry.begin || entry.end - entry.begin != bytes)
    throw Error(fmt::format("{}: data_offsets: expected {} bytes for {} {}, got [{}, {}]", where, bytes, c10::toString(entry.dtype),
                            to_string(entry.sizes), entry.begin, entry.end));
  return entry;
}

// Every byte of the data belongs to exactly one tensor.
void check_layout(std::vector<Entry>& entries, uint64_t data_bytes, const std::string& file) {
  std::sort(entries.begin(), entries.end(),
            [](const Entry& a, const Entry& b) { return std::pair(a.begin, a.end) < std::pair(b.begin, b.end); });
  uint64_t position = 0;
  for (const Entry& entry : entries) {
    if (entry.end > data_bytes)
      throw Error(fmt::format("{}: tensor {}: data_offsets: expected at most {}, got {}; the file is cut short", file, entry.name,
                              data_bytes, entry.end));
    if (entry.begin != position)
      throw Error(fmt::format("{}: tensor {}: data_offsets: expected to begin at {}, got {} ({})", file, entry.name, position, entry.begin,
                              entry.begin < position ? "overlaps another tensor" : "leaves a hole"));
    position = entry.end;
  }
  if (position != data_bytes) throw Error(fmt::format("{}: expected {} bytes of data, got {}", file, position, data_bytes));
}

std::map<std::string, std::string> parse_metadata(const json& value, const std::string& file) {
  std::map<std::string, std::string> metadata;
  if (!value.is_object()) throw Error(fmt::format("{}: {}: expected an object of strings, got {}", file, metadata_key, value.dump()));
  for (const auto& [key, text] : value.items()) {
    if (!text.is_string()) throw Error(fmt::format("{}: {}: {}: expected a string, got {}", file, metadata_key, key, text.dump()));
    metadata[key] = text.get<std::string>();
  }
  return metadata;
}

std::string make_header(const SafeTensors& content, const std::vector<Entry>& entries, const std::string& file) {
  json header = json::object();
  if (!content.metadata.empty()) header[metadata_key] = content.metadata;
  for (const Entry& entry : entries) {
    const auto name = std::find_if(std::begin(dtypes), std::end(dtypes), [&](const auto& row) { return row.second == entry.dtype; });
    if (name == std::end(dtypes))
      throw Error(fmt::format("{}: tensor {}: dtype {} cannot be stored", file, entry.name, c10::toString(entry.dtype)));
    header[entry.name] = {{"dtype", name->first}, {"shape", entry.sizes}, {"data_offsets", {entry.begin, entry.end}}};
  }
  std::string text;
  try {
    text = header.dump();
  } catch (const json::exception& error) {
    throw Error(fmt::format("{}: names and metadata must be UTF-8: {}", file, error.what()));
  }
  text.resize((text.size() + 7) / 8 * 8, ' ');
  return text;
}

}  // namespace

SafeTensors read_safetensors(const std::filesystem::path& path) {
  const std::string file = path.string();
  if (fs::is_directory(path)) throw Error(file + ": expected a file, got a folder");
  std::ifstream in(path, std::ios::binary);
  if (!in) throw Error(fmt::format("{}: cannot be read: {}", file, std::strerror(errno)));
  const uint64_t file_bytes = fs::file_size(path);
  uint64_t header_bytes = 0;
  if (file_bytes < prefix_bytes || !in.read(reinterpret_cast<char*>(&header_bytes), prefix_bytes))
    throw Error(fmt::format("{}: expected at least {} bytes, got {}", file, prefix_bytes, file_bytes));
  if (header_bytes > file_bytes - prefix_bytes)
    throw Error(
        fmt::format("{}: not a safetensors file, or cut short: header of {} bytes in a file of {}", file, header_bytes, file_bytes));
  std::string text(header_bytes, '\0');
  in.read(text.data(), static_cast<std::streamsize>(header_bytes));
  const json header = parse_header(text, file);

  SafeTensors content;
  std::vector<Entry> entries;
  for (const auto& [name, value] : header.items()) {
    if (name == metadata_key)
      content.metadata = parse_metadata(value, file);
    else
      entries.push_back(parse_entry(name, value, fmt::format("{}: tensor {}", file, name)));
  }
  check_layout(entries, file_bytes - prefix_bytes - header_bytes, file);
  for (const Entry& entry : entries) {  // in file order
    Tensor tensor = at::empty(entry.sizes, entry.dtype);
    in.read(static_cast<char*>(tensor.data_ptr()), static_cast<std::streamsize>(entry.end - entry.begin));
    if (!in) throw Error(fmt::format("{}: tensor {}: cannot be read: {}", file, entry.name, std::strerror(errno)));
    content.tensors.emplace(entry.name, std::move(tensor));
  }
  return content;
}

void write_safetensors(const std::filesystem::path& path, const SafeTensors& content) {
  const std::string file = path.string();
  std::vector<Entry> entries;
  for (const auto& [name, tensor] : content.tensors) {
    if (name == metadata_key) throw Error(fmt::format("{}: {} is not a tensor's name", file, name));
    if (!tensor.defined()) throw Error(fmt::format("{}: tensor {} is undefined", file, name));
    entries.push_back({name, tensor.scalar_type(), tensor.sizes().vec(), 0, 0});
  }
  std::stable_sort(entries.begin(), entries.end(),
                   [](const Entry& a, const Entry& b) { return c10::elementSize(a.dtype) > c10::elementSize(b.dtype); });
  uint64_t position = 0;
  for (Entry& entry : entries) {
    entry.begin = position;
    position = entry.end = position + byte_size(entry.sizes, entry.dtype, fmt::format("{}: tensor {}", file, entry.name));
  }
  const std::string header = make_header(content, entries, file);
  write_atomically(path, [&](const fs::path& temporary) {
    std::ofstream out(temporary, std::ios::binary);
    const uint64_t header_bytes = header.size();
    out.write(reinterpret_cast<const char*>(&header_bytes), prefix_bytes);
    out.write(header.data(), static_cast<std::streamsize>(header.size()));
    for (const Entry& entry : entries) {
      const Tensor tensor = content.tensors.at(entry.name).detach().to(at::kCPU).contiguous();
      out.write(static_cast<const char*>(tensor.data_ptr()), static_cast<std::streamsize>(entry.end - entry.begin));
    }
    out.flush();
    if (!out) throw Error(fmt::format("{}: cannot be written: {}", file, std::strerror(errno)));
  });
}

}  // namespace df
