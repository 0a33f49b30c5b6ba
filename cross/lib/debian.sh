# Debian packages of other architectures and suites, without touching what is installed here: a package database of our
# own, filled from the archives that this machine is already configured for, with their signatures checked.
# To be sourced after common.sh.

# The addresses of the machine's Debian archives, with their keys: "ADDRESS SUITE KEYRING" a line.
debian_archives() {
    python3 - <<'PYTHON'
import glob, re
keys = "/usr/share/keyrings/debian-archive-keyring.gpg"
found = []
for path in sorted(glob.glob("/etc/apt/sources.list.d/*.sources")):
    for stanza in re.split(r"\n\s*\n", open(path).read()):
        field = dict(re.findall(r"(?m)^([\w-]+):[ \t]*(.*)$", stanza))
        if "debian" in field.get("Signed-By", keys) and field.get("Enabled", "yes") != "no":
            found += [(a, s, field.get("Signed-By", keys)) for a in field.get("URIs", "").split() for s in field.get("Suites", "").split()]
for path in ["/etc/apt/sources.list", *sorted(glob.glob("/etc/apt/sources.list.d/*.list"))]:
    try:
        lines = open(path).read().splitlines()
    except OSError:
        continue
    for line in lines:
        m = re.match(r"\s*deb\s+(?:\[(.*?)\]\s+)?(\S+)\s+(\S+)\s+.*\bmain\b", line)
        if m:
            signed = re.search(r"signed-by=(\S+)", m[1] or "")
            found.append((m[2], m[3], signed[1] if signed else keys))
for archive in dict.fromkeys(found):
    print(*archive)
PYTHON
}

# private_apt SUITE ARCH PROGRAM ARGUMENTS...: apt-get or apt-cache with the database of our own. SUITE is `release`,
# `backports` (which stands on its release, so that both are read), or `root` (the release, for a root file system).
private_apt() {
    local suite=$1 arch=$2 program=$3
    local state=$cache/cross/apt/$suite-$arch
    shift 3
    mkdir -p "$state"
    local options=(-o Dir::Etc::SourceList="$state/sources.list" -o Dir::Etc::SourceParts=- -o Dir::State="$state/state"
        -o Dir::State::status=/var/lib/dpkg/status -o Dir::Cache="$state/cache" -o APT::Architectures::=amd64
        -o APT::Architectures::="$arch" -o Debug::NoLocking=1 -o APT::Get::List-Cleanup=0 -o Acquire::Languages=none
        -o APT::Sandbox::User=root -o Acquire::Retries=3)
    # `root` is for a system of its own: nothing is installed there yet.
    if [ "$suite" = root ]; then
        : >"$state/status"
        options+=(-o Dir::State::status="$state/status" -o APT::Architecture="$arch")
    fi
    # An old index names packages that the archive has since replaced.
    if [ -z "$(find "$state/updated" -mmin -720 2>/dev/null)" ]; then
        mkdir -p "$state/state/lists/partial" "$state/cache/archives/partial"
        local address release keys
        debian_archives | while read -r address release keys; do
            echo "deb [arch=$arch signed-by=$keys] $address $release main"
            if [ "$suite" = backports ] && [[ $release != *[-/]* ]]; then
                echo "deb [arch=$arch signed-by=$keys] $address $release-backports main"
            fi
        done | sort -u >"$state/sources.list"
        [ -s "$state/sources.list" ] || die "no Debian archive is configured in /etc/apt: add one and run again"
        # One archive's index may be broken for one architecture; what counts is whether the packages are found.
        apt-get "${options[@]}" -qq update >"$state/update.log" 2>&1 || true
        touch "$state/updated"
    fi
    if [ "$suite" = backports ]; then options+=(-t "$(. /etc/os-release && echo "$VERSION_CODENAME")-backports"); fi
    (cd "$state/cache" && "$program" "${options[@]}" "$@")
}

# unpack SUITE ARCH FOLDER [--with-dependencies] PACKAGE...: unpacks packages into a folder, installing nothing. With
# dependencies: those too that this machine lacks. Does nothing where it was done before.
unpack() {
    local suite=$1 arch=$2 folder=$3 state=$cache/cross/apt/$1-$2
    shift 3
    local asked="$*" dependencies='' package
    if [ "$1" = --with-dependencies ]; then dependencies=yes; shift; fi
    if [ -e "$folder/.unpacked" ] && [ "$(cat "$folder/.unpacked")" = "$asked" ]; then return; fi
    rm -rf "$folder"
    mkdir -p "$folder"
    echo "fetching $* ($arch)" >&2
    private_apt "$suite" "$arch" apt-get clean
    if [ -n "$dependencies" ]; then
        private_apt "$suite" "$arch" apt-get -qq -y --no-install-recommends --download-only install "$@" >"$state/fetch.log" 2>&1 || true
    else
        private_apt "$suite" "$arch" apt-get -qq download "${@/%/:$arch}" >"$state/fetch.log" 2>&1 || true
        mv "$state"/cache/*.deb "$state/cache/archives/" 2>/dev/null || true
    fi
    for package in "$@"; do
        ls "$state/cache/archives/${package}"_*.deb >/dev/null 2>&1 ||
            die "the package $package for $arch is not to be had from this machine's Debian archives ($suite); $state/fetch.log and update.log say why"
    done
    # Debian's /bin, /lib and /sbin are links into /usr, which a package may not replace.
    if [ "$suite" = root ]; then
        local link
        mkdir -p "$folder/usr"
        for link in bin sbin lib; do mkdir -p "$folder/usr/$link" && ln -s "usr/$link" "$folder/$link"; done
    fi
    for package in "$state"/cache/archives/*.deb; do
        dpkg-deb --fsys-tarfile "$package" | tar -x --keep-directory-symlink --no-same-owner -C "$folder"
    done
    private_apt "$suite" "$arch" apt-get clean
    echo "$asked" >"$folder/.unpacked"
}
