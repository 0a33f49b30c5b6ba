#!/bin/sh
# Runs the commands that come in over the port named "shell", one a line. After each one's output: a record separator and
# the exit status.
while :; do
    for port in /sys/class/virtio-ports/*; do
        [ "$(cat "$port/name" 2>/dev/null)" = shell ] || continue
        exec 3<>"/dev/${port##*/}"
        while IFS= read -r line <&3; do
            sh -c "$line" </dev/null >&3 2>&1 3>&-
            printf '\036%s\n' "$?" >&3
        done
        exec 3>&-
    done
    busybox usleep 100000
done
