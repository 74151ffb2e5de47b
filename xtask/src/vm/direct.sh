# enter COVER LAB REPO TARGET COMMAND…: in fresh namespaces, makes the lab root the root, and runs the command.
set -e
enter() {
    new=$1 lab=$2 repo=$3 target=$4
    shift 4
    mount --make-rprivate /
    mount -t tmpfs -o size=50% cover "$new"
    mkdir "$new/upper" "$new/work" "$new/root"
    mount -t overlay -o "lowerdir=$lab,upperdir=$new/upper,workdir=$new/work" overlay "$new/root"
    root=$new/root
    mount -t proc proc "$root/proc"
    mount -t sysfs sysfs "$root/sys"
    mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup" || :
    mount -t bpf bpf "$root/sys/fs/bpf"
    mount --rbind /dev "$root/dev"
    mount -t tmpfs -o mode=1777 tmp "$root/tmp"
    mount -t tmpfs -o mode=755 run "$root/run"
    for dir in "$repo" "$target"; do
        mkdir -p "$root$dir"
        mount --rbind "$dir" "$root$dir"
    done
    mkdir -p "$root/usr/lib/modules"
    [ ! -d /lib/modules ] || mount --rbind /lib/modules "$root/usr/lib/modules"
    hostname lab
    ip link set lo up
    export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
    # Not chroot: whoever enters a mount namespace made in here lands at that namespace's root.
    mkdir -p "$root/.outside"
    cd "$root"
    pivot_root . .outside
    umount -l /.outside
    cd "$repo"
    exec "$@"
}
