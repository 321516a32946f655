# Checkpoints and times, for the scripts that show weightd at work; source it after lib.sh.
# shellcheck shell=bash

# model_name PATH: what the daemon calls it below its parent.
model_name() {
  local name="${1##*/}"
  case "$name" in
    models--*--*) name="${name#models--}" && echo "${name/--//}" ;;
    *) echo "${name%.safetensors}" ;;
  esac
}

# check_given CHECKPOINT: ends the script where it is none.
check_given() {
  [[ -e $1 ]] || die "$1: no such file or directory"
  [[ -r $1 ]] || die "$1: not readable by $(id -un)"
  if [[ -d $1 ]]; then
    [[ -n $(find -L "$1" -name '*.safetensors' -print -quit 2>/dev/null) ]] ||
      die "$1: no .safetensors file in this directory"
  else
    [[ $1 == *.safetensors ]] || die "$1: not a .safetensors file"
  fi
}

# first_file CHECKPOINT: a file of it (of revision main where it is a hub cache).
first_file() {
  local where="$1"
  if [[ -f $where/refs/main ]]; then where="$where/snapshots/$(<"$where/refs/main")"; fi
  find -L "$where" -maxdepth 3 -name '*.safetensors' | sort | head -n 1
}

# some_tensor FILE: `name begin end` of the smallest tensor that has bytes; begin and end are
# positions in the file. Nothing for a header that is written in an unusual way.
some_tensor() {
  local header_bytes
  header_bytes="$(od -An -tu8 -N8 "$1" | tr -d ' ')"
  dd if="$1" bs=1M iflag=skip_bytes,count_bytes skip=8 count="$header_bytes" status=none |
    grep -oE '"[^"\\]+" *: *\{[^{}]*"data_offsets" *: *\[ *[0-9]+ *, *[0-9]+ *\][^{}]*\}' |
    sed -E 's/^"([^"]+)".*"data_offsets" *: *\[ *([0-9]+) *, *([0-9]+).*/\1 \2 \3/' |
    awk -v data="$((header_bytes + 8))" 'NF == 3 && $3 > $2 && (!n || $3 - $2 < size) {
      n = $1; size = $3 - $2; begin = $2 + data }
      END { if (n) printf "%s %d %d\n", n, begin, begin + size }'
}

# tensor_sha256 FILE BEGIN END: of those bytes.
tensor_sha256() {
  dd if="$1" bs=1M iflag=skip_bytes,count_bytes skip="$2" count=$(($3 - $2)) status=none | sha256sum | cut -d ' ' -f 1
}

now_us() { echo "${EPOCHREALTIME/./}"; }
seconds() { awk -v us="$1" 'BEGIN { printf "%.3f s", us / 1e6 }'; }
