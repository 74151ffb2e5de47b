# After the reboot: on by itself, the switch as it was left; then the package is purged and nothing is left.
set -u
. "$(dirname "$0")/words.sh"
. "$(dirname "$0")/tickets.sh"

must "the guard was up before the network" systemctl is-active btmmd-guard.service
must "and drops what would go to an inner address" sh -c 'ip -6 rule | grep -q 4500 && ip -6 route show table 4500 | grep -q "^unreachable"'
within 60 "the daemon runs after a reboot" systemctl is-active btmmd.service
uplink
within 30 "status is healthy" as member btmm status
must "the account is still there" sh -c 'btmm machines | grep -q base'
must "the switch still blocks" sh -c 'btmm --json firewall status | grep -q block'
must "the switch allows again" btmm firewall allow
tickets_after_a_reboot
agent=$(agent_pid)

must "the package is purged" dpkg --purge btmm
must "no daemon" sh -c '! pgrep -x btmmd'
within 60 "no agent" [ ! -e "/proc/$agent" ]
must "no interface" sh -c '! ip -o link | grep btmm'
must "no XFRM state" sh -c '[ -z "$(ip xfrm state)" ]'
must "no XFRM policy" sh -c '! ip xfrm policy | grep -q "^src .*/"'
must "no rule and no route" sh -c '! ip -6 rule | grep -q 4500 && [ -z "$(ip -6 route show table 4500 2>/dev/null)" ]'
must "no pin" sh -c '! ls -d /sys/fs/bpf/btmm*'
must "no XDP or TC program" sh -c '! ip -o link | grep xdp && ! bpftool net show dev uplink0 | grep -w id && ! bpftool prog show | grep -E "^[0-9]+: (xdp|sched_cls)"'
must "no user and no group" sh -c '! getent passwd btmm && ! getent group btmm'
# The VM's own unit in /run/systemd is not of the package.
must "no file" sh -c '! find /etc /usr/bin /usr/sbin /usr/lib/systemd /usr/lib/sysusers.d /usr/lib/tmpfiles.d /usr/share /var /run \
    -xdev -iname "*btmm*" -not -path "/run/systemd/*" -not -path "/var/tmp/systemd-private-*" | grep .'
say "second boot is done"
