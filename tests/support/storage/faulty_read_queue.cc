#include "tests/support/storage/faulty_read_queue.h"

#include "common/status_macros.h"

namespace weightd::testing {

absl::Status FaultyReadQueue::Submit(const ReadRequest& request) {
  const uint64_t number = submitted_count_ + 1;
  if (const auto fault = faults_.refuse.find(number); fault != faults_.refuse.end()) {
    ++submitted_count_;
    return fault->second;
  }
  ReadRequest numbered = request;
  numbered.tag = number;
  RETURN_IF_ERROR(queue_->Submit(numbered));
  ++submitted_count_;
  reads_[number] = request;
  return absl::OkStatus();
}

absl::Status FaultyReadQueue::Poll(absl::Duration timeout,
                                   absl::FunctionRef<void(const ReadDone&)> done) {
  if (faults_.break_after.has_value() && done_count_ >= *faults_.break_after) {
    return faults_.broken;
  }
  return queue_->Poll(timeout, [&](const ReadDone& inner) {
    const uint64_t number = inner.tag;
    const ReadRequest request = reads_.at(number);
    ReadDone outer = inner;
    outer.tag = request.tag;
    if (inner.stuck) return done(outer);
    reads_.erase(number);
    if (inner.returned) return done(outer);
    ++done_count_;
    if (const auto fault = faults_.fail.find(number); fault != faults_.fail.end()) {
      outer.status = fault->second;
    }
    if (const auto fault = faults_.flip.find(number);
        fault != faults_.flip.end() && fault->second < request.length) {
      request.buffer[fault->second] ^= std::byte{1};
    }
    done(outer);
  });
}

}  // namespace weightd::testing
