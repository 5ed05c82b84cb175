// SPDX-License-Identifier: MIT
#include "diffusion_forcing/training/metric_log.hpp"

#include <ATen/ATen.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "diffusion_forcing/core/file.hpp"
#include "support/support.hpp"
#include "training/tensorboard.hpp"

namespace df {
namespace {

using test::error_of;
using test::TemporaryFolder;

// A reader of protocol buffers that knows nothing of the writer: fields of one message in order, numbers as integers, the rest as bytes.
struct Field {
  uint64_t number = 0;
  uint64_t integer = 0;  // of a varint, or the bits of a fixed one
  std::string bytes;
};

uint64_t read_varint(const std::string& data, size_t& at) {
  uint64_t value = 0;
  for (int shift = 0;; shift += 7) {
    const auto byte = static_cast<uint8_t>(data.at(at++));
    value += static_cast<uint64_t>(byte & 127) << shift;
    if (byte < 128) return value;
  }
}

std::vector<Field> parse(const std::string& message) {
  std::vector<Field> fields;
  for (size_t at = 0; at < message.size();) {
    const uint64_t key = read_varint(message, at);
    Field field{key / 8, 0, ""};
    const uint64_t wire = key % 8;
    if (wire == 0) {
      field.integer = read_varint(message, at);
    } else {
      const uint64_t size = wire == 1 ? 8 : wire == 5 ? 4 : wire == 2 ? read_varint(message, at) : 0;
      if (size == 0 && wire != 2) throw std::runtime_error("unknown wire type");
      if (size > message.size() - at) throw std::runtime_error("field longer than its message");
      field.bytes = message.substr(at, size);
      if (wire != 2) std::memcpy(&field.integer, field.bytes.data(), size);
      at += size;
    }
    fields.push_back(field);
  }
  return fields;
}

const Field& only(const std::vector<Field>& fields, uint64_t number) {
  const Field* found = nullptr;
  for (const auto& field : fields)
    if (field.number == number) {
      if (found) throw std::runtime_error("field twice: " + std::to_string(number));
      found = &field;
    }
  if (!found) throw std::runtime_error("no field " + std::to_string(number));
  return *found;
}
const std::string& only_bytes(const std::string& message, uint64_t number) {
  thread_local std::string held;
  held = only(parse(message), number).bytes;
  return held;
}

// Bit by bit, from the definition of CRC-32C.
uint32_t masked_crc(const std::string& data) {
  uint32_t crc = ~0u;
  for (const char c : data)
    for (int bit = 0; bit < 8; ++bit) {
      const bool odd = (crc ^ (static_cast<uint8_t>(c) >> bit)) & 1;
      crc = (crc >> 1) ^ (odd ? 0x82f63b78u : 0u);
    }
  crc = ~crc;
  return ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
}

std::vector<std::string> read_records(const fs::path& path) {
  const std::string data = read_file(path);
  std::vector<std::string> records;
  for (size_t at = 0; at < data.size();) {
    uint64_t length = 0;
    uint32_t length_crc = 0, crc = 0;
    std::memcpy(&length, data.substr(at, 8).data(), 8);
    std::memcpy(&length_crc, data.substr(at + 8, 4).data(), 4);
    EXPECT_EQ(length_crc, masked_crc(data.substr(at, 8)));
    records.push_back(data.substr(at + 12, length));
    EXPECT_EQ(records.back().size(), length);
    std::memcpy(&crc, data.substr(at + 12 + length, 4).data(), 4);
    EXPECT_EQ(crc, masked_crc(records.back()));
    at += 16 + length;
  }
  return records;
}

std::vector<fs::path> event_files(const fs::path& run) {
  std::vector<fs::path> found;
  for (const auto& entry : fs::directory_iterator(run))
    if (entry.path().filename().string().rfind("events.out.tfevents.", 0) == 0) found.push_back(entry.path());
  std::sort(found.begin(), found.end());
  return found;
}

// Summary values of the records, and the step of each.
std::vector<std::pair<int64_t, std::vector<Field>>> values_of(const fs::path& path) {
  std::vector<std::pair<int64_t, std::vector<Field>>> all;
  for (const auto& record : read_records(path)) {
    const auto event = parse(record);
    for (const auto& field : event)
      if (field.number == 5)
        for (const auto& value : parse(field.bytes)) all.emplace_back(static_cast<int64_t>(only(event, 2).integer), parse(value.bytes));
  }
  return all;
}

std::vector<nlohmann::json> json_lines(const fs::path& run) {
  std::istringstream in(read_file(run / "metrics.jsonl"));
  std::vector<nlohmann::json> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(nlohmann::json::parse(line));
  return lines;
}

TEST(Tensorboard, Crc32cOfTheStandard) {
  EXPECT_EQ(crc32c("123456789"), 0xE3069283u);
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8A9136AAu);  // RFC 3720, B.4
  EXPECT_EQ(masked_crc32c("abc"), masked_crc("abc"));
}

TEST(MetricLog, ScalarsInBothFiles) {
  const TemporaryFolder run;
  MetricLog log(run.path(), 0);
  log.scalars(20, {{"train/loss", 0.25}, {"train/rate", 1e-4}});
  log.scalars(300, {{"train/loss", std::nan("")}});
  const auto lines = json_lines(run.path());
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[0]["step"], 20);
  EXPECT_EQ(lines[0]["train/loss"], 0.25);
  EXPECT_EQ(lines[0]["train/rate"], 1e-4);
  EXPECT_GT(lines[0]["time"].get<double>(), 1.6e9);
  EXPECT_TRUE(lines[1]["train/loss"].is_null());

  const auto files = event_files(run.path());
  ASSERT_EQ(files.size(), 1u);
  EXPECT_EQ(only_bytes(read_records(files[0]).at(0), 3), "brain.Event:2");
  const auto values = values_of(files[0]);
  ASSERT_EQ(values.size(), 3u);
  const auto scalar = [&](size_t i) { return std::bit_cast<float>(static_cast<uint32_t>(only(values[i].second, 2).integer)); };
  EXPECT_EQ(values[0].first, 20);
  EXPECT_EQ(only(values[0].second, 1).bytes, "train/loss");
  EXPECT_EQ(scalar(0), 0.25f);
  EXPECT_EQ(only(values[1].second, 1).bytes, "train/rate");
  EXPECT_EQ(scalar(1), 1e-4f);
  EXPECT_EQ(values[2].first, 300);
  EXPECT_TRUE(std::isnan(scalar(2)));
}

TEST(MetricLog, PicturesAndText) {
  const TemporaryFolder run;
  MetricLog log(run.path(), 0);
  log.image(5, "sample", at::full({3, 6, 10}, 128, at::kByte));
  log.video(6, "rollout", at::randint(0, 255, {4, 3, 8, 12}, at::kByte), 10.0);
  const std::string markdown(300, 'm');  // a length of two varint bytes
  log.text(7, "config", markdown);
  const auto values = values_of(event_files(run.path()).at(0));
  ASSERT_EQ(values.size(), 3u);

  const auto png = parse(only(values[0].second, 4).bytes);
  EXPECT_EQ(only(png, 1).integer, 6u);
  EXPECT_EQ(only(png, 2).integer, 10u);
  EXPECT_EQ(only(png, 3).integer, 3u);
  EXPECT_EQ(only(png, 4).bytes.substr(0, 4), "\x89PNG");

  EXPECT_EQ(only(values[1].second, 1).bytes, "rollout");
  const auto gif = parse(only(values[1].second, 4).bytes);
  EXPECT_EQ(only(gif, 1).integer, 8u);
  EXPECT_EQ(only(gif, 2).integer, 12u);
  EXPECT_EQ(only(gif, 4).bytes.substr(0, 6), "GIF89a");

  EXPECT_EQ(values[2].first, 7);
  const auto tensor = parse(only(values[2].second, 8).bytes);
  EXPECT_EQ(only(tensor, 1).integer, 7u);  // DT_STRING
  EXPECT_EQ(only(tensor, 8).bytes, markdown);
  const std::string dim = only_bytes(only_bytes(only(values[2].second, 8).bytes, 2), 2);
  EXPECT_EQ(only(parse(dim), 1).integer, 1u);
  const std::string plugin = only_bytes(only(values[2].second, 9).bytes, 1);
  EXPECT_EQ(only_bytes(plugin, 1), "text");

  EXPECT_NE(error_of([&] {
              log.image(1, "sample", at::zeros({6, 10}, at::kByte));
            }).find("sample: expected shape [3, *, *]"),
            std::string::npos);
}

TEST(MetricLog, ResumeDropsWhatCameLater) {
  const TemporaryFolder run;
  {
    MetricLog log(run.path(), 0);
    for (const int64_t step : {10, 20, 30}) log.scalars(step, {{"loss", static_cast<double>(step)}});
  }
  std::ofstream(run.path() / "metrics.jsonl", std::ios::app) << "{\"step\": 5, \"lo";  // a crash in the middle of a line
  MetricLog log(run.path(), 20);
  log.scalars(25, {{"loss", 1.0}});
  const auto lines = json_lines(run.path());
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_EQ(lines[0]["step"], 10);
  EXPECT_EQ(lines[1]["step"], 20);
  EXPECT_EQ(lines[2]["step"], 25);

  const auto files = event_files(run.path());
  ASSERT_EQ(files.size(), 2u);
  // The second file starts with a session that makes TensorBoard forget steps from 21 on.
  const auto session = parse(read_records(files[1]).at(1));
  EXPECT_EQ(only(session, 2).integer, 21u);
  EXPECT_EQ(only(parse(only(session, 7).bytes), 1).integer, 1u);
}

TEST(MetricLog, FolderThatCannotBeWritten) {
  const TemporaryFolder run;
  write_atomically(run.path() / "file", "");
  EXPECT_NE(error_of([&] { MetricLog(run.path() / "file", 0); }).find("cannot be written"), std::string::npos);
}

}  // namespace
}  // namespace df
