// What must be in no line of the log, no event and no metric: tickets and keys. (Handles of GPU
// memory: cuda_secrets_test.cc.)

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "tests/integration/daemon/daemon_fixture.h"
#include "tests/integration/daemon/grpc_calls.h"
#include "tests/integration/daemon/secret_judge.h"
#include "tests/support/checkpoints/tensors_writer.h"
#include "tests/support/common/status_matchers.h"

namespace weightd::testing {
namespace {

// 32 bytes, of which no six are alike.
std::string MakeKey(unsigned char first) {
  std::string key;
  for (int i = 0; i < 32; ++i) key.push_back(static_cast<char>(first + i * 37));
  return key;
}

class SecretsTest : public DaemonTest {
 protected:
  void WriteEncrypted(const std::string& model, const std::string& key,
                      const std::string& password = "") {
    TensorsOptions options;
    options.key = key;
    options.password = password;
    ASSERT_OK(WriteTensors(InRoot(model + ".tensors"), SmallTensorSpecs(2, 4000), options));
  }
  void StartTalkative(std::vector<std::string> flags,
                      const std::vector<std::string>& environment = {}) {
    for (const char* flag :
         {"--log.format", "JSON", "--log.level", "INFO", "--metrics.address", "127.0.0.1:0"}) {
      flags.push_back(flag);
    }
    Start(flags, environment);
  }
  // Everything that somebody can read: while the daemon lives, and then its log.
  std::string AllThatWasTold() {
    std::string all = Metrics();
    for (const nlohmann::json& event : EventsUntil("EVICTED")) absl::StrAppend(&all, event.dump());
    for (const char* verb : {"status", "stages", "leases", "ps", "ls"}) {
      absl::StrAppend(&all, ctl_.Run({verb, "-o", "json"}).out, ctl_.Run({verb}).out);
    }
    StopCleanly();
    return absl::StrCat(all, daemon_->log());
  }
  const std::string key_ = MakeKey(3);
  const std::string wrong_key_ = MakeKey(90);
};

// The test itself: it finds what is there.
TEST_F(SecretsTest, JudgeFindsEveryForm) {
  const std::vector<std::string> forms = {key_,
                                          absl::BytesToHexString(key_),
                                          absl::AsciiStrToUpper(absl::BytesToHexString(key_)),
                                          absl::Base64Escape(key_),
                                          absl::WebSafeBase64Escape("x" + key_),
                                          absl::CEscape(key_)};
  for (const std::string& form : forms) {
    EXPECT_NE(SecretJudge("before " + form + " after").Find(key_), "") << form;
    EXPECT_NE(SecretJudge(form.substr(form.size() / 2)).Find(key_), "") << form;
  }
  EXPECT_EQ(SecretJudge("nothing").Find(key_), "");
  EXPECT_EQ(SecretJudge(std::string(100, '\0')).Find(std::string(64, '\0')), "");
}

TEST_F(SecretsTest, TicketsAreNowhere) {
  MakeModel("m", 1 << 20);
  StartTalkative({});
  Stage("m");
  std::vector<std::string> tickets;
  for (int i = 0; i < 3; ++i) {
    const RawAttach attach(Connect(socket_dir_), "m");
    tickets.push_back(attach.granted().fd_ticket());
  }
  EventsUntil("LEASE_ENDED");
  EXPECT_EQ(ctl_.Run({"evict", "m", "--force"}).exit_code, kExitOk);
  const SecretJudge judge(AllThatWasTold());
  for (const std::string& ticket : tickets) {
    EXPECT_GT(SecretJudge::CountParts(ticket), 4);
    EXPECT_EQ(judge.Find(ticket), "");
  }
}

TEST_F(SecretsTest, KeyOfAFileIsNowhere) {
  WriteEncrypted("m", key_);
  const std::string file = dir_.File("key");
  ASSERT_OK(WriteRawFile(file, wrong_key_));
  StartTalkative({"--encryption.key-file", file});
  // A key that does not fit, and one that is none, are errors that tell much.
  EXPECT_EQ(ctl_.Run({"stage", "m", "--wait"}).exit_code, kExitIntegrity);
  const std::string no_key = wrong_key_.substr(0, 30);
  ASSERT_OK(WriteRawFile(file, no_key));
  EXPECT_NE(ctl_.Run({"stage", "m", "--wait"}).exit_code, kExitOk);
  ASSERT_OK(WriteRawFile(file, key_));
  Stage("m");
  EXPECT_EQ(ctl_.Run({"evict", "m"}).exit_code, kExitOk);
  const SecretJudge judge(AllThatWasTold());
  EXPECT_EQ(judge.Find(key_), "");
  EXPECT_EQ(judge.Find(wrong_key_), "");
}

TEST_F(SecretsTest, KeyOfTheEnvironmentIsNowhere) {
  WriteEncrypted("m", key_);
  StartTalkative({"--encryption.key-environment", "THE_KEY"},
                 {"THE_KEY=" + absl::BytesToHexString(key_)});
  Stage("m");
  EXPECT_EQ(ctl_.Run({"evict", "m"}).exit_code, kExitOk);
  EXPECT_EQ(SecretJudge(AllThatWasTold()).Find(key_), "");
}

TEST_F(SecretsTest, PasswordIsNowhere) {
  const std::string password = "open-SESAME-9471";
  WriteEncrypted("m", "", password);
  WriteEncrypted("other", "", "another one");
  ASSERT_OK(WriteRawFile(dir_.File("password"), password + "\n"));
  StartTalkative({"--encryption.password-file", dir_.File("password")});
  Stage("m");
  EXPECT_EQ(ctl_.Run({"stage", "other", "--wait"}).exit_code, kExitIntegrity);
  EXPECT_EQ(ctl_.Run({"evict", "m"}).exit_code, kExitOk);
  EXPECT_EQ(SecretJudge(AllThatWasTold()).Find(password), "");
}

}  // namespace
}  // namespace weightd::testing
