#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "tests/support/common/status_matchers.h"
#include "tests/unit/format/parse_tensors.h"

// Files that are not as formats.md 1.3 to 1.5, 1.10 and 1.12 want them: each an error with the
// file, the place and the rule, found before anything is allocated by what the file says.

namespace weightd::testing {
namespace {

using ::testing::HasSubstr;

void ExpectInvalid(const std::string& file, const std::string& message) {
  const absl::Status status = ParseTensors(file).status();
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kDataLoss, HasSubstr(message)));
  EXPECT_THAT(status, ReasonIs(Reason::kCheckpointInvalid, HasSubstr(kTensorsPath)));
}

void ExpectBeyondLimit(const std::string& file, const TensorsLimits& limits,
                       const std::string& message) {
  EXPECT_THAT(ParseTensors(file, limits).status(),
              ReasonIs(Reason::kLimitExceeded, HasSubstr(message)));
}

// `bytes` at `offset` instead of what is there.
std::string Patched(std::string file, uint64_t offset, const std::string& bytes) {
  file.replace(offset, bytes.size(), bytes);
  return file;
}

const uint64_t kIndexBytes = TensorText().IndexEntry(0, 0, 0).size();
const uint64_t kHeaderOffset = 73 + kIndexBytes;
const uint64_t kHeaderBytes = TensorText().Header().size();

TEST(TensorsMalformedTest, GoodFilesAreGood) {
  EXPECT_OK(ParseTensors(FileText({TensorText()})));
  EXPECT_OK(ParseTensors(FileWithoutIndex({TensorText()})));
  for (uint32_t version = 1; version <= 2; ++version) {
    EXPECT_OK(ParseTensors(FileText({TensorText()}, version)));
  }
}

TEST(TensorsMalformedTest, FileHeader) {
  const std::string good = FileText({TensorText()});
  ExpectInvalid("", "not a .tensors file");
  ExpectInvalid("|TZR", "not a .tensors file");
  ExpectInvalid(Patched(good, 0, "x"), "not a .tensors file");
  ExpectInvalid(good.substr(0, 7), "version at 5 needs 4 bytes, 2 are left");
  ExpectInvalid(good.substr(0, 40), "feature flags at 9 needs 32 bytes");
  ExpectInvalid(good.substr(0, 72), "index length at 65 needs 8 bytes, 7 are left");
  for (const uint32_t version : {0U, 5U, 256U, 0xFFFFFFFFU}) {
    ExpectInvalid(Patched(good, 5, Le(version)), absl::StrCat("version at 5 is ", version));
  }
  ExpectInvalid(Patched(good, 9, "\x02"), "feature flags at 9 have an unknown bit");
  ExpectInvalid(Patched(good, 40, "\x80"), "feature flags at 40 have an unknown bit");
  // Below version 4 the bit for encryption says nothing.
  EXPECT_OK(ParseTensors(Patched(good, 9, "\x01")));
}

TEST(TensorsMalformedTest, IndexLengthAndCount) {
  const std::string good = FileText({TensorText()});
  const uint64_t left = good.size() - 73;
  ExpectInvalid(Patched(good, 65, Le(left + 1)),
                absl::StrCat("index length at 65 is ", left + 1, " bytes, only ", left));
  ExpectInvalid(Patched(good, 65, Le(~uint64_t{0})), "only");
  ExpectInvalid(Patched(good, 57, Le(~uint64_t{0})), "too many for an index");
  ExpectInvalid(Patched(good, 57, Le(uint64_t{2})), "too many for an index");
  ExpectBeyondLimit(good, {.index_bytes_max = 10}, "its index has");
  ExpectBeyondLimit(FileText({TensorText(), TensorText()}), {.tensors_max = 1}, "it has 2 tensors");
}

// Every cut of a file is an error.
TEST(TensorsMalformedTest, CutFiles) {
  const std::string with_index = FileText({TensorText()});
  const std::string without = FileWithoutIndex({TensorText()});
  // What is behind the last data is not looked at where there is an index.
  for (size_t bytes = 0; bytes < with_index.size() - 8; ++bytes) {
    EXPECT_FALSE(ParseTensors(with_index.substr(0, bytes)).ok()) << bytes;
  }
  for (size_t bytes = 0; bytes < without.size(); ++bytes) {
    EXPECT_FALSE(ParseTensors(without.substr(0, bytes)).ok()) << bytes;
  }
  ExpectInvalid(without.substr(0, without.size() - 8), "it is cut off, or was never finished");
}

TEST(TensorsMalformedTest, FileThatWasNeverFinished) {
  // Its writer had made room for what did not come.
  ExpectInvalid(FileWithoutIndex({TensorText()}) + std::string(100, '\0'),
                "is not its end, which is");
  ExpectInvalid(FileWithoutIndex({}), "it has no tensors");
}

TEST(TensorsMalformedTest, IndexRanges) {
  TensorText tensor;
  const auto with_entry = [&](uint64_t header, uint64_t data, uint64_t bytes) {
    return Patched(FileText({tensor}), 73, tensor.IndexEntry(header, data, bytes));
  };
  const uint64_t data_offset = kHeaderOffset + kHeaderBytes;
  EXPECT_OK(ParseTensors(with_entry(kHeaderOffset, data_offset, 8)));
  ExpectInvalid(with_entry(kHeaderOffset - 1, data_offset, 8), "inside of what is before it");
  ExpectInvalid(with_entry(0, data_offset, 8), "inside of what is before it");
  ExpectInvalid(with_entry(data_offset, kHeaderOffset, 8), "wanted at least 26 bytes");
  ExpectInvalid(with_entry(kHeaderOffset, kHeaderOffset + 25, 8), "wanted at least 26 bytes");
  ExpectInvalid(with_entry(kHeaderOffset, ~uint64_t{0}, 8), "wanted at least 26 bytes");
  ExpectInvalid(with_entry(~uint64_t{0}, ~uint64_t{0}, 8), "wanted at least 26 bytes");
  ExpectInvalid(with_entry(kHeaderOffset, data_offset, 1000), "data length is 1000 bytes");
  ExpectInvalid(with_entry(kHeaderOffset, data_offset, ~uint64_t{0}), "it is cut off");
  ExpectInvalid(with_entry(kHeaderOffset, data_offset - 1, 8), "as the index has it");
}

TEST(TensorsMalformedTest, OverlappingTensors) {
  const std::string file = FileText({TensorText(), TensorText()});
  TensorText second;
  second.name = "v";
  const std::string entry =
      second.IndexEntry(kHeaderOffset + kIndexBytes, kHeaderOffset + kIndexBytes + kHeaderBytes, 8);
  ExpectInvalid(Patched(file, 73 + kIndexBytes, entry), "inside of what is before it");
}

TEST(TensorsMalformedTest, HeaderLength) {
  TensorText tensor;
  const auto with_length = [&](uint64_t length) {
    return Patched(FileText({tensor}), kHeaderOffset, Le(length));
  };
  ExpectInvalid(with_length(0), "is 0, wanted");
  ExpectInvalid(with_length(25), "header length at");
  ExpectInvalid(with_length(kHeaderBytes - 1), "as the index has it");
  ExpectInvalid(with_length(~uint64_t{0}), "bytes that are left in the file");
  // A length that would be allocated unseen, without an index to compare with.
  const std::string scanned = FileWithoutIndex({tensor});
  ExpectInvalid(Patched(scanned, 73 + 16, Le(uint64_t{1} << 60)),
                "bytes that are left in the file");
  ExpectBeyondLimit(FileText({tensor}), {.header_bytes_max = 30}, "has 74 bytes, at most 30");
  ExpectBeyondLimit(scanned, {.header_bytes_max = 30}, "has 74 bytes, at most 30");
}

// The first known attack: a negative length makes a reader seek backwards for ever.
TEST(TensorsMalformedTest, NegativeDataLength) {
  const std::string length = Le(static_cast<uint64_t>(-int64_t{100}));
  const uint64_t at = kHeaderOffset + kHeaderBytes - 8;
  ExpectInvalid(Patched(FileText({TensorText()}), at, length), "is negative (-100)");
  const std::string scanned = FileWithoutIndex({TensorText()});
  ExpectInvalid(Patched(scanned, 73 + 16 + kHeaderBytes - 8, length), "is negative (-100)");
}

// A small file that declares terabytes.
TEST(TensorsMalformedTest, MetaTensorsHaveACeiling) {
  TensorText meta;
  meta.data = "";
  meta.shape = {1U << 20, 1U << 20};
  ExpectBeyondLimit(FileText({meta}, 4), {}, "tensors without data declare more than");
  meta.shape = {600};
  TensorText second = meta;
  second.name = "v";
  EXPECT_OK(ParseTensors(FileText({meta, second}, 4), {.meta_bytes_max = 4800}));
  ExpectBeyondLimit(FileText({meta, second}, 4), {.meta_bytes_max = 4799}, "4799 bytes of zeros");
}

TEST(TensorsMalformedTest, ShapeAndLength) {
  TensorText tensor;
  tensor.shape = {3};
  ExpectInvalid(FileText({tensor}), "shape [3] of F32 has 12 bytes, data length is 8");
  tensor.shape = {1};
  ExpectInvalid(FileText({tensor}), "shape [1] of F32 has 4 bytes, data length is 8");
  tensor.shape = {0xFFFFFFFF, 0xFFFFFFFF, 2};
  ExpectInvalid(FileText({tensor}), "overflows 64 bits");
  tensor.shape = std::vector<uint32_t>(65, 1);
  ExpectBeyondLimit(FileText({tensor}), {}, "has 65 dimensions, at most 64");
}

TEST(TensorsMalformedTest, IndexAndHeaderMustAgree) {
  const TensorText good;
  const struct {
    std::function<void(TensorText&)> change;
    const char* message;
  } kCases[] = {
      {[](TensorText& tensor) { tensor.name = "v"; }, "the name is \"w\", the index has \"v\""},
      {[](TensorText& tensor) { tensor.kind = 1; }, "the tensor type is"},
      {[](TensorText& tensor) { tensor.dtype = "<i4"; }, "the dtype is \"<f4\", the index has"},
      {[](TensorText& tensor) { tensor.shape = {3}; }, "the shape is [2], the index has [3]"},
  };
  for (const auto& differs : kCases) {
    TensorText changed = good;
    differs.change(changed);
    const std::string entry = changed.IndexEntry(kHeaderOffset, kHeaderOffset + kHeaderBytes, 8);
    ASSERT_EQ(entry.size(), kIndexBytes);
    ExpectInvalid(Patched(FileText({good}), 73, entry), differs.message);
  }
  // The lengths differ, and both lie in the file.
  const std::string entry = good.IndexEntry(kHeaderOffset, kHeaderOffset + kHeaderBytes, 9);
  ExpectInvalid(Patched(FileText({good}), 73, entry), "the data length is 8, the index has 9");
}

TEST(TensorsMalformedTest, FieldsOfATensor) {
  const struct {
    std::function<void(TensorText&)> change;
    const char* message;
  } kCases[] = {
      {[](TensorText& tensor) { tensor.name = ""; }, "name \"\": empty"},
      {[](TensorText& tensor) { tensor.name = "\xff"; }, "not UTF-8"},
      {[](TensorText& tensor) { tensor.kind = 3; }, "is 3, wanted 0, 1 or 2"},
      {[](TensorText& tensor) { tensor.dtype = ">f4"; }, "big-endian"},
      {[](TensorText& tensor) { tensor.dtype = ""; }, "wanted byte order"},
      {[](TensorText& tensor) { tensor.name = "\x1e[\"a\"]", tensor.kind = 0; },
       "a path names a parameter or buffer"},
  };
  for (const auto& bad : kCases) {
    TensorText tensor;
    bad.change(tensor);
    ExpectInvalid(FileText({tensor}), bad.message);
  }
  TensorText twice;
  ExpectInvalid(FileText({twice, twice}), "tensor \"w\" occurs twice");
}

TEST(TensorsMalformedTest, HashBlock) {
  const struct {
    std::string hashes;
    const char* message;
  } kCases[] = {
      {Hex("00 00"), "number of hashes at"},
      {Hex("01 00 01"), "needs"},
      {Hex("02 00 00 00"), "has 2 bytes by its length, wanted 1"},
      {Hex("07 00 01 02 04 00000000"), "type 2, wanted 0 (CRC32) or 1 (SHA-256)"},
      {Hex("06 00 01 00 03 000000"), "a CRC32 of 3 bytes, wanted 4"},
      {Hex("07 00 01 01 04 00000000"), "a SHA-256 of 4 bytes, wanted 32"},
      {Hex("0d 00 02 00 04 00000000 00 04 00000000"), "a second CRC32"},
      {Hex("ff ff 00"), "has 65535 bytes by its length"},
  };
  for (const auto& bad : kCases) {
    TensorText tensor;
    tensor.hashes = bad.hashes;
    ExpectInvalid(FileText({tensor}), bad.message);
  }
  TensorText without;
  without.hashes = Hex("01 00 00");
  ASSERT_OK_AND_ASSIGN(const ShardHeader header, ParseTensors(FileText({without})));
  EXPECT_FALSE(header.stored[0].hashes.any());
}

TEST(TensorsMalformedTest, PaddingBehindTheHashesIsPartOfTheHeader) {
  TensorText padded;
  padded.padding = std::string(1000, '\0') + "x" + std::string(50, '\0');
  ASSERT_OK_AND_ASSIGN(const ShardHeader header, ParseTensors(FileText({padded})));
  EXPECT_EQ(header.stored[0].hashes.header_zeros, 50);
}

}  // namespace
}  // namespace weightd::testing
