#!/bin/busybox sh
# Initial root of the lab's VM: lab root read-only over 9p, a cover that takes the writes, the checkout beside it.
export PATH=/bin
/bin/busybox --install -s /bin
fail() { echo "btmm-vm: $*" >/dev/kmsg; poweroff -f; }
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
. /vm/config
while read -r module; do insmod "/modules/$module" || fail "insmod $module"; done </modules/order

share="trans=virtio,version=9p2000.L,msize=524288,access=any"
mount -t 9p -o "$share,ro,cache=loose" lab /lower || fail "no lab root"
if [ "$COVER" = disk ]; then
    mount -t ext4 /dev/vda /cover || fail "no disk"
else
    mount -t tmpfs -o size=80% tmpfs /cover || fail "no cover"
fi
mkdir -p /cover/upper /cover/work
mount -t overlay -o lowerdir=/lower,upperdir=/cover/upper,workdir=/cover/work overlay /new || fail "no overlay"

mount -t tmpfs -o mode=755 run /new/run
mkdir /new/run/vm
cp /vm/* /new/run/vm/
for tag in repo target; do
    eval "dir=\$MOUNT_$tag"
    [ -n "$dir" ] || continue
    mkdir -p "/new$dir"
    mount -t 9p -o "$share,cache=mmap" "$tag" "/new$dir" || fail "no $tag"
done
for port in /sys/class/virtio-ports/*; do
    read -r name <"$port/name"
    ln -s "/dev/${port##*/}" "/new/run/vm/$name"
done
mount --move /dev /new/dev
mount --move /proc /new/proc
mount --move /sys /new/sys
if [ "$INIT" = systemd ]; then
    sh /new/run/vm/units.sh /new || fail "no units"
    exec switch_root /new /sbin/init
fi
exec switch_root /new /bin/sh /run/vm/stage2.sh
