#include "client/cli/fd_output.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <ostream>
#include <string>
#include <thread>

#include "common/unique_fd.h"
#include "gtest/gtest.h"

namespace weightd::cli {
namespace {

struct Pipe {
  explicit Pipe(int flags) {
    std::array<int, 2> ends{};
    EXPECT_EQ(::pipe2(ends.data(), O_CLOEXEC | flags), 0);
    out = UniqueFd(ends[0]);
    in = UniqueFd(ends[1]);
  }
  std::string ReadAll() const {
    std::string all;
    std::array<char, 4096> part{};
    while (true) {
      const ssize_t got = ::read(out.get(), part.data(), part.size());
      if (got > 0) all.append(part.data(), static_cast<size_t>(got));
      if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)) return all;
    }
  }
  UniqueFd out;
  UniqueFd in;
};

// Small and large ones in their order, also into a pipe that somebody made non-blocking.
TEST(FdOutputTest, WritesAllInOrder) {
  std::string wanted;
  Pipe pipe(O_NONBLOCK);
  std::string got;
  std::thread reader([&] { got = pipe.ReadAll(); });
  {
    FdOutput sink(pipe.in.get());
    std::ostream out(&sink);
    for (const size_t bytes : {1, 100, 70'000, 3, 1'000'000, 65'536, 65'535, 2}) {
      const std::string text(bytes, static_cast<char>('a' + bytes % 26));
      out << text;
      wanted += text;
    }
    out << 'x' << std::flush;
    wanted += 'x';
    EXPECT_TRUE(out.good());
    EXPECT_EQ(sink.error(), 0);
  }
  pipe.in.reset();
  reader.join();
  EXPECT_TRUE(got == wanted) << got.size() << " of " << wanted.size();
}

TEST(FdOutputTest, KeepsTheFirstError) {
  const UniqueFd full(::open("/dev/full", O_WRONLY | O_CLOEXEC));
  FdOutput sink(full.get());
  std::ostream out(&sink);
  out << "text";
  EXPECT_TRUE(out.good());  // not written yet
  out << std::flush;
  EXPECT_FALSE(out.good());
  errno = 0;
  out << std::string(1'000'000, 'x') << std::flush;
  EXPECT_EQ(sink.error(), ENOSPC);
}

// Who waits for the command must not wait for ever because nobody reads its messages.
TEST(FdOutputTest, MessagesThatNobodyReadsAreDroppedUntilSomebodyDoes) {
  Pipe pipe(0);
  FdOutput sink(pipe.in.get(), absl::Milliseconds(1));
  std::ostream err(&sink);
  err << std::unitbuf;
  for (int i = 0; i < 100; ++i) err << std::string(10'000, 'x');
  EXPECT_TRUE(err.good());
  EXPECT_EQ(sink.error(), 0);
  std::string got(size_t{1} << 20, '\0');
  EXPECT_GT(::read(pipe.out.get(), got.data(), got.size()), 0);
  err << "read again";
  pipe.in.reset();
  EXPECT_EQ(pipe.ReadAll(), "read again");
}

}  // namespace
}  // namespace weightd::cli
