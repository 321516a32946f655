#ifndef WEIGHTD_CLIENT_CPP_MAPPING_IMPL_H_
#define WEIGHTD_CLIENT_CPP_MAPPING_IMPL_H_

#include <sys/types.h>
#include <weightd/client.h>

#include <map>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "client/cpp/attach_stream.h"
#include "client/cpp/mapped_memory.h"

namespace weightd::client {

// What a Mapping holds: the lease, and the memory that it allows to map. Thread-safe but for the
// destructor.
class __attribute__((visibility("hidden"))) Mapping::Impl {
 public:
  static absl::StatusOr<std::unique_ptr<Impl>> Attach(absl::string_view model,
                                                      const AttachOptions& options);
  Impl(std::unique_ptr<AttachStream> stream, MappedMemory memory);

  bool lease_held() const { return stream_->open(); }
  const TensorTable& table() const { return stream_->table(); }
  const v1::Granted& granted() const { return stream_->granted(); }
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  // Whether this is the process that attached, and not a child of it made by fork().
  bool owned_by_this_process() const;

 private:
  const pid_t pid_;
  const std::map<std::string, std::string> metadata_;
  // The order matters: memory is unmapped first, and then the lease ends.
  const std::unique_ptr<AttachStream> stream_;
  const MappedMemory memory_;
};

}  // namespace weightd::client

#endif  // WEIGHTD_CLIENT_CPP_MAPPING_IMPL_H_
