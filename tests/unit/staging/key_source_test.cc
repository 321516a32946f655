#include "daemon/staging/key_source.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <memory>
#include <string>
#include <vector>

#include "daemon/format/manifest.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/common/status_matchers.h"
#include "tests/support/common/temp_dir.h"

namespace weightd {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

Manifest EncryptedManifest() {
  Manifest manifest;
  manifest.shards.resize(1);
  manifest.shards.front().path = "model.tensors";
  manifest.shards.front().is_encrypted = true;
  return manifest;
}

// A FIFO stands for a file on a volume that hangs: opening it does not return.
TEST(KeySourceTest, KeyFileThatDoesNotAnswerIsGivenUp) {
  const testing::TempDir dir;
  const std::string path = dir.File("key");
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  KeySourceOptions options;
  options.key_file = path;
  options.file_timeout = absl::Milliseconds(1);
  const auto source = KeySource::Create(options);
  ASSERT_OK(source);
  const absl::Status status = (*source)->KeysFor(EncryptedManifest()).status();
  EXPECT_TRUE(absl::IsDeadlineExceeded(status)) << status;
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr(path), HasSubstr("no answer")));
  // Lets the abandoned call end.
  const int writer = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
  ASSERT_GE(writer, 0);
  ::close(writer);
}

}  // namespace
}  // namespace weightd
