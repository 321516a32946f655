#include "tests/support/fake_cuda/driver.h"

#include <unistd.h>

#include "tests/support/fake_cuda/errors.h"
#include "tests/support/fake_cuda/fake_cuda.h"
#include "tests/support/fake_cuda/report.h"
#include "tests/support/fake_cuda/text.h"

namespace fake_cuda {

Driver& Driver::Get() {
  static auto* driver = new Driver;
  return *driver;
}

std::vector<CUcontext>& ContextStack() {
  thread_local std::vector<CUcontext> stack;
  return stack;
}

Call::Call(const char* function, Needs needs)
    : driver_(Driver::Get()), function_(function), lock_(driver_.mu) {
  result_ = Check(needs);
  if (result_ != CUDA_SUCCESS) return;
  const std::optional<Faults::Failure> failure = driver_.faults.Count(function_);
  if (!failure.has_value()) return;
  (failure->later ? later_ : result_) = failure->result;
  if (IsSticky(failure->result)) {
    driver_.was_broken = true;
    if (!failure->later && context_ != nullptr) context_->broken.store(failure->result);
  }
}

CUresult Call::Misuse(const std::string& line, CUresult result) const {
  Report(function_ + ": " + line);
  return result;
}

CUresult Call::Check(Needs needs) {
  if (needs == Needs::kNothing) return CUDA_SUCCESS;
  if (driver_.pid == 0) return Misuse("called before cuInit", CUDA_ERROR_NOT_INITIALIZED);
  if (driver_.pid != ::getpid()) {
    return Misuse("called in a forked child of the process that called cuInit",
                  CUDA_ERROR_NOT_INITIALIZED);
  }
  if (needs == Needs::kInit) return CUDA_SUCCESS;
  const std::vector<CUcontext>& stack = ContextStack();
  if (stack.empty()) return Misuse("no context is current", CUDA_ERROR_INVALID_CONTEXT);
  for (const auto& [ordinal, context] : driver_.contexts) {
    if (context->handle == stack.back()) context_ = context;
  }
  if (context_ == nullptr) {
    return Misuse("the current context was released", CUDA_ERROR_CONTEXT_IS_DESTROYED);
  }
  return needs == Needs::kGoodContext ? context_->broken.load() : CUDA_SUCCESS;
}

Located Locate(const Call& call, const char* what, CUdeviceptr address, uint64_t bytes) {
  const AddressTable& addresses = call.driver().addresses;
  Located located;
  const std::string range =
      std::string(what) + " " + std::to_string(bytes) + " bytes at " + Hex(address) + ": ";
  located.memory = addresses.Find(address);
  if (located.memory == nullptr) {
    located.result =
        call.Misuse(range + (addresses.WasFreed(address) ? "that memory was freed"
                                                         : "no such memory was given out"),
                    CUDA_ERROR_INVALID_VALUE);
    return located;
  }
  located.offset = address - located.memory->base;
  if (bytes > located.memory->bytes() - located.offset) {
    located.result = call.Misuse(range + "past the end of an allocation of " +
                                     std::to_string(located.memory->bytes()) + " bytes",
                                 CUDA_ERROR_INVALID_VALUE);
  } else if (located.memory->gpu() != call.context().gpu) {
    located.result = call.Misuse(range + "the memory of another GPU", CUDA_ERROR_INVALID_VALUE);
  } else if (!located.memory->alive()) {
    // Nobody's mistake but the exporter's, or its death.
    call.context().broken.store(CUDA_ERROR_ILLEGAL_ADDRESS);
    call.driver().was_broken = true;
    located.result = CUDA_ERROR_ILLEGAL_ADDRESS;
  }
  return located;
}

namespace {

void ReportLeft(size_t count, const char* what) {
  if (count > 0) Report("at exit: " + std::to_string(count) + " " + what);
}

void ReportLeaks(const Driver& driver) {
  size_t allocations = 0;
  size_t imports = 0;
  for (const auto& [base, memory] : driver.addresses.all()) {
    ++(memory->imported() ? imports : allocations);
  }
  ReportLeft(allocations, "allocations were not freed");
  ReportLeft(imports, "IPC mappings were not closed");
  ReportLeft(driver.host_ranges.size(), "host registrations were not undone");
  ReportLeft(driver.streams.size(), "streams were not destroyed");
  ReportLeft(driver.events.size(), "events were not destroyed");
  ReportLeft(driver.contexts.size(), "primary contexts were not released");
  ReportLeft(static_cast<size_t>(driver.pushed_count), "contexts are still pushed");
}

// When the process ends in the ordinary way.
__attribute__((destructor)) void AtExit() {
  Driver& driver = Driver::Get();
  std::map<CUstream, std::shared_ptr<Stream>> streams;
  {
    const std::lock_guard lock(driver.mu);
    if (driver.pid == 0 || driver.pid != ::getpid()) return;
    bool broken = driver.was_broken;
    for (const auto& [ordinal, context] : driver.contexts) {
      broken |= context->broken.load() != CUDA_SUCCESS;
    }
    if (!broken) ReportLeaks(driver);
    driver.node->Leave();
    driver.hold.Set(false);
    driver.events.clear();
    streams.swap(driver.streams);
  }
  streams.clear();  // ends their threads
}

}  // namespace
}  // namespace fake_cuda

void fake_cuda_set_failures(const char* plan) { fake_cuda::Driver::Get().faults.Set(plan); }

void fake_cuda_hold_copies(int hold) { fake_cuda::Driver::Get().hold.Set(hold != 0); }
