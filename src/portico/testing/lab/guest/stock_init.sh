#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Process 1 of the machine that runs tests on a stock kernel: the real machine's files, read-only over 9p, below a tmpfs.
export PATH=/bin
mount -t proc proc /proc
mount -t devtmpfs dev /dev
for module in /modules/*; do insmod "$module"; done
mkdir -p /real /scratch /root
mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000,cache=loose,ro real /real || exec reboot -f
mount -t tmpfs -o size=75% scratch /scratch
mkdir /scratch/upper /scratch/work
mount -t overlay -o lowerdir=/real,upperdir=/scratch/upper,workdir=/scratch/work overlay /root
for directory in proc sys dev run tmp; do mkdir -p "/root/$directory"; done
mount -t sysfs sysfs /root/sys
mount -t devtmpfs dev /root/dev
mkdir -p /root/dev/pts /root/dev/shm
mount -t devpts devpts /root/dev/pts
mount -t tmpfs shm /root/dev/shm
ln -s /proc/self/fd /root/dev/fd
mkdir -p /root/dev/net
[ -e /root/dev/net/tun ] || mknod /root/dev/net/tun c 10 200 # loads its module when opened; udev makes it elsewhere
mount -t tmpfs run /root/run
cp /bin/busybox /command.sh /root/run/
umount /proc /dev
exec switch_root /root /bin/sh /run/command.sh
