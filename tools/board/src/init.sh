#!/bin/sh
# The board's first process: mounts what every system has, loads the modules in /modules, starts /etc/start, and becomes
# the shell.
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs run /run
mount -t tmpfs tmp /tmp
mkdir -p /dev/shm /dev/pts
mount -t debugfs debug /sys/kernel/debug 2>/dev/null
cat >/bin/load-modules <<'LOAD'
#!/bin/sh
while read -r module; do
    insmod "/modules/$module.ko" $(cat "/etc/modules/$module" 2>/dev/null) || echo "board: the module $module was not taken"
done <"${1:-/modules/later}"
LOAD
chmod +x /bin/load-modules
load-modules /modules/order
ip link set lo up
if ip link set eth0 up 2>/dev/null; then
    ip address add 10.0.2.15/24 dev eth0
    ip route add default via 10.0.2.2
fi
[ ! -x /etc/start ] || /etc/start
echo "board: ready after $(cut -d ' ' -f 1 /proc/uptime) s"
exec /bin/shell
