# A cron of its own, whose tables nobody else sees. $1: a folder to talk through; the rest: how to call manage.py.
set -e
folder=$1
shift
mount -t tmpfs tmpfs /var/spool/cron/crontabs
chgrp crontab /var/spool/cron/crontabs
chmod 1730 /var/spool/cron/crontabs
mount -t tmpfs tmpfs /etc/cron.d
mount --bind /dev/null /etc/crontab
mount -t tmpfs tmpfs /run
crontab "$folder/foreign"
"$@" crontab add -v0
crontab -l >"$folder/added"
"$@" crontab add -v0
crontab -l >"$folder/added-twice"
"$@" check --deploy --fail-level ERROR >"$folder/checked" 2>&1 || true
cron -f &
while [ ! -e "$folder/stop" ]; do sleep 0.1; done
"$@" crontab remove -v0
crontab -l >"$folder/removed"
"$@" check --deploy --fail-level ERROR >"$folder/checked-without" 2>&1 || true
touch "$folder/over"
