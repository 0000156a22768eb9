#!/usr/bin/env bash
# Makes the footage of two cameras as a Heldar recorder leaves it: FOLDER/<camera>/%Y%m%d_%H%M%S.mp4, names in
# UTC, fragmented MP4, ten seconds a file. A clock that is burnt into the picture shows where a clip begins and ends.
#
# Usage: .ci/sample-footage.sh FOLDER FIRST_SECOND   (FIRST_SECOND: Unix time at which both recordings begin)
set -euo pipefail

readonly SEGMENT_S=10
readonly SEGMENTS=24
readonly FRAMES_PER_S=15
# yard_02 records nothing from its 16th to its 18th file: half a minute is missing.
readonly GAP_FIRST=15
readonly GAP_LAST=17

# Prints the filter that draws camera and clock, or one that does nothing where ffmpeg finds no font.
clock_filter() {
  local camera=$1 first_second=$2 clock
  clock="drawtext=text='$camera  %{pts\\:gmtime\\:$first_second}':fontsize=48:fontcolor=white:box=1:boxcolor=black@0.6:boxborderw=12:x=40:y=40"
  if ffmpeg -v quiet -f lavfi -i color=s=64x64 -vf "$clock" -frames:v 1 -f null - </dev/null; then
    echo "$clock"
  else
    echo null
  fi
}

# Usage: record FOLDER FIRST_SECOND CAMERA [FFMPEG_AUDIO_INPUT...]
record() {
  local folder=$1 first_second=$2 camera=$3
  shift 3
  mkdir -p "$folder/$camera"
  ffmpeg -v error -nostdin -y \
    -f lavfi -i "testsrc2=size=1280x720:rate=$FRAMES_PER_S" "$@" \
    -t $((SEGMENTS * SEGMENT_S)) -vf "$(clock_filter "$camera" "$first_second")" \
    -c:v libx264 -preset ultrafast -pix_fmt yuv420p -b:v 4M -maxrate 4M -bufsize 4M \
    -g $((FRAMES_PER_S * 2)) -sc_threshold 0 -c:a aac -b:a 64k \
    -f segment -segment_time $SEGMENT_S -reset_timestamps 1 -segment_format mp4 \
    -segment_format_options movflags=+frag_keyframe+empty_moov+default_base_moof \
    "$folder/$camera/%03d.mp4"
  name_by_time "$folder/$camera" "$first_second"
}

# Gives each numbered file the name and the time of last change that a recorder would have given it.
name_by_time() {
  local folder=$1 first_second=$2 file number begin named
  for file in "$folder"/[0-9][0-9][0-9].mp4; do
    number=$((10#$(basename "$file" .mp4)))
    begin=$((first_second + number * SEGMENT_S))
    named=$folder/$(date -u -d "@$begin" +%Y%m%d_%H%M%S).mp4
    mv "$file" "$named"
    touch -d "@$((begin + SEGMENT_S))" "$named"
  done
}

leave_gap() {
  local folder=$1 first_second=$2 number
  for ((number = GAP_FIRST; number <= GAP_LAST; number++)); do
    rm "$folder/$(date -u -d "@$((first_second + number * SEGMENT_S))" +%Y%m%d_%H%M%S).mp4"
  done
}

main() {
  local folder=$1 first_second=$2 gate yard
  record "$folder" "$first_second" gate_a_01 -f lavfi -i "sine=frequency=440:sample_rate=48000" &
  gate=$!
  record "$folder" "$first_second" yard_02 &
  yard=$!
  wait "$gate"
  wait "$yard"
  leave_gap "$folder/yard_02" "$first_second"
}

main "$@"
