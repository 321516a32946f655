#include "daemon/config/config_flags.h"

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "tests/support/common/status_matchers.h"

namespace weightd {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::StatusIs;

absl::StatusOr<config::Config> Parse(std::vector<std::string> arguments,
                                     config::Config config = {}) {
  CLI::App app;
  ConfigFlags flags;
  flags.AddTo(app);
  std::reverse(arguments.begin(), arguments.end());  // as CLI11 wants a vector
  try {
    app.parse(arguments);
  } catch (const CLI::ParseError& error) {
    return absl::InvalidArgumentError(error.what());
  }
  const absl::Status status = flags.Apply(config);
  if (!status.ok()) return status;
  return config;
}

TEST(ConfigFlagsTest, SetsEveryKindOfSetting) {
  ASSERT_OK_AND_ASSIGN(
      const config::Config config,
      Parse({"--root", "/a", "--root", "/b", "--socket-dir", "/s", "--storage.engine", "PREAD",
             "--host.budget-bytes", "123", "--host.huge_pages", "false", "--access.attach-uid", "7",
             "--cuda.gpu", "uuid: \"GPU-1\" budget_bytes: 5"}));
  EXPECT_THAT(config.root(), ElementsAre("/a", "/b"));
  EXPECT_EQ(config.socket_dir(), "/s");
  EXPECT_EQ(config.storage().engine(), config::Storage::PREAD);
  EXPECT_EQ(config.host().budget_bytes(), 123u);
  EXPECT_TRUE(config.host().has_huge_pages());
  EXPECT_FALSE(config.host().huge_pages());
  EXPECT_THAT(config.access().attach_uid(), ElementsAre(7u));
  ASSERT_EQ(config.cuda().gpu_size(), 1);
  EXPECT_EQ(config.cuda().gpu(0).uuid(), "GPU-1");
}

TEST(ConfigFlagsTest, EverySettingSaysWhatItMeans) {
  CLI::App app;
  ConfigFlags flags;
  flags.AddTo(app);
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_name() == "--help") continue;
    EXPECT_NE(option->get_description(), "") << option->get_name();
  }
  EXPECT_THAT(app.help(), HasSubstr("Jobs of one volume at once, 1 to 16"));
}

TEST(ConfigFlagsTest, OverridesTheFileAndReplacesItsLists) {
  config::Config file;
  file.add_root("/file");
  file.set_socket_dir("/file");
  file.set_default_device("host");
  ASSERT_OK_AND_ASSIGN(const config::Config config,
                       Parse({"--root", "/flag", "--socket_dir", "/flag"}, file));
  EXPECT_THAT(config.root(), ElementsAre("/flag"));
  EXPECT_EQ(config.socket_dir(), "/flag");
  EXPECT_EQ(config.default_device(), "host");
}

TEST(ConfigFlagsTest, LastOneOfASingleSettingCounts) {
  ASSERT_OK_AND_ASSIGN(const config::Config config,
                       Parse({"--staging.depth", "2", "--staging.depth", "3"}));
  EXPECT_EQ(config.staging().depth(), 3u);
}

TEST(ConfigFlagsTest, BadValueNamesFlagValueAndType) {
  EXPECT_THAT(Parse({"--storage.engine", "FAST"}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("--storage.engine"), HasSubstr("FAST"),
                             HasSubstr("AUTO|URING|PREAD"))));
  EXPECT_THAT(Parse({"--staging.depth", "-1"}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("NUMBER")));
}

TEST(ConfigFlagsTest, UnknownFlagIsAnError) { EXPECT_FALSE(Parse({"--colour", "red"}).ok()); }

}  // namespace
}  // namespace weightd
