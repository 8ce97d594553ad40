#!/usr/bin/env bash
# Debian 12: redis-server 5:7.0.15-1~deb12u10
#
# Expected: ACL LOAD «reloads the ACL rules from the configured ACL file». If the file has
# not changed, nothing changes; if one user has, that user's connections may end.
# It does: it closes the connections of all users but default, subscribers too, though
# nothing has changed. A tool that loads the file each minute, to be sure, makes every
# client connect again each minute, all in one moment.
#
# Seen on 2026-11-29 (the file is not touched between start and ACL LOAD):
#   default:                 open
#   a user of the file:      closed
#   the same, subscribed:    closed
set -euo pipefail
packages=(redis-server)
present=$(dpkg-query -W -f '${db:Status-Status}\n' "${packages[@]}" 2>/dev/null | grep -cx installed || true)
if [ "$present" -lt ${#packages[@]} ]; then
	sudo=$([ "$(id -u)" = 0 ] || echo sudo)
	$sudo apt-get update -qq
	$sudo env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
fi
dpkg-query -W "${packages[@]}"
dir=$(mktemp -d)
pid=
trap '[ -z "$pid" ] || kill "$pid" 2>/dev/null || true; rm -rf "$dir"' EXIT
port=$(/usr/bin/python3 -c "import socket; s = socket.socket(); s.bind((\"127.0.0.1\", 0)); print(s.getsockname()[1])")
cat >"$dir/users.acl" <<'ACL'
user default on nopass ~* &* +@all
user service on nopass ~* &* +@all
ACL
/usr/bin/redis-server --bind 127.0.0.1 --port "$port" --dir "$dir" --save '' --aclfile "$dir/users.acl" >"$dir/log" 2>&1 &
pid=$!
cat >"$dir/main.py" <<'PY'
import socket
import sys
import time

class Client:
    def __init__(self):
        for _ in range(100):
            try:
                self.socket = socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=5)
                return
            except OSError:
                time.sleep(0.1)
        sys.exit("the server does not listen")

    def do(self, command):
        self.socket.sendall(command.encode() + b"\r\n")
        return self.socket.recv(1000)

    def state(self):
        try:
            return "open" if b"PONG" in self.do("PING").upper() else "closed"
        except OSError:
            return "closed"

default, user, subscriber, admin = Client(), Client(), Client(), Client()
answers = [user.do("AUTH service any"), subscriber.do("AUTH service any"), default.do("PING"), admin.do("PING")]
if not all(answer.startswith(b"+") for answer in answers) or b"subscribe" not in subscriber.do("SUBSCRIBE news"):
    sys.exit("an error of the server's")
if not admin.do("ACL LOAD").startswith(b"+OK"):
    sys.exit("ACL LOAD fails")
seen = [default.state(), user.state(), subscriber.state()]
print("default:                ", seen[0])
print("a user of the file:     ", seen[1])
print("the same, subscribed:   ", seen[2])
if seen != ["open", "closed", "closed"]:
    sys.exit("CHANGED: ACL LOAD closes other connections")
PY
timeout 60 /usr/bin/python3 "$dir/main.py" "$port" || { status=$?; tail "$dir/log" >&2; exit "$status"; }
