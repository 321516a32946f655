#ifndef WEIGHTD_DAEMON_SERVICE_RELAYED_CONNECTION_H_
#define WEIGHTD_DAEMON_SERVICE_RELAYED_CONNECTION_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/unique_fd.h"
#include "daemon/service/request_frames.h"
#include "daemon/service/uid_limits.h"

namespace weightd {

// A client's connection, the one that gRPC has in its place, and the bytes between the two.
//
// Requests go on in small parts, each when gRPC has read the one before, and only while the client
// takes its answers: what one connection can have under way is a part of each kind, and what the
// kernel holds.
//
// Both sockets are non-blocking and watched edge-triggered (epoll(7)): what epoll says is
// remembered until the kernel says otherwise. Thread-compatible. No call blocks.
class RelayedConnection {
 public:
  // Of one part. A request takes some 30 bytes and more, and gRPC works on all of a part at once.
  static constexpr size_t kRequestBytesMax = 1024;
  static constexpr size_t kAnswerBytesMax = 16 * 1024;

  // Calls that a connection may have open without a share.
  static constexpr uint64_t kFreeStreams = 4;

  // And requests that are not whole.
  static constexpr uint64_t kFreeUnfinished = 1;

  // `streams` is a share of Cost::kStreams, none of it: of the client's open calls; `unfinished`
  // likewise of Cost::kUnfinishedRequests.
  RelayedConnection(UniqueFd client, Share streams, Share unfinished)
      : client_(std::move(client)),
        streams_(std::move(streams)),
        unfinished_(std::move(unfinished)) {}
  RelayedConnection(const RelayedConnection&) = delete;
  RelayedConnection& operator=(const RelayedConnection&) = delete;

  // Makes the connection to gRPC, and returns gRPC's end of it. Once. RESOURCE_EXHAUSTED when there
  // are no descriptors.
  absl::StatusOr<UniqueFd> Begin();
  bool begun() const { return server_.valid(); }

  // What epoll says of client() and server(): EPOLLIN and so on.
  void OnClientEvents(uint32_t events);
  void OnServerEvents(uint32_t events);

  // The client has closed it; or gRPC has, and the client has what it wrote before.
  bool ended() const { return ended_; }
  void End() { ended_ = true; }

  bool HasAnswers() const;
  void MoveAnswers();

  // gRPC has closed it, and the client does not take what it wrote before.
  bool lingers() const { return server_hung_up_ && !client_writable_ && !ended_; }

  // The client said something, and may be listened to. Also before Begin().
  bool HasRequests() const;
  // After Begin(). Descriptors that the client sent are put into `strays`. With the errors of
  // RequestFrames and of the share, and INVALID_ARGUMENT for descriptors, the connection has ended.
  absl::Status MoveRequests(std::vector<UniqueFd>& strays);

  // gRPC has not read yet what it was given last.
  bool unread() const { return unread_; }
  // Asks the kernel; false, and unread() is, once it has.
  bool StillUnread();

  int client() const { return client_.get(); }
  int server() const { return server_.get(); }
  // The connection to the client, which is to be closed.
  UniqueFd TakeClient() { return std::move(client_); }

 private:
  // Whether what the client has sent by now may go on.
  absl::Status Check(absl::string_view part);
  // As many as are open, and not whole.
  absl::Status CountStreams();

  UniqueFd client_;
  UniqueFd server_;  // our end of the connection to gRPC
  bool client_readable_ = false;
  bool client_writable_ = true;
  bool server_readable_ = false;
  bool client_ended_ = false;    // it sends nothing more
  bool server_ended_ = false;    // all that gRPC wrote is read
  bool server_hung_up_ = false;  // gRPC has closed it
  bool unread_ = false;
  bool ended_ = false;
  RequestFrames frames_;
  Share streams_;
  Share unfinished_;
  std::string requests_;  // of a part that gRPC's socket did not take at once
  std::string answers_;   // of a part that the client's did not
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_SERVICE_RELAYED_CONNECTION_H_
