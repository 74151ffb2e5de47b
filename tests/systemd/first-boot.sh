# Installs the package, enables the service, and treats it badly. $1 = the package.
set -u
. "$(dirname "$0")/words.sh"
. "$(dirname "$0")/tickets.sh"
uplink

must "the package installs" dpkg --install "$1"
ends 3 "before it is enabled, btmm says that btmmd does not run" btmm status
must "the daemon is enabled and started" systemctl enable --now btmmd.service
must "a member of group btmm" useradd --create-home --groups btmm member
must "an outsider" useradd --create-home outsider
must "it does not run as root" sh -c '[ "$(ps -o user= -C btmmd)" = btmm ]'
must "status is healthy without an account, for the member" as member btmm status
ends 4 "the outsider may not look" as outsider btmm status
ends 4 "the member may not change" as member btmm account create alice --serve --machine base

must "an account" btmm account create alice --serve --machine base
must "status is healthy with the account" as member btmm status
must "the machine knows itself" sh -c 'btmm machines | grep -q base'
must "status in JSON" sh -c 'btmm --json status | python3 -m json.tool >/dev/null'

tickets_of_alice
agent=$(agent_pid)

must "the switch is set to block" btmm firewall block
must "and says so" sh -c 'btmm --json firewall status | grep -q block'

before=$(systemctl show --property MainPID --value btmmd)
must "the daemon is killed" kill -9 "$before"
within 60 "systemd starts it again" sh -c '[ "$(systemctl show -p MainPID --value btmmd)" != 0 ] && [ "$(systemctl show -p MainPID --value btmmd)" != '"$before"' ] && systemctl is-active btmmd'
within 30 "status is healthy again" as member btmm status
tickets_after_the_daemon_was_killed
must "the switch still blocks" sh -c 'btmm --json firewall status | grep -q block'
must "with the daemon stopped as well" sh -c 'systemctl stop btmmd && btmm --json firewall status | grep -q block'
tickets_without_the_daemon "$agent"
must "an interface appears with no daemon" ip link add late0 type dummy
within 60 "and udev has it put under the switch" sh -c '
    btmm --json firewall status | python3 -c "import json, sys; sys.exit(\"late0\" not in json.load(sys.stdin)[\"enforced_on\"])"'
must "it goes again" ip link del late0
must "and the tunnel's interface is gone" sh -c '! ip link show btmm0 2>/dev/null'
must "started again" systemctl start btmmd
tickets_of_the_new_daemon
tickets_after_an_upgrade "$1" "$agent"
# polkit decides here.
within 60 "systemd-resolved asks the daemon for the account's names" sh -c 'resolvectl domain btmm0 | grep -q alice.btmm.internal'
systemd-analyze security btmmd.service --no-pager | tail -n 1
say "first boot is done"
