#include "daemon/staging/reads_in_flight.h"

#include <vector>

#include "gtest/gtest.h"

namespace weightd {
namespace {

// As many as one reader gets that has none which hang.
uint64_t BeginAll(ReadsInFlight& reads, uint64_t hanging = 0) {
  uint64_t begun = 0;
  while (reads.TryBegin(begun, hanging)) ++begun;
  return begun;
}

TEST(ReadsInFlightTest, OneReaderHasAPartAndGetsItAgain) {
  ReadsInFlight reads(64);
  EXPECT_EQ(BeginAll(reads), 13);
  EXPECT_EQ(reads.count(), 13);
  EXPECT_FALSE(reads.TryBegin(13, 0));
  reads.End(13);
  EXPECT_EQ(BeginAll(reads), 13);
}

TEST(ReadsInFlightTest, ReadersThatHangLeaveSomeToTheNext) {
  ReadsInFlight reads(64);
  uint64_t before = 64;
  for (int reader = 0; reader < 14; ++reader) {
    const uint64_t begun = BeginAll(reads);
    EXPECT_GE(begun, 1);
    EXPECT_LE(begun, before);
    before = begun;
  }
  EXPECT_LE(reads.count(), 64);
}

TEST(ReadsInFlightTest, AboveTheMostEachHasOne) {
  ReadsInFlight reads(2);
  for (int reader = 0; reader < 5; ++reader) EXPECT_EQ(BeginAll(reads), 1);
  EXPECT_EQ(reads.count(), 5);
  EXPECT_FALSE(reads.TryBegin(0, 1));  // its own hangs
  reads.End(4);
  EXPECT_TRUE(reads.TryBegin(0, 1));
  EXPECT_FALSE(reads.TryBegin(0, 2));
}

// One file of a volume hangs: the others are read.
TEST(ReadsInFlightTest, WhatHangsIsNoneOfTheReadersPart) {
  ReadsInFlight reads(64);
  const uint64_t hanging = BeginAll(reads);
  EXPECT_GT(BeginAll(reads, hanging), 1);
}

TEST(ReadsInFlightTest, NoLimitIsNone) {
  ReadsInFlight reads(UINT32_MAX);
  for (uint64_t i = 0; i < 1024; ++i) EXPECT_TRUE(reads.TryBegin(i, 0));
}

}  // namespace
}  // namespace weightd
