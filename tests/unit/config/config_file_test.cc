#include "daemon/config/config_file.h"

#include <google/protobuf/descriptor.h>

#include <filesystem>
#include <fstream>

#include "daemon/config/daemon_options.h"
#include "tests/support/common/status_matchers.h"
#include "tests/support/common/temp_dir.h"

namespace weightd {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::StatusIs;
using testing::TempDir;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

TEST(ConfigFileTest, NamesLineAndColumnOfAnUnknownField) {
  EXPECT_THAT(ParseConfig("root: \"/models\"\nlog {\n  colour: RED\n}\n", "x.textproto"),
              StatusIs(kInvalid, AllOf(HasSubstr("x.textproto:3:"), HasSubstr("colour"))));
}

TEST(ConfigFileTest, NamesLineAndColumnOfABadValue) {
  EXPECT_THAT(ParseConfig("staging { depth: many }", "x"), StatusIs(kInvalid, HasSubstr("x:1:18")));
}

TEST(ConfigFileTest, NamesEveryError) {
  EXPECT_THAT(ParseConfig("log { level: LOUD }\n", "x"), StatusIs(kInvalid, HasSubstr("LOUD")));
}

TEST(ConfigFileTest, MissingFileIsNamed) {
  EXPECT_THAT(ReadConfigFile("/no/such/file"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("/no/such/file")));
}

TEST(ConfigFileTest, FileAboveOneMebibyteIsRefused) {
  const TempDir dir;
  std::ofstream(dir.File("big")) << std::string((1 << 20) + 1, '#');
  EXPECT_THAT(ReadConfigFile(dir.File("big")), StatusIs(kInvalid, HasSubstr("1 MiB")));
}

TEST(ConfigFileTest, DirectoryInPlaceOfAFileIsAnError) {
  const TempDir dir;
  EXPECT_FALSE(ReadConfigFile(dir.path()).ok());
}

TEST(ExampleConfigsTest, EachIsValid) {
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(WEIGHTD_CONFIGS_DIR)) {
    SCOPED_TRACE(entry.path());
    ASSERT_OK_AND_ASSIGN(const config::Config config, ReadConfigFile(entry.path()));
    EXPECT_OK(MakeDaemonOptions(config));
    ++count;
  }
  EXPECT_GE(count, 3);
}

void ExpectAllSet(const Message& message, const std::string& path) {
  for (int i = 0; i < message.GetDescriptor()->field_count(); ++i) {
    const FieldDescriptor& field = *message.GetDescriptor()->field(i);
    const auto& reflection = *message.GetReflection();
    if (field.is_repeated()) {
      EXPECT_GT(reflection.FieldSize(message, &field), 0) << path << field.name();
    } else {
      EXPECT_TRUE(reflection.HasField(message, &field)) << path << field.name();
      if (field.message_type() != nullptr) {
        ExpectAllSet(reflection.GetMessage(message, &field), path + field.name() + ".");
      }
    }
  }
}

TEST(ExampleConfigsTest, FullOneShowsEverySetting) {
  ASSERT_OK_AND_ASSIGN(const config::Config config,
                       ReadConfigFile(WEIGHTD_CONFIGS_DIR "/full.textproto"));
  ExpectAllSet(config, "");
}

}  // namespace
}  // namespace weightd
