#ifndef WEIGHTD_TESTS_SIMULATION_SIMULATED_READ_QUEUE_H_
#define WEIGHTD_TESTS_SIMULATION_SIMULATED_READ_QUEUE_H_

#include <functional>
#include <memory>
#include <utility>

#include "daemon/storage/read_queue.h"
#include "tests/support/executor/simulated_executor.h"

namespace weightd::testing {

// A ReadQueue that knows no time, in the time of an executor: others go on while it is polled, and
// a poll that finds nothing takes as long as it may. The kernel may hold the thread in one.
class SimulatedReadQueue final : public ReadQueue {
 public:
  // `held`: whether it is held now, asked at each poll and then until it is not.
  SimulatedReadQueue(std::unique_ptr<ReadQueue> inner, SimulatedExecutor& executor,
                     std::function<bool()> held)
      : inner_(std::move(inner)), executor_(executor), held_(std::move(held)) {}

  absl::Status Submit(const ReadRequest& request) override { return inner_->Submit(request); }
  absl::Status Poll(absl::Duration timeout,
                    absl::FunctionRef<void(const ReadDone&)> done) override {
    SimulatedExecutor::Yield();
    while (held_()) executor_.Sleep(absl::Milliseconds(10));
    bool any = false;
    absl::Status status = inner_->Poll(timeout, [&](const ReadDone& read) {
      any = true;
      done(read);
    });
    if (!any && status.ok()) executor_.Sleep(timeout);
    return status;
  }
  uint32_t in_flight() const override { return inner_->in_flight(); }
  uint32_t stuck() const override { return inner_->stuck(); }
  int wake_descriptor() const override { return inner_->wake_descriptor(); }
  ReadEngine engine() const override { return inner_->engine(); }
  const Warnings& fallbacks() const override { return inner_->fallbacks(); }

 private:
  const std::unique_ptr<ReadQueue> inner_;
  SimulatedExecutor& executor_;
  const std::function<bool()> held_;
};

}  // namespace weightd::testing

#endif  // WEIGHTD_TESTS_SIMULATION_SIMULATED_READ_QUEUE_H_
