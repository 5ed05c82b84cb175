// SPDX-License-Identifier: MIT
#include "media/video_cache.hpp"

#include <ATen/ATen.h>

#include <fstream>

#include "diffusion_forcing/core/file.hpp"
#include "diffusion_forcing/media/media.hpp"
#include "support/support.hpp"

namespace df {
namespace {

class VideoCache : public ::testing::Test {
 protected:
  void SetUp() override { setenv("XDG_CACHE_HOME", (folder_.path() / "caches").c_str(), 1); }
  std::filesystem::path gif(int64_t frames) const {
    const auto path = folder_.path() / "a.gif";
    const auto writer = create_video(path, 10);
    for (int64_t t = 0; t < frames; ++t) writer->write(at::full({3, 16, 24}, 3 * t, at::kByte));
    writer->close();
    return path;
  }
  test::TemporaryFolder folder_;
};

media::VideoIndex some_index() {
  media::VideoIndex index;
  index.height = 16;
  index.width = 24;
  index.fps = 10;
  index.tick_den = 100;
  index.end = 30;
  index.times = {0, media::VideoIndex::hidden, 20, 10};
  index.shown = {0, 3, 2};
  index.restarts = {{0, 0, 0, 13, 100}, {2, 20, 20, 900, 77}};
  return index;
}

TEST_F(VideoCache, EntriesComeBackAndDamagedOnesDoNot) {
  const media::VideoIndex index = some_index();
  const std::string bytes = media::pack_index(index, "this file");
  const auto back = media::unpack_index(bytes, "this file");
  ASSERT_TRUE(back);
  EXPECT_EQ(back->times, index.times);
  EXPECT_EQ(back->shown, index.shown);
  EXPECT_EQ(back->restarts.at(1).position, 900);
  EXPECT_EQ(media::pack_index(*back, "this file"), bytes);
  EXPECT_FALSE(media::unpack_index(bytes, "another file"));
  for (size_t size = 0; size < bytes.size(); ++size) EXPECT_FALSE(media::unpack_index(bytes.substr(0, size), "this file"));
  for (size_t i = 0; i < bytes.size(); ++i) {
    std::string damaged = bytes;
    damaged[i] ^= 0x10;
    EXPECT_FALSE(media::unpack_index(damaged, "this file")) << i;
  }
}

TEST_F(VideoCache, NumbersThatLeadNowhereAreDamage) {
  for (const int32_t packet : {-1, 4}) {
    media::VideoIndex index = some_index();
    index.shown[1] = packet;
    EXPECT_FALSE(media::unpack_index(media::pack_index(index, "x"), "x"));
    index = some_index();
    index.restarts[1].packet = packet;
    EXPECT_FALSE(media::unpack_index(media::pack_index(index, "x"), "x"));
  }
}

TEST_F(VideoCache, AnEntryIsUsedUntilTheFileChanges) {
  const auto path = gif(12);
  EXPECT_EQ(open_video(path)->frames(), 12);
  const auto entry = media::cache_entry(path);
  ASSERT_TRUE(std::filesystem::is_regular_file(entry)) << entry;
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(entry.parent_path()), std::filesystem::directory_iterator()), 1);
  // An entry that says something else is believed: the file itself was not looked at.
  const std::string bytes = read_file(entry);
  const auto key_size = *reinterpret_cast<const uint64_t*>(bytes.data());
  const std::string key = bytes.substr(sizeof(uint64_t), key_size);
  auto index = media::unpack_index(bytes, key);
  ASSERT_TRUE(index);
  index->shown.pop_back();
  write_atomically(entry, media::pack_index(*index, key));
  EXPECT_EQ(open_video(path)->frames(), 11);
  // One that is damaged is made anew.
  std::ofstream(entry) << "nonsense";
  EXPECT_EQ(open_video(path)->frames(), 12);
  EXPECT_EQ(read_file(entry), bytes);
  // So is one of a file that has changed.
  gif(15);
  EXPECT_EQ(open_video(path)->frames(), 15);
  EXPECT_NE(read_file(entry), bytes);
}

TEST_F(VideoCache, NoFolderForCachesIsNoError) {
  const auto path = gif(12);
  setenv("XDG_CACHE_HOME", "/dev/null", 1);
  EXPECT_EQ(open_video(path)->frames(), 12);
  std::ofstream(folder_.path() / "caches") << "a file is in the way";
  setenv("XDG_CACHE_HOME", (folder_.path() / "caches").c_str(), 1);
  EXPECT_EQ(open_video(path)->frames(), 12);
}

}  // namespace
}  // namespace df
