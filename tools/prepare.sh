#!/usr/bin/env bash
# Install what the tests use from Debian's packages, and start Docker if none answers. Nothing that is there is touched.
set -euo pipefail
cd "$(dirname "$0")/.."

logs=$PWD/.cache/logs
as_root=()
[[ $EUID -eq 0 ]] || as_root=(sudo)

say() { printf 'prepare: %s\n' "$*"; }

# What must be there, and the package that brings it: a command, or a file by its path.
needs=(
    docker:docker.io dockerd:docker.io iptables:iptables podman:podman runc:runc skopeo:skopeo umoci:umoci oci-image-tool:oci-image-tool
    buildah:buildah bwrap:bubblewrap docker-registry:docker-registry busybox:busybox-static openssl:openssl git:git git-lfs:git-lfs
    hyperfine:hyperfine gcc:gcc newuidmap:uidmap /usr/lib/postgresql:postgresql
    /usr/include/stdlib.h:libc6-dev /etc/ssl/certs/ca-certificates.crt:ca-certificates
)

missing_packages() {
    local need
    for need in "${needs[@]}"; do
        present "${need%%:*}" || echo "${need#*:}"
    done | sort -u
    python3 -c 'import ensurepip' 2>/dev/null || echo python3-venv
}

present() {
    case $1 in
        /*) [[ -e $1 ]] ;;
        *) PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin command -v "$1" >/dev/null ;;
    esac
}

install_packages() {
    local missing
    mapfile -t missing < <(missing_packages)
    if ((${#missing[@]} == 0)); then
        return
    fi
    if ! command -v apt-get >/dev/null; then
        say "this is no Debian; tests that need ${missing[*]} will say that they are skipped"
        return
    fi
    say "installing ${missing[*]}"
    # A service that a package would start is of no use to the tests, and in a container it cannot start.
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends \
        "${missing[@]}" >"$logs/apt.log" 2>&1 || { tail -n 40 "$logs/apt.log" >&2; return 1; }
}

docker_answers() { timeout 20 docker info >/dev/null 2>&1; }

# Wait for a daemon that was just started: 0 if it answers, 1 if it ended or 60 seconds passed.
await_docker() {
    local pid=$1 second
    for ((second = 0; second < 60; second++)); do
        docker_answers && return 0
        [[ -d /proc/$pid ]] || return 1
        sleep 1
    done
    return 1
}

start_docker() {
    docker_answers && return
    if [[ $EUID -ne 0 ]] && timeout 20 "${as_root[@]}" docker info >/dev/null 2>&1; then
        say "Docker runs and does not answer $(id -un): add that user to the group docker and log in again"
        return
    fi
    command -v dockerd >/dev/null || [[ -x /usr/sbin/dockerd ]] || return 0
    # The second set is for machines that are containers themselves: no overlay on overlay, no packet filter.
    local options attempt=0
    for options in "" "--storage-driver=vfs --iptables=false --ip6tables=false --bridge=none"; do
        attempt=$((attempt + 1))
        say "starting dockerd $options"
        # shellcheck disable=SC2086 - a list of options
        "${as_root[@]}" env PATH="$PATH:/usr/sbin:/sbin" setsid dockerd --group "$(id -gn)" $options \
            >"$logs/dockerd-$attempt.log" 2>&1 </dev/null &
        await_docker $! && return
        "${as_root[@]}" kill $! 2>/dev/null || true
        wait $! 2>/dev/null || true
    done
    say "dockerd does not start; its last words:"
    tail -n 20 "$logs/dockerd-1.log" >&2
}

mkdir -p "$logs"
install_packages
start_docker
