// The C interface: what it adds to the C++ one, on the double of the daemon.

#include <weightd/weightd.h>

#include <cstddef>

#include "gmock/gmock.h"

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
