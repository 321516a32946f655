#ifndef WEIGHTD_CLIENT_CLI_DAEMON_H_
#define WEIGHTD_CLIENT_CLI_DAEMON_H_

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/support/sync_stream.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "client/cli/invocation.h"
#include "client/cli/page_walk.h"
#include "client/cpp/daemon_connection.h"
#include "client/cpp/request_text.h"
#include "weightd/v1/weight_cache.grpc.pb.h"

namespace weightd::cli {

// The socket directory of the options, and whether somebody named it.
SocketDirectory DirectoryOf(const GlobalOptions& options);
void SetSocketDir(const SocketDirectory& directory, GlobalOptions& options);

// Whether a stream goes on after a message.
enum class Next { kContinue, kStop };

// One connection to weightd, for one command or one look of it. Errors say why the daemon cannot be
// reached, or carry its reason. Thread-compatible.
class Daemon {
 public:
  static absl::StatusOr<Daemon> Connect(const GlobalOptions& options);

  // A call with one answer: until --timeout after Connect() began, which all calls share, or within
  // `timeout` where it is given.
  template <typename Request, typename Response>
  absl::StatusOr<Response> Call(grpc::Status (v1::WeightCache::Stub::*method)(grpc::ClientContext*,
                                                                              const Request&,
                                                                              Response*),
                                const Request& request,
                                std::optional<absl::Duration> timeout = std::nullopt) const {
    if (absl::Status checked = client::CheckTexts(request); !checked.ok()) return checked;
    grpc::ClientContext context;
    SetDeadline(context, timeout.has_value() ? absl::Now() + *timeout : deadline_);
    Response response;
    const grpc::Status status = ((*stub_).*method)(&context, request, &response);
    if (!status.ok()) return Error(status);
    return response;
  }

  // A call whose answer comes in pages: `take` gets each. All pages together have the time of one
  // call; PageWalk says what is believed of them.
  template <typename Request, typename Response>
  absl::Status CallPages(grpc::Status (v1::WeightCache::Stub::*method)(grpc::ClientContext*,
                                                                       const Request&, Response*),
                         Request request, absl::FunctionRef<void(const Response&)> take) const {
    PageWalk walk;
    while (true) {
      const absl::StatusOr<Response> page = Call(method, request);
      if (!page.ok()) return walk.Explain(page.status());
      const absl::StatusOr<bool> more = walk.AddPage(RowsOf(*page), page->SpaceUsedLong(),
                                                     request.page_token(), page->next_page_token());
      if (!more.ok()) return more.status();
      take(*page);
      if (!*more) return absl::OkStatus();
      request.set_page_token(page->next_page_token());
    }
  }

  // Likewise, all pages as one answer.
  template <typename Request, typename Response>
  absl::StatusOr<Response> CallPaged(grpc::Status (v1::WeightCache::Stub::*method)(
                                         grpc::ClientContext*, const Request&, Response*),
                                     const Request& request) const {
    Response all;
    const absl::Status status = CallPages<Request, Response>(
        method, request, [&all](const Response& page) { all.MergeFrom(page); });
    if (!status.ok()) return status;
    all.clear_next_page_token();
    return all;
  }

  // A call with a stream of answers, within `timeout`. `take` gets each; after kStop the stream is
  // cancelled and the result is OK.
  template <typename Request, typename Response>
  absl::Status Stream(std::unique_ptr<grpc::ClientReader<Response>> (
                          v1::WeightCache::Stub::*method)(grpc::ClientContext*, const Request&),
                      const Request& request, absl::Duration timeout,
                      absl::FunctionRef<Next(const Response&)> take) const {
    if (absl::Status checked = client::CheckTexts(request); !checked.ok()) return checked;
    grpc::ClientContext context;
    SetDeadline(context, absl::Now() + timeout);
    const std::unique_ptr<grpc::ClientReader<Response>> reader =
        ((*stub_).*method)(&context, request);
    Response response;
    bool stopped = false;
    while (!stopped && reader->Read(&response)) stopped = take(response) == Next::kStop;
    if (stopped) context.TryCancel();
    const grpc::Status status = reader->Finish();
    return stopped || status.ok() ? absl::OkStatus() : Error(status);
  }

  // Asks grpc.health.v1; "SERVING", "NOT_SERVING" and so on.
  absl::StatusOr<std::string> CheckHealth() const;

 private:
  Daemon(std::shared_ptr<grpc::Channel> channel, const GlobalOptions& options, absl::Time deadline);

  static uint64_t RowsOf(const v1::ListModelsResponse& page) { return page.models().size(); }
  static uint64_t RowsOf(const v1::ListLeasesResponse& page) { return page.leases().size(); }
  static uint64_t RowsOf(const v1::GetModelResponse& page) { return page.tensors().size(); }
  static void SetDeadline(grpc::ClientContext& context, absl::Time deadline);
  absl::Status Error(const grpc::Status& status) const;

  SocketDirectory socket_dir_;
  absl::Time deadline_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::WeightCache::Stub> stub_;
};

}  // namespace weightd::cli

#endif  // WEIGHTD_CLIENT_CLI_DAEMON_H_
