#!/bin/busybox sh
# The host VM's first process: makes the lab's root file system the root, with a memory file system
# over it, runs one job in it, and powers off. The job's directory comes from outside:
#   setup     sourced here: mounts the shared directories (written by xtask)
#   command   run in the root file system
# What the job says leaves through virtio ports, so that the kernel's messages on the console never
# mix with it, and so does its exit status.
/bin/busybox mkdir -p /proc /sys /dev /root
# The links are made to where /proc says that busybox is.
/bin/busybox mount -t proc proc /proc
/bin/busybox --install -s /bin
export PATH=/bin

mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm /dev/virtio-ports

while read -r module; do
    insmod "/modules/$module.ko" || echo "stile: the module $module could not be loaded"
done < /modules/order

for port in /sys/class/virtio-ports/*; do
    [ -e "$port/name" ] && ln -s "../${port##*/}" "/dev/virtio-ports/$(cat "$port/name")"
done

nine() { # TAG WHERE OPTIONS
    mount -t 9p -o "trans=virtio,version=9p2000.L,msize=512000,$3" "$1" "$2"
}

mkdir -p /lower /over
nine rootfs /lower ro,cache=loose
mount -t tmpfs -o mode=755 tmpfs /over
mkdir /over/upper /over/work
mount -t overlay -o lowerdir=/lower,upperdir=/over/upper,workdir=/over/work overlay /root

cd /root || poweroff -f
mount --move /proc proc
mount --move /sys sys
mount --move /dev dev
mount -t devpts -o mode=620,ptmxmode=666 devpts dev/pts
mount -t tmpfs -o mode=1777 tmpfs dev/shm
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
ln -s /proc/self/fd dev/fd
hostname stile-host
ifconfig lo 127.0.0.1 up

mkdir run/job
nine job /root/run/job cache=none
. /root/run/job/setup

# /bin is the initramfs's for what follows here, and the root file system's for the job.
export HOME=/root PATH=/usr/local/bin:/usr/sbin:/usr/bin:/bin LANG=C.UTF-8
ports=/root/dev/virtio-ports
if [ -e "$ports/stile.stdout" ]; then
    chroot /root /bin/sh /run/job/command \
        < /root/dev/null > "$ports/stile.stdout" 2> "$ports/stile.stderr"
    status=$?
else
    # A person at the console.
    setsid -c chroot /root /bin/sh /run/job/command \
        < /root/dev/hvc0 > /root/dev/hvc0 2>&1
    status=$?
fi
sync
echo "$status" > "$ports/stile.status"
poweroff -f
