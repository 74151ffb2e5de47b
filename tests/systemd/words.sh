# Words of the two boots.
say() { echo "== $*"; }
fail() {
    echo "FAILED: $*"
    journalctl --no-pager --boot --unit btmmd.service | tail -n 60
    journalctl --no-pager --boot _SYSTEMD_USER_UNIT=btmm-agent.service | tail -n 20
    exit 1
}
# must WHAT COMMAND…: the command succeeds.
must() {
    what=$1
    shift
    "$@" || fail "$what: $* ended with $?"
    say "$what"
}
# within SECONDS WHAT COMMAND…: the command succeeds before long.
within() {
    left=$1 what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        left=$((left - 1))
        [ "$left" -gt 0 ] || fail "$what: $* never succeeded"
        sleep 1
    done
    say "$what"
}
# ends CODE WHAT COMMAND…: the command ends with that code.
ends() {
    wanted=$1 what=$2
    shift 2
    code=0
    "$@" >/tmp/ends.out 2>&1 || code=$?
    [ "$code" = "$wanted" ] || { cat /tmp/ends.out; fail "$what: $* ended with $code, not $wanted"; }
    say "$what"
}
as() {
    user=$1
    shift
    runuser -u "$user" -- "$@"
}
# One field of JSON on standard input, by a Python expression over `v`.
json() { python3 -c "import json,sys; v=json.load(sys.stdin); print($1)"; }
# The uplink of this machine, which has no other.
uplink() {
    ip link add uplink0 type dummy
    ip addr add 203.0.113.10/24 dev uplink0
    ip link set uplink0 up
    ip route add default via 203.0.113.1 dev uplink0
}
