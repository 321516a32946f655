// What Node Feature Discovery reads follows what is resident.

#include <signal.h>

#include <filesystem>
#include <string>

#include "gmock/gmock.h"
#include "tests/integration/daemon/daemon_fixture.h"
#include "tests/support/common/read_file.h"
#include "tests/support/common/status_matchers.h"

namespace weightd::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class NodeFeaturesTest : public DaemonTest {
 protected:
  // Whether the file comes to have exactly these labels, and a time until which they hold.
  bool Becomes(const std::string& labels) const {
    return WaitUntil([&] {
      const std::string text = std::filesystem::exists(path_) ? ReadFile(path_) : "";
      return text.rfind("# +expiry-time=20", 0) == 0 && text.substr(text.find('\n') + 1) == labels;
    });
  }

  const std::string path_ = dir_.File("features.d/weightd");
};

TEST_F(NodeFeaturesTest, FollowsWhatIsResidentAndGoesWithTheDaemon) {
  MakeModel("model", 1 << 20);
  std::filesystem::create_directory(dir_.File("features.d"));
  ASSERT_OK(WriteRawFile(path_, "weightd.feature.node.kubernetes.io/gone=device\n"));
  Start({"--node-features-file", path_});
  EXPECT_TRUE(Becomes("")) << "what a killed daemon left is replaced";
  Stage("model");
  EXPECT_TRUE(Becomes("weightd.feature.node.kubernetes.io/model=host\n"));
  EXPECT_THAT(FileNames(dir_.File("features.d")), ElementsAre("weightd"));
  EXPECT_EQ(std::filesystem::status(path_).permissions(), std::filesystem::perms(0644));
  EXPECT_EQ(ctl_.Run({"evict", "model"}).exit_code, kExitOk);
  EXPECT_TRUE(Becomes(""));
  StopCleanly();
  EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST_F(NodeFeaturesTest, DirectoryThatIsNotThereIsAWarningAndNoMore) {
  MakeModel("model", 1 << 20);
  Start({"--node-features-file", path_});
  EXPECT_TRUE(daemon_->WaitForLog("node_features_not_told"));
  EXPECT_THAT(daemon_->log(), HasSubstr(path_));
  Stage("model");
  StopCleanly();
}

}  // namespace
}  // namespace weightd::testing
