// Handles of GPU memory, which let whoever has them write it, are told to their client alone.

#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "tests/integration/daemon/cuda_fixture.h"
#include "tests/integration/daemon/grpc_calls.h"
#include "tests/integration/daemon/secret_judge.h"

namespace weightd::testing {
namespace {

class CudaSecretsTest : public CudaTest {};

TEST_F(CudaSecretsTest, HandlesAreNowhere) {
  MakeModel("m", 4 << 20);
  Start({"--cuda.enabled", "ON", "--log.format", "JSON", "--metrics.address", "127.0.0.1:0"});
  Stage("m");
  std::string handle;
  {
    const RawAttach attach(Connect(socket_dir_), "m");
    ASSERT_EQ(attach.granted().allocations_size(), 1);
    handle = attach.granted().allocations(0).cuda_ipc_handle();
    EXPECT_EQ(handle.size(), 64);
  }
  EventsUntil("LEASE_ENDED");
  EXPECT_EQ(ctl_.Run({"evict", "m"}).exit_code, kExitOk);
  std::string told = Metrics();
  for (const nlohmann::json& event : EventsUntil("EVICTED")) absl::StrAppend(&told, event.dump());
  for (const char* verb : {"status", "stages", "leases", "ps"}) {
    absl::StrAppend(&told, ctl_.Run({verb, "-o", "json"}).out);
  }
  StopCleanly();
  EXPECT_GT(SecretJudge::CountParts(handle), 2);
  EXPECT_EQ(SecretJudge(absl::StrCat(told, daemon_->log())).Find(handle), "");
}

}  // namespace
}  // namespace weightd::testing
