# Process 1 of the lab's VM, in the lab root.
. /run/vm/config
mount -t tmpfs -o mode=1777 tmp /tmp
mount -t devpts -o gid=5,mode=620 devpts /dev/pts 2>/dev/null || { mkdir -p /dev/pts && mount -t devpts devpts /dev/pts; }
mkdir -p /dev/shm && mount -t tmpfs -o mode=1777 shm /dev/shm
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t bpf bpf /sys/fs/bpf
mount -t tracefs tracefs /sys/kernel/tracing 2>/dev/null
for link in fd:/proc/self/fd stdin:fd/0 stdout:fd/1 stderr:fd/2; do ln -sf "${link#*:}" "/dev/${link%%:*}"; done
# udev would make the node and load the module when it is opened.
/sbin/modprobe tun
hostname lab
ip link set lo up
sh /run/vm/command.sh
sleep 20
busybox poweroff -f
