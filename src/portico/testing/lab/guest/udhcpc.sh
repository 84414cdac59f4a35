#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What udhcpc calls at each event of a lease; the variables are its options (busybox, networking/udhcp).
case $1 in
deconfig)
    ip address flush dev "$interface" scope global
    ;;
bound | renew)
    ip address replace "$ip/$mask" dev "$interface"
    [ -n "$mtu" ] && ip link set "$interface" mtu "$mtu"
    for address in $router; do ip route replace default via "$address" dev "$interface"; done
    set -- $staticroutes
    while [ $# -ge 2 ]; do
        ip route replace "$1" via "$2" dev "$interface"
        shift 2
    done
    : >/etc/resolv.conf
    [ -n "$domain" ] && echo "search $domain" >>/etc/resolv.conf
    for address in $dns; do echo "nameserver $address" >>/etc/resolv.conf; done
    echo "guest: address $ip/$mask" >/dev/console
    ;;
esac
