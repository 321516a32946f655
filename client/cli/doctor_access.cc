#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "client/cli/doctor.h"

// Who may reach the daemon, and what it says to whom.

namespace weightd::cli {
namespace {

bool Has(const google::protobuf::RepeatedField<uint32_t>& numbers, uint32_t number) {
  return std::find(numbers.begin(), numbers.end(), number) != numbers.end();
}

std::string OwnerText(const PathFacts& path) {
  return absl::StrFormat("mode %04o, uid %d, gid %d", path.mode & 07777, path.uid, path.gid);
}

std::string GroupsText(const ProcessFacts& own) {
  return absl::StrCat("you are uid ", own.uid, ", gid ", own.gid,
                      own.supplementary_gids.empty()
                          ? ""
                          : absl::StrCat(" and ", absl::StrJoin(own.supplementary_gids, ", ")));
}

// For one who may not enter.
std::string EnterFix(const PathFacts& directory) {
  if (directory.error_number != 0) {
    return "be root or of weightd's group, and on its allow-list (access.attach_uid)";
  }
  // Nobody should join root's group for this.
  const std::string group = directory.gid == 0
                                ? "run weightd with a group of its own (deploy/systemd), join that"
                                : absl::StrCat("join gid ", directory.gid);
  return absl::StrCat(group, " (", OwnerText(directory),
                      " have the directory), and be on weightd's allow-list (access.attach_uid, "
                      "access.attach_gid)");
}

// What lets `own` operate.
std::string OperateSetting(const ProcessFacts& own) {
  return absl::StrCat("--access.operate-uid ", own.uid);
}

}  // namespace

Check CheckAllowList(const v1::AccessFacts& access, uint32_t socket_gid) {
  const auto list = [](const google::protobuf::RepeatedField<uint32_t>& given) {
    const std::set<uint32_t> numbers(given.begin(), given.end());
    return numbers.empty() ? "none" : absl::StrJoin(numbers, ", ");
  };
  Check check{.name = "allow-lists", .found = {}};
  check.found = absl::StrCat("attach: uids ", list(access.attach_uids()), ", gids ",
                             list(access.attach_gids()), "; operate: uids ",
                             list(access.operate_uids()), ", gids ", list(access.operate_gids()));
  const bool group_attaches =
      Has(access.attach_gids(), socket_gid) || Has(access.operate_gids(), socket_gid);
  if (group_attaches || socket_gid == 0) return check;
  check.verdict = Verdict::kWarn;
  absl::StrAppend(&check.found, "; the socket's gid ", socket_gid,
                  " is in none, so that its members connect and are refused");
  check.fix = absl::StrCat("weightd --access.attach-gid ", socket_gid, " lets them attach");
  return check;
}

PathFacts LookAt(const std::string& path) {
  PathFacts facts{.path = path};
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) {
    facts.error_number = errno;
    return facts;
  }
  facts.mode = info.st_mode;
  facts.uid = info.st_uid;
  facts.gid = info.st_gid;
  return facts;
}

Check CheckSocket(const PathFacts& directory, const PathFacts& socket, const ProcessFacts& own) {
  Check check{.name = "socket", .found = {}};
  if (socket.error_number != 0) {
    check.verdict = Verdict::kFail;
    check.found = absl::StrCat(socket.path, ": ", std::strerror(socket.error_number));
    check.fix =
        socket.error_number == EACCES
            ? EnterFix(directory)
            : "`weightctl --socket-dir DIR`, or WEIGHTD_SOCKET_DIR, names the daemon's directory";
    return check;
  }
  check.found = absl::StrCat(socket.path, " (", OwnerText(socket), ") in a directory of ",
                             OwnerText(directory), "; ", GroupsText(own));
  if ((directory.mode & 07) != 0 && (directory.mode & S_ISVTX) == 0) {
    check.verdict = Verdict::kWarn;
    absl::StrAppend(&check.found, "; other users may enter the directory");
    check.fix = absl::StrCat("chmod 0750 ", directory.path);
  }
  return check;
}

Check CheckHandleSocket(const PathFacts& socket, const absl::Status* answer,
                        const ProcessFacts& own) {
  Check check{.name = "handle socket", .found = {}};
  if (socket.error_number != 0) {
    check.verdict = Verdict::kFail;
    check.found = absl::StrCat(socket.path, ": ", std::strerror(socket.error_number));
    check.fix =
        "give a container the whole directory, not weightd.sock alone; or start weightd again, "
        "which makes it anew";
    return check;
  }
  check.found = absl::StrCat(socket.path, " (", OwnerText(socket), ")");
  if (answer == nullptr) return check;
  if (answer->ok()) {
    absl::StrAppend(&check.found, " answers");
    return check;
  }
  check.verdict = Verdict::kFail;
  absl::StrAppend(&check.found, ", which attaching takes: ", answer->message());
  if (answer->code() == absl::StatusCode::kPermissionDenied) {
    absl::StrAppend(&check.found, "; ", GroupsText(own));
    check.fix =
        "give it owner, group and mode of weightd.sock (start weightd, or weightd.socket, again), "
        "and be on weightd's allow-list (access.attach_uid, access.attach_gid)";
  } else if (answer->code() == absl::StatusCode::kDeadlineExceeded) {
    check.fix = "weightd hangs or is stopped: look at its log";
  } else {
    check.fix = "start weightd again, which makes the socket anew; if not, look at its log";
  }
  return check;
}

Check CheckUnreachable(const absl::Status& status, const PathFacts& directory,
                       const ProcessFacts& own) {
  Check check{.name = "daemon",
              .verdict = Verdict::kFail,
              .found = absl::StrCat("does not answer: ", status.message())};
  if (directory.error_number == ENOENT) {
    check.fix = "start weightd, or name its directory: --socket-dir DIR or WEIGHTD_SOCKET_DIR";
  } else if (status.code() == absl::StatusCode::kPermissionDenied) {
    absl::StrAppend(&check.found, "; ", GroupsText(own));
    check.fix = EnterFix(directory);
  } else if (absl::StrContains(status.message(), "nobody listens")) {
    check.fix = "weightd ended without a clean stop: look at its log, and start it again";
  } else if (status.code() == absl::StatusCode::kDeadlineExceeded) {
    check.fix = "weightd hangs or is stopped: look at its log; --timeout gives it longer";
  } else {
    check.fix = "start weightd, or look at its log for why it ended";
  }
  return check;
}

Check CheckNotAsked(const absl::Status& status, const ProcessFacts& own) {
  Check check{.name = "daemon's side", .verdict = Verdict::kWarn, .found = {}};
  check.found = absl::StrCat(status.message(), "; what follows is judged for this process instead");
  switch (status.code()) {
    case absl::StatusCode::kPermissionDenied:
      check.fix = absl::StrCat("run it as root or as the daemon's user, or weightd with ",
                               OperateSetting(own));
      break;
    case absl::StatusCode::kUnimplemented:
      check.fix = "the daemon is older than weightctl: install both from one build";
      break;
    case absl::StatusCode::kResourceExhausted:
      check.fix = "run it again when the others are done";
      break;
    case absl::StatusCode::kDeadlineExceeded:
      check.verdict = Verdict::kFail;
      check.fix =
          "see that the roots' volumes answer; --no-reads looks without measuring them, and "
          "--timeout gives it longer";
      break;
    default:
      check.verdict = Verdict::kFail;
      check.fix = "look at weightd's log for why it did not answer, and run it again";
  }
  return check;
}

std::vector<Check> CheckWithheld(bool reads, const ProcessFacts& own) {
  const std::string why = absl::StrCat("takes the right to operate (", OperateSetting(own), ")");
  std::vector<Check> checks = {{.name = "allow-lists",
                                .verdict = Verdict::kSkip,
                                .found = absl::StrCat("to be told them ", why)}};
  if (reads) {
    checks.push_back({.name = "reading speed",
                      .verdict = Verdict::kSkip,
                      .found = absl::StrCat("to have the roots read ", why)});
  }
  return checks;
}

}  // namespace weightd::cli
