#!/bin/sh
# The board's first process: mounts what every system has, loads the modules in /modules, then runs the commands that
# come in over the port named "shell", one a line. After each one's output: a record separator and the exit status.
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs run /run
mount -t tmpfs tmp /tmp
mkdir -p /dev/shm /dev/pts
mount -t debugfs debug /sys/kernel/debug 2>/dev/null
while read -r module; do
    insmod "/modules/$module.ko" $(cat "/etc/modules/$module" 2>/dev/null) || echo "board: the module $module was not taken"
done </modules/order
ip link set lo up
if ip link set eth0 up 2>/dev/null; then
    ip address add 10.0.2.15/24 dev eth0
    ip route add default via 10.0.2.2
fi
[ ! -x /etc/start ] || /etc/start
echo "board: ready after $(cut -d ' ' -f 1 /proc/uptime) s"
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
    usleep 100000
done
