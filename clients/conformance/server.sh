#!/usr/bin/env bash
# A server for the tests of the clients: makes footage in FOLDER unless it is there, then becomes the server, so that
# the process id of this script is the server's. Its first line on stdout is `footage VERSION listening on URL`. It has
# a port of its own choice unless HELDAR_LISTEN is set, and no other HELDAR_ setting of the caller but those given. It dies
# with the process that started it, however that ends. With SCRIPTED=1 among the settings it is the scripted server, which
# says what cases.json has it say; `cargo build --example scripted_server` builds it beside FOOTAGE_BIN.
#
# Usage: FOOTAGE_BIN=path/to/footage clients/conformance/server.sh FOLDER [HELDAR_NAME=VALUE...]
#
# The footage: from 2026-11-22T13:00:00Z on, sixty seconds in files of ten seconds of the cameras gate_a_01 (with
# sound), yard_02 (nothing from its 30th to its 40th second) and lobby_03.
set -euo pipefail

readonly FIRST_SECOND=1795352400
readonly SEGMENT_S=10
readonly SEGMENTS=6

# Usage: record FOLDER CAMERA [FFMPEG_AUDIO_INPUT...]
record() {
  local folder=$1 camera=$2 number begin named
  shift 2
  mkdir -p "$folder/$camera"
  ffmpeg -v error -nostdin -y -f lavfi -i testsrc2=size=320x180:rate=10 "$@" -t $((SEGMENTS * SEGMENT_S)) \
    -c:v libx264 -preset ultrafast -pix_fmt yuv420p -g 20 -sc_threshold 0 -c:a aac -b:a 64k \
    -f segment -segment_time $SEGMENT_S -reset_timestamps 1 -segment_format mp4 \
    -segment_format_options movflags=+frag_keyframe+empty_moov+default_base_moof "$folder/$camera/%d.mp4"
  for ((number = 0; number < SEGMENTS; number++)); do
    begin=$((FIRST_SECOND + number * SEGMENT_S))
    named=$folder/$camera/$(date -u -d "@$begin" +%Y%m%d_%H%M%S).mp4
    mv "$folder/$camera/$number.mp4" "$named"
    touch -d "@$((begin + SEGMENT_S))" "$named"
  done
}

make_footage() {
  local folder=$1
  rm -rf "$folder.part"
  record "$folder.part" gate_a_01 -f lavfi -i sine=frequency=440:sample_rate=48000
  record "$folder.part" yard_02
  cp -rp "$folder.part/yard_02" "$folder.part/lobby_03"
  rm "$folder.part/yard_02/$(date -u -d "@$((FIRST_SECOND + 30))" +%Y%m%d_%H%M%S).mp4"
  mv "$folder.part" "$folder"
}

# Has a watcher kill this process, whatever it becomes, when the caller's process is gone; the watcher goes with it. The
# kernel's own mark for that, PR_SET_PDEATHSIG, is of no use here: it goes by threads, and tests start servers from threads
# that end. The watcher's parent has one thread that matters, its first.
die_with_caller() {
  # shellcheck disable=SC2016
  setpriv --pdeathsig KILL -- bash -c 'setpriv --pdeathsig KILL -- tail --pid="$0" -s 0.2 -f /dev/null; kill -KILL "$1"' \
    "$PPID" $$ </dev/null >/dev/null 2>&1 &
}

main() {
  die_with_caller
  local folder listen=${HELDAR_LISTEN:-127.0.0.1:0}
  if [[ " $* " == *" SCRIPTED=1 "* ]]; then
    local scripted
    scripted=$(dirname "$FOOTAGE_BIN")/examples/scripted_server
    if [[ ! -x $scripted ]]; then
      echo "error: there is no $scripted; build it with: cargo build --example scripted_server" >&2
      exit 1
    fi
    exec "$scripted" "$(dirname "$0")/cases.json" "$listen" </dev/null
  fi
  mkdir -p "$1/backups"
  folder=$(cd "$1" && pwd)
  shift
  [[ -d $folder/recordings ]] || make_footage "$folder/recordings" >&2
  # Settings of the caller's own service must not lead the tests into its data.
  unset "${!HELDAR_@}"
  exec env HELDAR_LISTEN="$listen" HELDAR_DATA_DIR="$folder/data" HELDAR_RECORDINGS_DIR="$folder/recordings" \
    HELDAR_BACKUP_LOCAL_ROOTS="$folder/backups" HELDAR_BACKUP_SCHEDULER_INTERVAL_S=5 HELDAR_SHUTDOWN_GRACE_S=2 \
    "$@" "$FOOTAGE_BIN" serve </dev/null
}

main "$@"
