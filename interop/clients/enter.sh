#!/bin/sh
# Runs a program in the mount and UTS namespaces that the caller has made for it:
# $ETC goes over a copy of /etc, and what it writes is in $ROOM.
set -e
mount --make-rprivate /
# A name with a dot: sendmail looks for its own domain for a minute otherwise.
hostname client.test
mkdir -p "$ROOM/etc" "$ROOM/spool" "$ROOM/run" "$ROOM/lib/opensmtpd/empty"
cp -a /etc/. "$ROOM/etc"
cp -a "$ETC/." "$ROOM/etc"
echo 'opensmtpd:x:64001:64001::/var/lib/opensmtpd/empty:/bin/false
opensmtpq:x:64002:64002::/var/lib/opensmtpd/empty:/bin/false' >>"$ROOM/etc/passwd"
echo 'opensmtpd:x:64001:
opensmtpq:x:64002:' >>"$ROOM/etc/group"
echo client.test >"$ROOM/etc/mailname"
# No program asks a name server.
printf '127.0.0.1 localhost\n127.0.1.1 client.test\n' >"$ROOM/etc/hosts"
echo 'hosts: files' >"$ROOM/etc/nsswitch.conf"
echo 'nameserver 127.0.0.1' >"$ROOM/etc/resolv.conf"
mkdir -p "$ROOM/spool/dma" "$ROOM/spool/mqueue" "$ROOM/spool/smtpd"
chgrp mail "$ROOM/spool/dma"
chmod 2775 "$ROOM/spool/dma"
chmod 711 "$ROOM/spool/smtpd"
find "$ROOM/etc/dma" -type f -exec chgrp mail {} + -exec chmod 640 {} + 2>/dev/null || true
mount --bind "$ROOM/etc" /etc
mount --bind "$ROOM/spool" /var/spool
mount --bind "$ROOM/run" /run
mount --bind "$ROOM/lib" /var/lib
exec "$@"
