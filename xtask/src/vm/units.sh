# Gives the lab root's systemd one unit, which runs the command, and masks the foreign servers. All of it in /run: nothing is kept.
new=$1
units=$new/run/systemd/system
mkdir -p "$units/multi-user.target.wants"
cat >"$units/btmm-vm.service" <<'UNIT'
[Unit]
Description=Command of the lab's VM
[Service]
Type=exec
ExecStart=/bin/sh -c 'systemctl is-system-running --wait >/dev/null; sh /run/vm/command.sh; systemctl poweroff --no-block'
KillMode=process
SendSIGHUP=no
UNIT
ln -s ../btmm-vm.service "$units/multi-user.target.wants/btmm-vm.service"
for unit in ssh smbd nmbd winbind samba-ad-dc named bind9 knot avahi-daemon krb5-kdc krb5-admin-server coturn \
    strongswan strongswan-starter miniupnpd nftables tigervncserver iperf3 \
    apt-daily apt-daily-upgrade dpkg-db-backup fstrim e2scrub_all e2scrub_reap man-db logrotate; do
    ln -s /dev/null "$units/$unit.service"
    [ -e "$new/usr/lib/systemd/system/$unit.timer" ] && ln -s /dev/null "$units/$unit.timer"
    [ -e "$new/usr/lib/systemd/system/$unit.socket" ] && ln -s /dev/null "$units/$unit.socket"
done
for unit in getty@tty1.service serial-getty@ttyS0.service getty.target systemd-update-utmp.service \
    systemd-update-utmp-runlevel.service systemd-binfmt.service proc-sys-fs-binfmt_misc.automount systemd-pstore.service \
    systemd-ask-password-console.path systemd-ask-password-wall.path modprobe@configfs.service modprobe@dm_mod.service \
    modprobe@drm.service modprobe@efi_pstore.service modprobe@fuse.service modprobe@loop.service; do
    ln -s /dev/null "$units/$unit"
done
:
