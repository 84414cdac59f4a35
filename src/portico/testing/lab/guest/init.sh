#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Process 1 of a lab's virtual machine: load drivers, ask for an address, run commands that come over a virtio serial port.
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
for module in /modules/*; do insmod "$module"; done
hostname "$(cat /hostname)"
ip link set lo up
ip link set eth0 up
echo "guest: up after $(cut -d' ' -f1 /proc/uptime) s"
udhcpc -f -S -i eth0 -T 1 -t 3 -A 1 -O mtu -O staticroutes -s /udhcpc.sh -x "hostname:$(cat /hostname)" >/dev/null 2>&1 &

# Each line is a base64 command line; the answer is its exit code and, in base64, what it wrote.
until port=$(ls /dev/vport*p1 2>/dev/null); do sleep 0.02; done
exec 3<>"$port" # it can be opened once only
echo ready >&3
while read -r line <&3; do
    output=$( (eval "$(echo "$line" | base64 -d)") 2>&1 </dev/null 3>&-; echo "code $?")
    code=${output##*code }
    echo "$code $(printf '%s' "${output%code *}" | base64 -w 0)" >&3
done
