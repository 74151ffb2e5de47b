# Holds the namespaces of one node. $1 = name, $2 = lab root for foreign programs, or empty inside the VM.
set -e
mount --make-rprivate /
mount -t tmpfs -o mode=755 run /run
mkdir -p /run/btmm /run/netns /run/lock
cover() {
    mkdir -p "/run/lab/$1.up" "/run/lab/$1.work"
    mount -t overlay -o "lowerdir=$2,upperdir=/run/lab/$1.up,workdir=/run/lab/$1.work" overlay "$3"
}
mkdir -p /run/lab
mount -t tmpfs -o mode=755 lab /run/lab
cover etc /etc /etc
cover state /var/lib /var/lib
mkdir -p /etc/btmm /var/lib/btmm
rm -f /etc/resolv.conf
: >/etc/resolv.conf
printf '127.0.0.1 localhost\n::1 localhost\n' >/etc/hosts
echo "$1" >/etc/hostname
hostname "$1"
mount -t sysfs sysfs /sys
mount -t cgroup2 cgroup2 /sys/fs/cgroup 2>/dev/null || :
mount -t bpf bpf /sys/fs/bpf
mount -t tracefs tracefs /sys/kernel/tracing 2>/dev/null || :
ip link set lo up
if [ -n "$2" ]; then
    mkdir -p /run/lab/root
    cover root "$2" /run/lab/root
    mount -t proc proc /run/lab/root/proc
    mount --rbind /sys /run/lab/root/sys
    mount --rbind /dev /run/lab/root/dev
    mount -t tmpfs -o mode=1777 tmp /run/lab/root/tmp
    mount --bind /run /run/lab/root/run
    rm -f /run/lab/root/etc/resolv.conf /run/lab/root/etc/hosts
    : >/run/lab/root/etc/resolv.conf
    : >/run/lab/root/etc/hosts
    mount --bind /etc/resolv.conf /run/lab/root/etc/resolv.conf
    mount --bind /etc/hosts /run/lab/root/etc/hosts
fi
echo ready
cat >/dev/null
# The process that made this node is gone without removing it: take everything in it along.
mine=$(readlink /proc/$$/ns/net)
for link in /proc/[0-9]*/ns/net; do
    pid=${link#/proc/}
    pid=${pid%%/*}
    if [ "$pid" != "$$" ] && [ "$(readlink "$link")" = "$mine" ]; then kill -9 "$pid" || :; fi
done
