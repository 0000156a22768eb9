#!/usr/bin/env bash
# Makes the inputs that fuzzing begins with: real recordings of a few kilobytes, of all the kinds that are cut without ffmpeg.
#
# Usage: fuzz/seeds.sh FOLDER   makes FOLDER/index, FOLDER/cut and FOLDER/stored
set -euo pipefail

readonly SEGMENTS=3
readonly FRAGMENTED=movflags=+frag_keyframe+empty_moov+default_base_moof

# Usage: record NAME SOUND PICTURE_OPTIONS... -- MUXER_OPTIONS...   (SOUND: a codec, or none)
# Makes segments of a second, ten pictures each, as small as encoders can.
record() {
  local name=$1 sound=$2 rate=8000 picture=() input=() encode=()
  shift 2
  while [[ $1 != -- ]]; do
    picture+=("$1")
    shift
  done
  shift
  if [[ $sound != none ]]; then
    # G.711 takes a byte for each sample.
    if [[ $sound == pcm_* ]]; then rate=1000; fi
    input=(-f lavfi -i "sine=frequency=440:sample_rate=$rate")
    encode=(-c:a "$sound" -b:a 8k)
  fi
  mkdir -p "$FOLDER/index"
  ffmpeg -v error -nostdin -y -f lavfi -i "testsrc2=size=32x32:rate=10" "${input[@]}" -t "$SEGMENTS" \
    -pix_fmt yuv420p "${picture[@]}" "${encode[@]}" \
    -f segment -segment_time 1 -reset_timestamps 1 "$@" "$FOLDER/index/$name-%d.mp4"
}

# A number of four bytes, the most significant first.
word() { printf "\\x$(printf %02x $(($1 >> 24 & 255)))\\x$(printf %02x $(($1 >> 16 & 255)))\\x$(printf %02x $(($1 >> 8 & 255)))\\x$(printf %02x $(($1 & 255)))"; }

# Usage: window FROM_US LENGTH_US GAP_MODE PARAMETERS
window() {
  word "$1"
  word "$2"
  printf "\\x00\\x64\\x0$3\\x0$4"
}

# Usage: recording START_US LENGTH_US FILE
recording() {
  printf '\xffREC'
  word "$1"
  word "$2"
  printf '\x00'
  cat "$3"
}

# Usage: cut NAME FROM_US LENGTH_US GAP_MODE PARAMETERS START_US FILE [START_US FILE...]   (FILE without its folder)
cut() {
  local name=$1
  shift
  mkdir -p "$FOLDER/cut"
  {
    window "$1" "$2" "$3" "$4"
    shift 4
    while (($#)); do
      recording "$1" 1000000 "$FOLDER/index/$2.mp4"
      shift 2
    done
  } >"$FOLDER/cut/$name"
}

main() {
  local h264=(-c:v libx264 -preset veryfast -crf 50 -sc_threshold 0 -bsf:v "filter_units=remove_types=6")
  local h265=(-c:v libx265 -preset ultrafast -crf 50 -x265-params "log-level=error:scenecut=0:info=0")
  local name
  record fragmented aac "${h264[@]}" -g 10 -bf 0 -- -segment_format mp4 -segment_format_options "$FRAGMENTED"
  record fragments none "${h264[@]}" -g 5 -bf 0 -- -segment_format mp4 -segment_format_options "$FRAGMENTED+frag_every_frame"
  record reordered aac "${h264[@]}" -g 10 -bf 2 -- -segment_format mp4
  record silent none "${h264[@]}" -g 10 -bf 0 -- -segment_format mp4
  record open none "${h264[@]}" -g 5 -bf 2 -x264-params open-gop=1 -- -segment_format mp4 -segment_format_options "$FRAGMENTED"
  record larger none "${h264[@]}" -g 10 -bf 0 -s 48x32 -- -segment_format mp4
  record hevc aac "${h265[@]}" -g 10 -- -segment_format mp4 -segment_format_options "$FRAGMENTED"
  record g711 pcm_alaw "${h264[@]}" -g 10 -bf 0 -- -segment_format mov
  record g711u pcm_mulaw "${h264[@]}" -g 10 -bf 0 -- -segment_format mov -segment_format_options "$FRAGMENTED"
  for name in fragmented reordered silent open hevc g711 g711u; do
    cut "$name" 450000 2000000 0 0 0 "$name-0" 1000000 "$name-1" 2000000 "$name-2"
  done
  cut gap-closed 450000 3000000 0 0 0 fragmented-0 2000000 fragmented-2
  cut gap-kept 450000 3000000 1 0 0 fragmented-0 2000000 fragmented-2
  cut gap-kept-g711 450000 3000000 1 0 0 g711-0 2000000 g711-2
  cut several-entries 450000 2500000 0 0 0 silent-0 1000000 larger-1 2000000 silent-2
  cut one-entry 450000 2500000 0 1 0 silent-0 1000000 larger-1 2000000 silent-2
  cut many-fragments 250000 500000 0 0 0 fragments-0
  cut overlap 450000 2000000 0 0 0 reordered-0 700000 reordered-1 1500000 reordered-2
  mkdir -p "$FOLDER/stored"
  for name in fragmented fragments reordered silent open larger hevc g711 g711u; do
    cargo run --quiet --manifest-path fuzz/Cargo.toml --example store "$FOLDER/index/$name-0.mp4" >"$FOLDER/stored/$name"
  done
  # The first segments say as much of a file as those that follow.
  rm "$FOLDER"/index/*-[12].mp4
}

FOLDER=$(realpath "$1")
readonly FOLDER
cd "$(dirname "${BASH_SOURCE[0]}")/.."
main
