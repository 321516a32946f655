#ifndef WEIGHTD_DAEMON_FORMAT_BYTE_READER_H_
#define WEIGHTD_DAEMON_FORMAT_BYTE_READER_H_

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/status_macros.h"
#include "daemon/format/invalid.h"
#include "daemon/format/little_endian.h"

namespace weightd {

// Reads little-endian fields one after another, never past the end. Errors are InvalidHeader() of
// `path` with the field's name and its offset in the file. Thread-compatible; a view of both.
class ByteReader {
 public:
  // `file_offset` is that of the first byte in its file.
  ByteReader(absl::Span<const std::byte> bytes, uint64_t file_offset, absl::string_view path)
      : bytes_(bytes), file_offset_(file_offset), path_(path) {}

  absl::Status ReadBytes(absl::string_view field, uint64_t count,
                         absl::Span<const std::byte>& value) {
    if (count > remaining()) {
      return InvalidHeader(path_, absl::StrCat(field, " at ", offset(), " needs ", count,
                                               " bytes, ", remaining(), " are left"));
    }
    value = bytes_.subspan(position_, count);
    position_ += count;
    return absl::OkStatus();
  }
  absl::Status ReadText(absl::string_view field, uint64_t count, absl::string_view& value) {
    absl::Span<const std::byte> bytes;
    RETURN_IF_ERROR(ReadBytes(field, count, bytes));
    value = absl::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    return absl::OkStatus();
  }
  template <typename Integer>
  absl::Status Read(absl::string_view field, Integer& value) {
    absl::Span<const std::byte> bytes;
    RETURN_IF_ERROR(ReadBytes(field, sizeof(Integer), bytes));
    value = LoadLittleEndian<Integer>(bytes);
    return absl::OkStatus();
  }

  uint64_t remaining() const { return bytes_.size() - position_; }
  size_t position() const { return position_; }                 // from the first byte
  uint64_t offset() const { return file_offset_ + position_; }  // in the file
  absl::string_view path() const { return path_; }

 private:
  absl::Span<const std::byte> bytes_;
  size_t position_ = 0;
  uint64_t file_offset_;
  absl::string_view path_;
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_FORMAT_BYTE_READER_H_
