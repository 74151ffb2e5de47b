# Runs the command of this VM: its output goes through two pipes to two virtio ports and is ended by a mark with the exit code.
. /run/vm/config
[ -p /run/vm/out ] || mkfifo /run/vm/out /run/vm/err
cat /run/vm/out >/run/vm/stdout &
cat /run/vm/err >/run/vm/stderr &
exec 3>/run/vm/out 4>/run/vm/err
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
(. /run/vm/environment; cd "$MOUNT_repo"; exec sh /run/vm/user.sh) </dev/null >&3 2>&4 3>&- 4>&-
code=$?
sync
printf '\0%s:%s\n' "$MARK" "$code" >&3
printf '\0%s:%s\n' "$MARK" "$code" >&4
