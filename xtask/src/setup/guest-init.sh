#!/bin/busybox sh
# A guest's first process: loads the virtio-gpu driver, runs the program that the words after `--` on
# the kernel's command line name, and powers off when it ends. Its exit status goes out as the last
# line on the results port.
/bin/busybox mkdir -p /proc /sys /dev /tmp /run
# The links are made to where /proc says that busybox is.
/bin/busybox mount -t proc proc /proc
/bin/busybox --install -s /bin
export PATH=/payload:/bin HOME=/ LANG=C.UTF-8

mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm /dev/virtio-ports
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
ln -s /proc/self/fd /dev/fd
hostname stile-guest

while read -r module; do
    insmod "/modules/$module.ko" || echo "stile: the module $module could not be loaded"
done < /modules/order

for port in /sys/class/virtio-ports/*; do
    [ -e "$port/name" ] && ln -s "../${port##*/}" "/dev/virtio-ports/$(cat "$port/name")"
done

if [ "$1" = --interactive ]; then
    # A person at the console.
    shift
    setsid -c "$@" < /dev/hvc0 > /dev/hvc0 2>&1
else
    "$@" < /dev/null
fi
status=$?
if [ -e /dev/virtio-ports/stile.results ]; then
    echo "{\"event\":\"exit\",\"code\":$status}" > /dev/virtio-ports/stile.results
fi
poweroff -f
