# Sourced by the other scripts: prints what is run, and installs what is missing on Debian and Ubuntu.

run() {
    echo "+ $*" >&2
    "$@"
}

# need PACKAGE COMMAND: remembers PACKAGE unless COMMAND is there.
missing_packages=()
need() {
    command -v "$2" >/dev/null 2>&1 || missing_packages+=("$1")
}

install_missing() {
    [ ${#missing_packages[@]} -eq 0 ] && return
    if ! command -v apt-get >/dev/null 2>&1; then
        echo "error: ${missing_packages[*]} missing, and there is no apt-get to install them" >&2
        exit 1
    fi
    local root=()
    [ "$(id -u)" -eq 0 ] || root=(sudo)
    run "${root[@]}" apt-get update -q
    run "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing_packages[@]}"
    missing_packages=()
}

need_rust() {
    # A toolchain of rustup is often not on the PATH of a script.
    command -v cargo >/dev/null 2>&1 || export PATH="$HOME/.cargo/bin:$PATH"
    if ! command -v cargo >/dev/null 2>&1; then
        echo "error: there is no cargo" >&2
        echo "hint: install Rust with rustup, see https://rustup.rs" >&2
        exit 1
    fi
}
