#ifndef WEIGHTD_DAEMON_SERVICE_CLIENT_STREAM_H_
#define WEIGHTD_DAEMON_SERVICE_CLIENT_STREAM_H_

#include <google/protobuf/message_lite.h>
#include <grpcpp/support/byte_buffer.h>

#include <cstddef>
#include <optional>
#include <utility>
#include <vector>

#include "daemon/service/caller.h"
#include "daemon/service/grpc_status.h"
#include "daemon/service/outgoing_stream.h"

namespace weightd {

inline size_t MessageBytes(const google::protobuf::MessageLite& message) {
  return message.ByteSizeLong();
}
inline size_t MessageBytes(const grpc::ByteBuffer& bytes) { return bytes.Length(); }

// A stream that has its part of the limits of its caller's uid until the call has ended: it ends
// with RESOURCE_EXHAUSTED/LIMIT_EXCEEDED where that uid's clients leave too many bytes unread.
// Thread-safe.
template <typename Response>
class ClientStream : public OutgoingStream<Response> {
 public:
  // Before Start().
  void Hold(Caller& caller) {
    shares_ = std::move(caller.shares);
    queued_bytes_ = std::move(caller.queued_bytes);
  }

 protected:
  // Bytes of memory that `response` takes for this stream alone, while it waits for the client to
  // read.
  virtual size_t CostOf(const Response& response) const { return MessageBytes(response); }

 private:
  std::optional<grpc::Status> OnWrite(const Response& response) final {
    const absl::Status fits = queued_bytes_.Grow(CostOf(response));
    if (fits.ok()) return std::nullopt;
    return ToGrpcStatus(fits);
  }
  void OnRead() final { queued_bytes_.Release(); }

  std::vector<Share> shares_;  // fixed after Start()
  Share queued_bytes_;         // of the message that is being written, used by who writes it
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_SERVICE_CLIENT_STREAM_H_
