#ifndef WEIGHTD_DAEMON_SERVICE_REQUEST_FRAMES_H_
#define WEIGHTD_DAEMON_SERVICE_REQUEST_FRAMES_H_

#include <array>
#include <cstddef>
#include <cstdint>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace weightd {

// Reads along in what a client and gRPC send each other, frame by frame (HTTP/2, RFC 9113 section
// 4), and knows which calls are open, and which requests of them are not whole yet: gRPC has memory
// for all of them without a limit that is ours, and tells nobody before the last byte of a request
// has come; of some (health) it never does.
//
// Thread-compatible.
class RequestFrames {
 public:
  // Of one connection. Clients send a request's headers and its one message together; a message is
  // 64 KiB at most (rpc_server.cc).
  static constexpr size_t kUnfinishedMax = 256;
  static constexpr size_t kUnfinishedBytesMax = size_t{128} << 10;
  // Of a request's headers, in all their frames: gRPC takes 8 KiB.
  static constexpr size_t kHeaderBytesMax = size_t{16} << 10;

  // The next bytes, cut anywhere. INVALID_ARGUMENT for what is not HTTP/2, RESOURCE_EXHAUSTED
  // beyond the limits above: the connection is to be ended, and this object no longer used.
  absl::Status Read(absl::string_view bytes);
  // Likewise of what gRPC sends, which is taken to be right.
  void ReadAnswers(absl::string_view bytes);

  // Requests that have begun and are not whole.
  size_t unfinished() const { return unfinished_.size(); }
  // What the calls that neither side has ended cost: one for each, and one more for each KiB of
  // its headers, which gRPC keeps until it ends.
  size_t open_cost() const { return open_cost_; }

 private:
  // Where in a sequence of frames one is.
  struct Position {
    // Takes bytes until a frame's head is whole: whether it is.
    bool TakeHead(absl::string_view& bytes);
    // True with the last byte of a frame.
    bool TakePayload(absl::string_view& bytes);
    uint8_t type() const { return head[3]; }
    bool ends_stream() const;
    uint32_t stream() const;

    std::array<uint8_t, 9> head{};
    size_t head_read = 0;
    size_t payload_left = 0;
    bool in_frame = false;
  };

  absl::Status BeginFrame();
  absl::Status BeginHeaders(size_t bytes);
  absl::Status BeginData(size_t bytes);
  void EndFrame();
  void Open(uint32_t stream, size_t header_bytes);
  void Close(uint32_t stream);

  size_t preface_read_ = 0;
  Position requests_;
  Position answers_;
  uint32_t ends_stream_ = 0;                    // with this frame of a request; 0: none
  size_t header_bytes_ = 0;                     // of the headers that come
  absl::flat_hash_map<uint32_t, size_t> open_;  // what each stream costs
  size_t open_cost_ = 0;
  absl::flat_hash_map<uint32_t, size_t> unfinished_;  // the bytes of their messages, by stream
  size_t unfinished_bytes_ = 0;
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_SERVICE_REQUEST_FRAMES_H_
