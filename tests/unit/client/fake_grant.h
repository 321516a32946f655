#ifndef WEIGHTD_TESTS_UNIT_CLIENT_FAKE_GRANT_H_
#define WEIGHTD_TESTS_UNIT_CLIENT_FAKE_GRANT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/unique_fd.h"
#include "tests/unit/client/fake_service.h"
#include "weightd/v1/weight_cache.pb.h"

// Grants that are right, for tests to send or to break, and the memory that goes with them.

namespace weightd::testing {

// A status as the daemon sends it: with a google.rpc.ErrorInfo.
grpc::Status RpcError(grpc::StatusCode code, absl::string_view reason, absl::string_view message);

// A memfd with `content`, sealed with `seals` (F_SEAL_...); 0 leaves it open.
UniqueFd MakeMemfd(absl::string_view content, int seals);
// As the daemon seals what it hands out.
UniqueFd MakeSealedMemfd(absl::string_view content);

// The messages of one attach to host memory; one allocation, one batch.
struct Grant {
  v1::Granted granted;
  v1::TensorBatch batch;

  // granted, tensors, ready.
  std::vector<v1::AttachResponse> Messages() const;
};

// "model" with the tensors `a` (F32, 2x3, at 0), `b` (U8, scalar, at 24), `c` (F4, 4, at 26) and
// `empty` (F16, 0x7), in an allocation as long as SmallContent().
Grant SmallGrant();
std::string SmallContent();

// `count` U8 tensors of 64 bytes with the names of a Llama's layers.
Grant LargeGrant(uint64_t count);

}  // namespace weightd::testing

#endif  // WEIGHTD_TESTS_UNIT_CLIENT_FAKE_GRANT_H_
