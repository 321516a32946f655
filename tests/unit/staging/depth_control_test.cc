#include "daemon/staging/depth_control.h"

#include "gtest/gtest.h"

namespace weightd {
namespace {

constexpr absl::Duration kWindow = absl::Milliseconds(100);

// A volume of which the speed grows with the depth up to `full_at`.
class Volume {
 public:
  explicit Volume(uint32_t full_at) : full_at_(full_at) {}
  // One window at the control's depth.
  void Run(DepthControl& control, bool limited = true) {
    const uint64_t bytes = uint64_t{100} * std::min(control.depth(), full_at_);
    control.OnBytes(0, limited, now_);
    now_ += kWindow;
    control.OnBytes(bytes, limited, now_);
  }

 private:
  const uint32_t full_at_;
  absl::Time now_ = absl::UnixEpoch();
};

uint32_t Settled(uint32_t full_at, uint32_t max) {
  DepthControl control(max);
  Volume volume(full_at);
  for (int i = 0; i < 20; ++i) volume.Run(control);
  return control.depth();
}

TEST(DepthControlTest, StartsAtEightOrTheMaximum) {
  EXPECT_EQ(DepthControl(128).depth(), 8u);
  EXPECT_EQ(DepthControl(8).depth(), 8u);
  EXPECT_EQ(DepthControl(1).depth(), 1u);
}

TEST(DepthControlTest, DoublesWhileItGains) {
  // One step past what fills it shows that it is full.
  EXPECT_EQ(Settled(8, 1024), 16u);
  EXPECT_EQ(Settled(60, 1024), 128u);
  EXPECT_EQ(Settled(1'000'000, 1024), 1024u);
  EXPECT_EQ(Settled(1'000'000, 100), 100u);
}

TEST(DepthControlTest, WindowThatWasNotLimitedSaysNothing) {
  DepthControl control(1024);
  Volume volume(1'000'000);
  for (int i = 0; i < 20; ++i) volume.Run(control, /*limited=*/false);
  EXPECT_EQ(control.depth(), 8u);
  volume.Run(control);
  EXPECT_EQ(control.depth(), 16u);
}

TEST(DepthControlTest, ForgetsWhenTheVolumeRests) {
  DepthControl control(1024);
  Volume slow(8);
  for (int i = 0; i < 5; ++i) slow.Run(control);
  control.Reset();
  EXPECT_EQ(control.depth(), 8u);
  Volume fast(1'000'000);
  for (int i = 0; i < 3; ++i) fast.Run(control);
  EXPECT_EQ(control.depth(), 64u);
}

}  // namespace
}  // namespace weightd
