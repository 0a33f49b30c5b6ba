# Sets up what compiles for a target, and points cargo at it. To be sourced after common.sh; `toolchain` needs `target`.

. cross/lib/debian.sh

toolchain() {
    need cc gcc
    case $name in
    aarch64) need aarch64-linux-gnu-gcc gcc-aarch64-linux-gnu libc6-dev-arm64-cross ;;
    armv7) need arm-linux-gnueabihf-gcc gcc-arm-linux-gnueabihf libc6-dev-armhf-cross ;;
    esac
    export CARGO_TARGET_DIR=$cache/cross-$name
    local upper=${triple//-/_}
    if [ "$name" != x86-64 ]; then
        export "CARGO_TARGET_${upper^^}_LINKER=$gnu-gcc" "CC_$upper=$gnu-gcc" "AR_$upper=$gnu-ar"
    fi
    # One file that runs on any system of the architecture, whatever its C library.
    export "CARGO_TARGET_${upper^^}_RUSTFLAGS=-Ctarget-feature=+crt-static${LIGHTBOX_RUSTFLAGS:+ $LIGHTBOX_RUSTFLAGS}"
    standard_library
}

# The standard library for the target: rustup's, or else Debian's compiler with Debian's library of that architecture.
standard_library() {
    local folder
    folder=$(rustc --print sysroot)/lib/rustlib/$triple
    if [ -z "${LIGHTBOX_DEBIAN_RUST:-}" ]; then
        [ ! -d "$folder" ] || return 0
        command -v rustup >/dev/null && rustup target add "$triple" >/dev/null 2>&1
        [ ! -d "$folder" ] || return 0
        echo "rustup cannot fetch the target $triple: using Debian's compiler" >&2
    fi
    local rust=$cache/cross/rust
    unpack release amd64 "$rust/amd64" --with-dependencies rustc-web
    unpack release "$arch" "$rust/$arch" libstd-rust-web-dev
    ln -sfn "$rust/$arch/usr/lib/rustlib/$triple" "$rust/amd64/usr/lib/rustlib/$triple"
    export RUSTC=$rust/amd64/usr/bin/rustc
    export LD_LIBRARY_PATH=$rust/amd64/usr/lib/x86_64-linux-gnu${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
    export CARGO_TARGET_DIR=$CARGO_TARGET_DIR-debian
    "$RUSTC" --version >/dev/null || die "Debian's compiler does not run: $RUSTC"
}
