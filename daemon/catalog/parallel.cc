#include "daemon/catalog/parallel.h"

#include <algorithm>
#include <atomic>
#include <utility>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "common/thread.h"
#include "daemon/storage/volume_threads.h"

namespace weightd {

absl::Status ParallelForEach(uint32_t threads, size_t count,
                             absl::FunctionRef<absl::Status(size_t)> work) {
  std::atomic<size_t> next = 0;
  std::atomic<bool> failed = false;
  absl::Mutex mu;
  size_t first_failed = count;
  absl::Status first_error;
  const auto run = [&] {
    while (!failed.load()) {
      const size_t i = next.fetch_add(1);
      if (i >= count) return;
      absl::Status status = work(i);
      if (status.ok()) continue;
      failed.store(true);
      absl::MutexLock lock(&mu);
      if (i > first_failed) continue;
      first_failed = i;
      first_error = std::move(status);
    }
  };
  const size_t helpers_max = std::min<size_t>(threads, count);
  const VolumeThreads::Place place = VolumeThreads::CurrentPlace();
  std::vector<Thread> helpers;
  for (size_t i = 1; i < helpers_max; ++i) {
    absl::StatusOr<Thread> helper = Thread::Start("headers", [&] {
      place.Enter();
      run();
    });
    if (!helper.ok()) break;  // no more threads are allowed here: fewer do it too
    helpers.push_back(*std::move(helper));
  }
  run();
  helpers.clear();  // joins
  return first_error;
}

}  // namespace weightd
