#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs the Debian packages that the tests and the demo need: only what is missing, and without starting a service.
set -euo pipefail

wanted=(
    bird2 busybox-static chromium clang-14 conntrack cpio dnsmasq-base docker-compose docker.io ethtool fonts-dejavu-core frr
    gobgpd iperf3 iproute2 iptables iputils-arping iputils-ping kmod libbpf-dev libbpf1 libnftables1 linux-image-amd64
    llvm-14 ndisc6 nftables
    openssl postgresql procps qemu-system-x86 systemd tcpdump
)

# python3-venv only serves Debian's own python3; another python3 that is first in PATH brings its own venv module.
python3 -c 'import ensurepip, venv' 2> /dev/null || wanted+=(python3-venv)

# dpkg-query fails when it knows nothing of one of them; what it knows of the others it prints all the same.
installed=$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' "${wanted[@]}" 2> /dev/null | sed -n 's/ installed$//p' || true)
missing=()
for package in "${wanted[@]}"; do
    grep -qxF "$package" <<< "$installed" || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

if [ "$(id -u)" -ne 0 ]; then
    echo "packages: not root, so cannot install: apt-get install --no-install-recommends ${missing[*]}" >&2
    exit 1
fi

# invoke-rc.d and deb-systemd-invoke ask this file whether they may start a service; 101 is "no" (invoke-rc.d(8)).
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' > "$policy"
    chmod 755 "$policy"
fi

export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
echo "packages: installing ${missing[*]}"
if ! { apt-get update && apt-get install --yes --no-install-recommends "${missing[@]}"; } > "$log" 2>&1 < /dev/null; then
    tail -n 20 "$log" >&2
    echo "packages: apt-get failed; the whole log is in $log" >&2
    exit 1
fi
rm -f "$log"
