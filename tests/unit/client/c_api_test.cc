// The C interface: what it adds to the C++ one, on the double of the daemon.

#include <weightd/weightd.h>

#include <cstddef>
#include <utility>

#include "gmock/gmock.h"
#include "tests/support/common/temp_dir.h"
#include "tests/unit/client/fake_grant.h"
#include "tests/unit/client/fake_service.h"

namespace weightd::testing {
namespace {

using ::testing::HasSubstr;

TEST(CApiTest, NamesOfDtypesEndWithANul) {
  EXPECT_STREQ(weightd_dtype_name(WEIGHTD_BF16), "BF16");
  EXPECT_STREQ(weightd_dtype_name(WEIGHTD_OPAQUE64), "OPAQUE64");
  EXPECT_STREQ(weightd_dtype_name(0), "UNKNOWN");
  EXPECT_EQ(weightd_dtype_bits(WEIGHTD_F4), 4);
  EXPECT_EQ(weightd_dtype_bits(WEIGHTD_C128), 128);
  EXPECT_EQ(weightd_dtype_bits(77), 0);
}

TEST(CApiTest, ErrorsHaveCodeReasonAndText) {
  weightd_attach_options options = WEIGHTD_ATTACH_OPTIONS_INIT;
  options.socket_dir = "/nonexistent";
  weightd_mapping* mapping = nullptr;
  weightd_error* error = weightd_attach("m", &options, &mapping);
  ASSERT_NE(error, nullptr);
  EXPECT_EQ(mapping, nullptr);
  EXPECT_EQ(weightd_error_code(error), 14);
  EXPECT_STREQ(weightd_error_reason(error), "UNREACHABLE");
  EXPECT_THAT(weightd_error_message(error), HasSubstr("/nonexistent/weightd.sock"));
  EXPECT_THAT(weightd_error_text(error), HasSubstr("UNAVAILABLE/UNREACHABLE: attach m: "));
  weightd_error_free(error);
}

TEST(CApiTest, NullIsAnError) {
  weightd_mapping* mapping = nullptr;
  weightd_error* error = weightd_attach(nullptr, nullptr, &mapping);
  ASSERT_NE(error, nullptr);
  EXPECT_STREQ(weightd_error_reason(error), "INVALID_REQUEST");
  weightd_error_free(error);
  error = weightd_attach("m", nullptr, nullptr);
  ASSERT_NE(error, nullptr);
  weightd_error_free(error);
  weightd_error_free(nullptr);
  weightd_mapping_free(nullptr);
}

TEST(CApiTest, TensorsAreThoseOfTheCppInterface) {
  const TempDir dir;
  FakeService service(dir.path());
  service.SetAttach({.messages = SmallGrant().Messages(), .end = {}});
  HandleScript handles;
  handles.fds.push_back(MakeSealedMemfd(SmallContent()));
  service.SetHandles(std::move(handles));
  weightd_attach_options options = WEIGHTD_ATTACH_OPTIONS_INIT;
  options.socket_dir = dir.path().c_str();
  weightd_mapping* mapping = nullptr;
  ASSERT_EQ(weightd_attach("model", &options, &mapping), nullptr);
  EXPECT_STREQ(weightd_mapping_device(mapping), "host");
  EXPECT_EQ(weightd_mapping_tensor_count(mapping), 4);
  EXPECT_EQ(weightd_mapping_tensor(mapping, 4), nullptr);
  EXPECT_STREQ(weightd_mapping_metadata(mapping, "format"), "pt");
  EXPECT_EQ(weightd_mapping_metadata(mapping, "none"), nullptr);
  const weightd_tensor* a = weightd_mapping_find(mapping, "a");
  ASSERT_NE(a, nullptr);
  EXPECT_EQ(a->rank, 2);
  EXPECT_EQ(a->shape[1], 3);
  EXPECT_EQ(a->strides[0], 12);
  // Bit-packed: no element has an address of its own.
  const weightd_tensor* c = weightd_mapping_find(mapping, "c");
  ASSERT_NE(c, nullptr);
  EXPECT_EQ(c->dtype, WEIGHTD_F4);
  EXPECT_EQ(c->strides, nullptr);
  EXPECT_EQ(weightd_mapping_find(mapping, "none"), nullptr);
  weightd_mapping_free(mapping);
}

// Progress comes, and whoever gets it asks to stop.
TEST(CApiTest, AttachThatWaitsTellsHowItGoesAndCanBeCancelled) {
  const TempDir dir;
  FakeService service(dir.path());
  v1::AttachResponse message;
  message.mutable_progress()->set_phase(v1::READING);
  message.mutable_progress()->set_bytes_done(50);
  message.mutable_progress()->set_bytes_total(100);
  service.SetAttach({.messages = {message}, .end = {}});
  struct Seen {
    weightd_progress progress = {};
    weightd_cancellation* cancellation = weightd_cancellation_new();
  } seen;
  weightd_attach_options options = WEIGHTD_ATTACH_OPTIONS_INIT;
  options.socket_dir = dir.path().c_str();
  options.policy = WEIGHTD_WAIT;
  options.cancellation = seen.cancellation;
  options.user_data = &seen;
  options.on_progress = [](const weightd_progress* progress, void* user_data) {
    auto* to = static_cast<Seen*>(user_data);
    to->progress = *progress;
    weightd_cancellation_cancel(to->cancellation);
  };
  weightd_mapping* mapping = nullptr;
  weightd_error* error = weightd_attach("model", &options, &mapping);
  ASSERT_NE(error, nullptr);
  EXPECT_STREQ(weightd_error_reason(error), "CANCELLED");
  EXPECT_EQ(seen.progress.phase, WEIGHTD_READING);
  EXPECT_EQ(seen.progress.bytes_done, 50);
  EXPECT_EQ(seen.progress.bytes_total, 100);
  weightd_error_free(error);
  weightd_cancellation_free(seen.cancellation);
  weightd_cancellation_free(nullptr);
}

// Of a caller that was built with fewer fields: the rest keeps its default.
TEST(CApiTest, OlderCallersOptionsAreTaken) {
  weightd_attach_options options = WEIGHTD_ATTACH_OPTIONS_INIT;
  options.socket_dir = "/nonexistent";
  options.timeout_ms = -1;
  options.struct_bytes = offsetof(weightd_attach_options, timeout_ms);
  weightd_mapping* mapping = nullptr;
  weightd_error* error = weightd_attach("m", &options, &mapping);
  ASSERT_NE(error, nullptr);
  EXPECT_STREQ(weightd_error_reason(error), "UNREACHABLE");
  weightd_error_free(error);
  options.struct_bytes = sizeof(options);
  error = weightd_attach("m", &options, &mapping);
  ASSERT_NE(error, nullptr);
  EXPECT_STREQ(weightd_error_reason(error), "INVALID_REQUEST");
  weightd_error_free(error);
}

}  // namespace
}  // namespace weightd::testing
