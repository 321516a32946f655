#ifndef WEIGHTD_DAEMON_RESIDENCY_WISH_LIST_H_
#define WEIGHTD_DAEMON_RESIDENCY_WISH_LIST_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/clock.h"
#include "common/thread.h"
#include "daemon/residency/residency.h"

namespace weightd {

// What the daemon itself wants in memory: a pin, a preload, a checkpoint that changed.
struct Wish {
  StageRequest request;  // below kOperator
  // Whether it is a wish still, asked before each retry; absent: it is. It must not block.
  std::function<bool()> wanted = {};
};

struct RetryOptions {
  uint32_t retries_max = 20;                      // of one wish, in a row, 0..1000
  absl::Duration first_pause = absl::Seconds(5);  // doubled from retry to retry, 1 s..1 h
  absl::Duration pause_max = absl::Minutes(10);   // for ever
  absl::Status Validate() const;
};

// What became of a wish that was not met.
struct WishNotice {
  enum class Kind {
    kRefused,  // no job was made, and none will be
    kRetry,    // it is tried again after `pause`
    kGivenUp,  // that was the last retry
  };
  Kind kind = Kind::kRefused;
  std::string model;
  absl::Status status;
  uint32_t retry = 0;  // with kRetry, from 1
  absl::Duration pause;
};

// Keeps the daemon's own wishes until they are met: makes their jobs, and makes them again when the
// volume hangs, is busy or fails, after pauses that grow. What another try does not mend (no such
// model, a broken file, no room) is left to the watcher, which tells when the model changes, and to
// operators. One wish for a model and its devices at a time: the newest replaces the one before, so
// that there are no more than pins, preloads and resident models.
//
// Thread-safe.
class WishList {
 public:
  using Listener = std::function<void(const WishNotice&)>;

  // `listener` is called without a lock, on the thread that adds or on the list's own; it must not
  // block. Everything referenced outlives it.
  WishList(const RetryOptions& options, Residency& residency, const Clock& clock,
           Listener listener);
  WishList(const WishList&) = delete;
  WishList& operator=(const WishList&) = delete;
  ~WishList() { Stop(); }

  // Looks by itself from now on, once a second.
  absl::Status Start();
  // No job is made after it.
  void Stop();

  // Makes its job now.
  void Add(Wish wish);
  // Takes note of the jobs that ended, and makes those again whose pause is over.
  void Look();

  struct Retry {
    uint32_t number = 0;  // from 1
    absl::Duration in;
  };
  // The next one for `model`, named as the wish names it.
  std::optional<Retry> RetryOf(const std::string& model) const;
  size_t size() const;

 private:
  struct Entry {
    Wish wish;
    uint64_t id = 0;  // changes with each attempt
    uint32_t failures = 0;
    std::shared_ptr<StageJob> job;  // while there is one
    bool pausing = false;
    absl::Time pause_start;
    absl::Duration pause;
  };

  // Model and devices.
  using Key = std::pair<std::string, std::string>;

  // Asks for the job of what was entered as `id`.
  void Try(const Key& key, uint64_t id, const StageRequest& request);
  // What follows from `status`, an attempt's end; a notice where there is something to tell.
  std::optional<WishNotice> Settle(const Key& key, const absl::Status& status)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool IsDue(const Entry& entry, absl::Time now) const;
  void Run();

  const RetryOptions options_;
  Residency& residency_;
  const Clock& clock_;
  const Listener listener_;

  mutable absl::Mutex mu_;
  bool stops_ ABSL_GUARDED_BY(mu_) = false;
  uint64_t next_id_ ABSL_GUARDED_BY(mu_) = 1;
  std::map<Key, Entry> entries_ ABSL_GUARDED_BY(mu_);
  Thread thread_;  // last: it uses the rest
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_RESIDENCY_WISH_LIST_H_
