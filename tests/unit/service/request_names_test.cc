#include "daemon/service/request_names.h"

#include <string>

#include "tests/support/common/status_matchers.h"

namespace weightd {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::ReasonIs;

TEST(RequestNamesTest, NamesAreAsLongAsTheyMayBe) {
  EXPECT_OK(CheckNames(std::string(512, 'm'), std::string(64, 'd')));
  EXPECT_OK(CheckNames("", ""));
  EXPECT_THAT(CheckNames(std::string(513, 'm')),
              ReasonIs(Reason::kInvalidRequest,
                       AllOf(HasSubstr("model has 513 bytes"), HasSubstr("at most 512"))));
  EXPECT_THAT(CheckNames("m", std::string(65, 'd')),
              ReasonIs(Reason::kInvalidRequest, HasSubstr("device has 65 bytes")));
}

TEST(RequestNamesTest, ClientNamesToo) {
  v1::AttachRequest request;
  request.set_client_name(std::string(64, 'c'));
  EXPECT_OK(CheckNames(request));
  request.set_client_name(std::string(65, 'c'));
  EXPECT_THAT(CheckNames(request),
              ReasonIs(Reason::kInvalidRequest, HasSubstr("client_name has 65 bytes")));
}

TEST(RequestNamesTest, DevicesAreCounted) {
  v1::StageModelRequest request;
  for (int i = 0; i < 64; ++i) request.add_devices("GPU-1");
  EXPECT_OK(CheckNames(request));
  request.add_devices("GPU-1");
  EXPECT_THAT(CheckNames(request), ReasonIs(Reason::kInvalidRequest, HasSubstr("devices has 65")));
  request.clear_devices();
  request.add_devices(std::string(65, 'd'));
  EXPECT_THAT(CheckNames(request), ReasonIs(Reason::kInvalidRequest, HasSubstr("has 65 bytes")));
}

TEST(RequestNamesTest, WhatIsToldOfARefusalIsShort) {
  EXPECT_EQ(Shortened("model"), "model");
  const std::string cut = Shortened(std::string(60'000, 'm'));
  EXPECT_EQ(cut.size(), 512);
  EXPECT_THAT(cut, ::testing::EndsWith("m..."));
  std::string wide;  // a character of two bytes, 509 is within one
  for (int i = 0; i < 400; ++i) wide += "\xc3\xa9";
  EXPECT_EQ(Shortened(wide), wide.substr(0, 508) + "...");
}

}  // namespace
}  // namespace weightd
