# Shared by the scripts in cross/: where things are kept, what the targets are called, how missing tools come.
# To be sourced, from the repository's root.

cache=${LIGHTBOX_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/lightbox}
mkdir -p "$cache"

die() { echo "${0##*/}: $*" >&2; exit 1; }

need() { # COMMAND DEBIAN-PACKAGE...: installs the packages where that is allowed
    local command=$1
    shift
    command -v "$command" >/dev/null && return
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "installing $*" >&2
        { apt-get update -qq && apt-get install -y -qq -o DPkg::Lock::Timeout=300 --no-install-recommends "$@"; } >/dev/null 2>&1 || true
    fi
    command -v "$command" >/dev/null || die "'$command' is missing: install $* and run again"
}

# Sets for TARGET (aarch64, armv7 or x86-64): triple (Rust's name), gnu (the C compiler's prefix), arch (Debian's name).
target() {
    case ${1:-} in
    aarch64) triple=aarch64-unknown-linux-gnu gnu=aarch64-linux-gnu arch=arm64 ;;
    armv7) triple=armv7-unknown-linux-gnueabihf gnu=arm-linux-gnueabihf arch=armhf ;;
    x86-64) triple=x86_64-unknown-linux-gnu gnu=x86_64-linux-gnu arch=amd64 ;;
    *) echo "${0##*/}: no target '${1:-}'; there are aarch64 (boards with a 64-bit system), armv7 (32-bit), x86-64 (a PC)" >&2; exit 2 ;;
    esac
    name=$1
}
