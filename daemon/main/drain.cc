#include "daemon/main/drain.h"

#include <utility>

#include "common/leave_process.h"
#include "common/status_macros.h"

namespace weightd {
namespace {

constexpr int kExitHung = 1;
constexpr absl::Duration kFactsTime = absl::Milliseconds(200);

}  // namespace

absl::StatusOr<std::unique_ptr<StopGuard>> StopGuard::Start(Logger& logger, absl::Duration grace) {
  std::unique_ptr<StopGuard> guard(new StopGuard(logger, grace));
  ASSIGN_OR_RETURN(guard->thread_,
                   Thread::Start("stop guard", [raw = guard.get()] { raw->Run(); }));
  return guard;
}

StopGuard::~StopGuard() {
  {
    absl::MutexLock lock(&mu_);
    ended_ = true;
  }
  thread_.Join();
}

void StopGuard::set_grace(absl::Duration grace) {
  absl::MutexLock lock(&mu_);
  grace_ = grace;
}

void StopGuard::Arm() {
  absl::MutexLock lock(&mu_);
  armed_ = true;
}

void StopGuard::Enter(std::string step) {
  absl::MutexLock lock(&mu_);
  step_.swap(step);
}

void StopGuard::Run() {
  std::string step;
  {
    absl::MutexLock lock(&mu_);
    const auto wakes = [this]() ABSL_SHARED_LOCKS_REQUIRED(mu_) { return armed_ || ended_; };
    mu_.Await(absl::Condition(&wakes));
    if (mu_.AwaitWithTimeout(absl::Condition(&ended_), grace_ + kStopTime)) return;
    step = step_;
  }
  logger_.Log(LogLevel::kError, "stop_hangs",
              {{"step", step}, {"detail", std::string("the process ends all the same")}});
  (void)logger_.Flush(kLogFlushTime);
  LeaveProcess(kExitHung);
}

class DrainSteps::Running {
 public:
  Running(std::string name, std::function<void()> step)
      : name_(std::move(name)), step_(std::move(step)) {}

  const std::string& name() const { return name_; }

  void Run() {
    step_();
    step_ = nullptr;
    absl::MutexLock lock(&mu_);
    ended_ = true;
  }

  bool Await(absl::Duration timeout) {
    absl::MutexLock lock(&mu_);
    return mu_.AwaitWithTimeout(absl::Condition(&ended_), timeout);
  }

 private:
  const std::string name_;
  std::function<void()> step_;  // the thread's
  absl::Mutex mu_;
  bool ended_ ABSL_GUARDED_BY(mu_) = false;
};

std::shared_ptr<DrainSteps::Running> DrainSteps::Begin(std::string name,
                                                       std::function<void()> step) {
  guard_.Enter(name);
  auto running = std::make_shared<Running>(std::move(name), std::move(step));
  // Without a thread it runs here, and the guard looks at the time.
  if (!Thread::StartDetached("drain", [running] { running->Run(); }).ok()) running->Run();
  return running;
}

bool DrainSteps::Await(const std::shared_ptr<Running>& running, absl::Duration timeout) {
  guard_.Enter(running->name());
  if (running->Await(timeout)) return true;
  left_behind_.push_back(running->name());
  if (left_behind_.size() > 1) {
    logger_.Log(LogLevel::kError, "drain_step_hangs", {{"step", running->name()}});
    return false;
  }
  std::string known = "what is known hangs, too";
  const auto told = std::make_shared<std::string>();
  const auto facts = std::make_shared<Running>("", [told, facts = facts_] { *told = facts(); });
  const absl::Status asked = Thread::StartDetached("drain facts", [facts] { facts->Run(); });
  if (asked.ok() && facts->Await(kFactsTime)) known = *told;
  logger_.Log(LogLevel::kError, "drain_step_hangs", {{"step", running->name()}, {"detail", known}});
  return false;
}

void DrainSteps::LeaveBehind(std::string name, const std::string& detail) {
  logger_.Log(LogLevel::kError, "drain_step_hangs", {{"step", name}, {"detail", detail}});
  left_behind_.push_back(std::move(name));
}

bool DrainSteps::Run(std::string name, absl::Duration timeout, std::function<void()> step) {
  return Await(Begin(std::move(name), std::move(step)), timeout);
}

}  // namespace weightd
