#!/usr/bin/env bash
# Builds the fuzz targets of fuzz/ and runs each for some seconds, beginning with all of its corpus. Run it with `make fuzz`,
# which installs what it uses. The flags are those of `cargo fuzz --sanitizer none`, which needs no nightly Rust.
#
# Usage: .ci/fuzz.sh [SECONDS]      each target for so long (60), all at the same time; what is new is kept in fuzz/found
#        .ci/fuzz.sh TARGET FILE    one input once more
#        .ci/fuzz.sh minimize       keeps in fuzz/corpus, of it and fuzz/found, small inputs that together reach as much; those
#                                   with a name, recordings and former findings, stay
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly TARGETS=(index stored cut)
# An input may take this long, and all of a target's memory be so much, its corpus included.
readonly INPUT_S=10
readonly MEMORY_MIB=1024
# Larger inputs find nothing that smaller ones do not, and only small ones are worth their place in the repository.
readonly INPUT_BYTES=32768
readonly KEPT_BYTES=2300
HOST=$(rustc -vV | sed -n 's/^host: //p')
readonly HOST
readonly BUILT=fuzz/target/$HOST/release

# Build scripts run on this machine and are not what is tried: with a target named, they get no flags.
build() {
  RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing" \
    cargo build --locked --release --bins --manifest-path fuzz/Cargo.toml --target-dir fuzz/target --target "$HOST"
}

# Usage: run TARGET FOLDER_OF_NEW_INPUTS SECONDS
run() {
  mkdir -p "fuzz/artifacts/$1" "$2"
  "$BUILT/$1" "$2" "fuzz/corpus/$1" -max_total_time="$3" -timeout="$INPUT_S" -rss_limit_mb="$MEMORY_MIB" \
    -max_len="$INPUT_BYTES" -dict=fuzz/boxes.dict -artifact_prefix="fuzz/artifacts/$1/" -print_final_stats=1
}

fuzz() {
  local seconds=$1 target failed=0
  local -A running=()
  mkdir -p fuzz/found
  for target in "${TARGETS[@]}"; do
    run "$target" "fuzz/found/$target" "$seconds" >"fuzz/found/$target.log" 2>&1 &
    running[$target]=$!
  done
  for target in "${TARGETS[@]}"; do
    if wait "${running[$target]}"; then
      printf '%s: %s inputs tried, none did harm\n' "$target" \
        "$(awk '/stat::number_of_executed_units/ { print $2 }' "fuzz/found/$target.log")"
    else
      tail -n 40 "fuzz/found/$target.log"
      printf 'error: %s: an input did harm; it is in fuzz/artifacts/%s\n' "$target" "$target" >&2
      failed=1
    fi
  done
  return "$failed"
}

minimize() {
  local target kept
  for target in "${TARGETS[@]}"; do
    kept=fuzz/found/$target.kept
    rm -rf "$kept"
    mkdir -p "$kept" "fuzz/found/$target"
    # libFuzzer names inputs by their hash.
    find "fuzz/corpus/$target" -type f -regextype egrep -not -regex '.*/[0-9a-f]{40}' -exec cp {} "$kept" \;
    "$BUILT/$target" -set_cover_merge=1 -use_counters=0 -timeout="$INPUT_S" -rss_limit_mb="$MEMORY_MIB" \
      -max_len="$KEPT_BYTES" "$kept" "fuzz/corpus/$target" "fuzz/found/$target" 2>"fuzz/found/$target.log"
    rm -rf "fuzz/corpus/$target"
    mv "$kept" "fuzz/corpus/$target"
    printf '%s: %s inputs, %s\n' "$target" "$(find "fuzz/corpus/$target" -type f | wc -l)" \
      "$(du -sh --apparent-size "fuzz/corpus/$target" | cut -f 1)"
  done
}

build
case ${1:-60} in
  minimize) minimize ;;
  *[!0-9]*) "$BUILT/$1" -timeout="$INPUT_S" -rss_limit_mb="$MEMORY_MIB" "$2" ;;
  *) fuzz "${1:-60}" ;;
esac
