// Where every ReadQueue says no: depth, requests and options beyond the rules.

#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/contract/storage/read_queue_contract.h"

namespace weightd::testing {
namespace {

using ::testing::HasSubstr;

TEST_P(ReadQueueContractTest, RefusesMoreThanDepthAndGoesOnAfterwards) {
  const auto file = AddFile(PatternBytes(8192));
  const auto queue = MakeQueue({.depth = 4});
  AlignedBuffer buffer(8192);
  ReadRequest request{.file = file.get(),
                      .length = 1000,
                      .buffer = buffer.span().first(1000),
                      .mode = ReadMode::kBuffered};
  for (int round = 0; round < 3; ++round) {
    for (uint64_t i = 0; i < 4; ++i) {
      request.tag = i;
      request.buffer = buffer.span().subspan(i * 1000, 1000);
      ASSERT_OK(queue->Submit(request));
    }
    EXPECT_EQ(queue->in_flight(), 4U);
    EXPECT_THAT(queue->Submit(request),
                StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("4 reads in flight")));
    EXPECT_EQ(Drain(*queue).size(), 4U);
    EXPECT_EQ(queue->in_flight(), 0U);
  }
}

TEST_P(ReadQueueContractTest, RefusesRequestsThatBreakTheRules) {
  const auto file = AddFile(PatternBytes(10'000));
  AlignedBuffer slot(8192);
  AlignedBuffer buffer(16'384);
  const auto queue = MakeQueue({.slots = {slot.span()}});
  const ReadRequest good{
      .file = file.get(), .length = 1000, .buffer = buffer.span(), .mode = ReadMode::kBuffered};
  std::vector<std::pair<ReadRequest, std::string>> bad;
  const auto add = [&](const std::string& text, auto change) {
    ReadRequest request = good;
    change(request);
    bad.emplace_back(request, text);
  };
  add("without a file", [](ReadRequest& r) { r.file = nullptr; });
  add("nothing to read", [](ReadRequest& r) { r.length = 0; });
  add("passes the file's end at 10000", [](ReadRequest& r) { r.length = 10'001; });
  add("passes the file's end", [](ReadRequest& r) { r.offset = 9001; });
  add("passes the file's end", [](ReadRequest& r) { r.offset = UINT64_MAX; });
  add("passes the file's end", [](ReadRequest& r) { r.length = UINT64_MAX; });
  add("buffer has 999 bytes", [](ReadRequest& r) { r.buffer = r.buffer.first(999); });
  add("slot 1 of 1", [](ReadRequest& r) { r.slot = 1; });
  add("outside slot 0", [](ReadRequest& r) { r.slot = 0; });
  add("outside slot 0", [&](ReadRequest& r) {
    r.slot = 0;
    r.buffer = absl::MakeSpan(slot.span().data() + 1, 8192);
  });
  if (file->direct_alignment() > 1) {
    add("offset is no multiple", [](ReadRequest& r) {
      r.mode = ReadMode::kDirect;
      r.offset = 1;
    });
    add("not aligned", [](ReadRequest& r) {
      r.mode = ReadMode::kDirect;
      r.buffer = r.buffer.subspan(1);
    });
    add("rounded up", [](ReadRequest& r) {
      r.mode = ReadMode::kDirect;
      r.buffer = r.buffer.first(1000);
    });
  }
  for (const auto& [request, text] : bad) {
    EXPECT_THAT(queue->Submit(request),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(text)));
  }
  EXPECT_EQ(queue->in_flight(), 0U);
  EXPECT_OK(ReadOne(*queue, good).status);
}

TEST_P(ReadQueueContractTest, RefusesOptionsBeyondTheirLimits) {
  AlignedBuffer buffer(4096);
  for (const ReadQueueOptions& options : std::vector<ReadQueueOptions>{
           {.depth = 0},
           {.depth = 1025},
           {.pread_threads = 0},
           {.pread_threads = 65},
           {.stuck_max = 0},
           {.stuck_max = 1025},
           {.stall_timeout = absl::ZeroDuration()},
           {.retries_max = 65},
           {.slots = {buffer.span().first(0)}},
       }) {
    EXPECT_THAT(GetParam().make_queue(options),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("read queue")));
  }
  EXPECT_OK(GetParam().make_queue({.depth = 1024, .pread_threads = 64, .retries_max = 64}));
}

}  // namespace
}  // namespace weightd::testing
