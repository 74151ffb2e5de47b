# A user of the machine and its tickets: the agent under her own systemd, which lives without a log-in.

# In a session of hers, as if she had logged in.
alice() { runuser --login alice --command "$*"; }
# What her agent says in the journal, since its unit was started first.
agent_says() { journalctl --no-pager --quiet --output cat --boot _SYSTEMD_USER_UNIT=btmm-agent.service; }
agent_pid() { alice systemctl --user show --property MainPID --value btmm-agent; }
# agent_told COUNT WORDS…: so many lines of the agent hold these words.
agent_told() {
    count=$1
    shift
    [ "$(agent_says | grep -c -- "$*")" -ge "$count" ]
}
# since WORDS MORE: a line of the agent after its last one with these words has more.
since() { agent_says | tac | sed "/$1/q" | grep -q -- "$2"; }
has_tickets() { alice klist -A | grep -q "host/base.alice.btmm.internal@LKDC:SHA256"; }

tickets_of_alice() {
    must "alice, whom the account's user is here" useradd --create-home --shell /bin/bash --groups btmm alice
    must "libkrb5 is told of the account" sed -i '1i includedir /etc/krb5.conf.d' /etc/krb5.conf
    must "she stays without a log-in" loginctl enable-linger alice
    within 60 "her systemd runs" alice systemctl --user is-active default.target
    must "she enables the agent" alice systemctl --user enable --now btmm-agent
    within 60 "and finds tickets that nobody asked for" has_tickets
    must "it is active" alice systemctl --user is-active btmm-agent
    must "and runs as alice" sh -c "[ \"\$(ps -o user= -p $(agent_pid))\" = alice ]"
    must "its sandbox is in force" sandboxed "$(agent_pid)"
    alice systemd-analyze --user security btmm-agent.service --no-pager | tail -n 1
    must "the tickets are in the kernel's keys" sh -c "runuser --login alice --command 'klist -A' | grep -q '^Ticket cache: KEYRING:persistent:'"
    must "they are good" alice klist -A -s
    # Why the unit has no sandbox of files.
    must "a process of hers sees them" in_a_unit "" "klist -A | grep -q base.alice"
    must "and none in a user namespace" in_a_unit "-p PrivateUsers=yes" "! klist -A | grep -q base.alice"
    must "root's keys have none" sh -c '! klist -A 2>/dev/null | grep -q base.alice'
    ends 4 "the member, who is not alice, gets none" runuser --login member --command "timeout 30 btmm agent"

    must "sshd knows the machine's key" btmm keytab --output /etc/krb5.keytab host
    must "sshd" sshd
    must "alice is let in at her own machine" alice ssh -o GSSAPIAuthentication=yes -o PreferredAuthentications=gssapi-with-mic \
        -o StrictHostKeyChecking=no base.alice.btmm.internal id -un
    must "alice removes her tickets" alice kdestroy -A
}

# in_a_unit OPTIONS WORDS: the words succeed in a unit of alice's.
in_a_unit() { alice "systemd-run --user --quiet -p Type=oneshot $1 sh -c '$2'"; }

sshd() {
    mkdir -p /run/sshd
    printf 'GSSAPIAuthentication yes\nGSSAPIStrictAcceptorCheck no\n' >/etc/ssh/sshd_config.d/gssapi.conf
    ssh-keygen -A >/dev/null && /usr/sbin/sshd
}

# What the kernel says of a process that the unit has fenced in.
sandboxed() {
    grep -q '^Seccomp:[[:space:]]*2$' "/proc/$1/status" && grep -q '^NoNewPrivs:[[:space:]]*1$' "/proc/$1/status" \
        && grep -q '^Umask:[[:space:]]*0077$' "/proc/$1/status" && grep -q '^Max core file size *0 *0 ' "/proc/$1/limits" \
        && [ "$(readlink "/proc/$1/ns/user")" = "$(readlink /proc/1/ns/user)" ]
}

# The daemon was killed and started again since alice's tickets were removed.
tickets_after_the_daemon_was_killed() {
    within 60 "the agent hears the daemon again, and that alice removed her tickets" agent_told 1 "the tickets were removed"
    must "it brings none" sh -c "! runuser --login alice --command 'klist -A' 2>/dev/null | grep -q base.alice"
    must "alice asks for one" alice btmm tickets get host@base
    must "and has it" has_tickets
}

# The daemon was stopped.
tickets_without_the_daemon() {
    within 60 "without the daemon the agent waits" agent_told 2 "btmmd is not running"
    must "and goes on running" alice systemctl --user is-active btmm-agent
    must "the same process" [ "$(agent_pid)" = "$1" ]
    must "alice's tickets stay" has_tickets
}

# The daemon was started again. The new session's tickets are not those that alice has.
tickets_of_the_new_daemon() {
    within 90 "the agent brings the new daemon's tickets" since "asking again" "tickets are in"
    lines=$(agent_says | wc -l)
    must "and was quiet all the time: $lines lines" [ "$lines" -le 12 ]
}

# Installs the package once more. $1 = the package, $2 = the agent.
tickets_after_an_upgrade() {
    must "the package is upgraded" dpkg --install "$1"
    within 60 "the agent goes on as the program that is installed now" agent_told 1 "another btmm was installed"
    within 60 "and hears the daemon" since "another btmm was installed" "tickets are in"
    must "its sandbox is in force still" sandboxed "$2"
}

tickets_after_a_reboot() {
    within 90 "the agent runs after a reboot, with no log-in" agent_told 1 "tickets are in"
    must "alice has tickets" has_tickets
    pid=$(agent_pid)
    must "she stops the agent" alice systemctl --user stop btmm-agent
    ends 3 "it is stopped, not failed" alice systemctl --user is-active btmm-agent
    must "and gone" [ ! -e "/proc/$pid" ]
    must "her tickets stay" has_tickets
    must "she starts it again" alice systemctl --user start btmm-agent
}
