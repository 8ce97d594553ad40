#!/usr/bin/env bash
# Debian 12: libnetty-java 4.1.48-7 (FixedChannelPool)
#
# Expected: acquire() returns a Future, and a caller that no longer needs the channel
# cancels it. The next waiter gets the channel. With AcquireTimeoutAction.NEW a caller that
# has waited too long gets a channel beyond maxConnections; when there are more than that
# again, the surplus is closed.
# It does: the place of a caller that cancels while it waits is lost. The channel goes to
# the cancelled Future, which refuses it, and nobody puts it back: it stays open and counted
# as acquired, so each cancelled wait makes the pool smaller by one, down to nothing. The
# only trace is a warning in the log. And what NEW opens stays open: after one busy moment
# there are two channels for a limit of one, and no idle limit ends the second.
#
# Seen on 2026-11-29 (maxConnections 1):
#   in use, one waits, is cancelled; given back:  acquired 1; the next caller waits, 1 open
#   NEW after 200 ms, both given back:            acquired 0; 2 open after 2 s
set -euo pipefail
packages=(default-jdk-headless libnetty-java)
present=$(dpkg-query -W -f '${db:Status-Status}\n' "${packages[@]}" 2>/dev/null | grep -cx installed || true)
if [ "$present" -lt ${#packages[@]} ]; then
	sudo=$([ "$(id -u)" = 0 ] || echo sudo)
	$sudo apt-get update -qq
	$sudo env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
fi
dpkg-query -W "${packages[@]}"
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cat >"$dir/Main.java" <<'JAVA'
import io.netty.bootstrap.Bootstrap;
import io.netty.channel.Channel;
import io.netty.channel.nio.NioEventLoopGroup;
import io.netty.channel.pool.*;
import io.netty.channel.socket.nio.NioSocketChannel;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.util.ArrayList;
import java.util.concurrent.CopyOnWriteArrayList;

public class Main {
  static final class Opened extends AbstractChannelPoolHandler {
    final CopyOnWriteArrayList<Channel> channels = new CopyOnWriteArrayList<>();
    public void channelCreated(Channel channel) { channels.add(channel); }
    long open() { return channels.stream().filter(Channel::isOpen).count(); }
  }

  public static void main(String[] args) throws Exception {
    // The warning goes to standard error; see the header.
    java.util.logging.LogManager.getLogManager().reset();
    var server = new ServerSocket(0, 50, InetAddress.getLoopbackAddress());
    var bootstrap = new Bootstrap().group(new NioEventLoopGroup(1)).channel(NioSocketChannel.class)
        .remoteAddress(server.getLocalSocketAddress());

    var opened = new Opened();
    var pool = new FixedChannelPool(bootstrap, opened, 1);
    Channel held = pool.acquire().get();
    var waiter = pool.acquire();
    // The pool works in its event loop: what comes after the waiter has found it there.
    held.eventLoop().submit(() -> {}).sync();
    boolean cancelled = waiter.cancel(false);
    pool.release(held).sync();
    boolean served = pool.acquire().await(3000);
    int acquired = pool.acquiredChannelCount();
    System.out.printf("in use, one waits, is cancelled; given back:  acquired %d; the next caller %s, %d open%n",
        acquired, served ? "is served" : "waits", opened.open());

    var extra = new Opened();
    var generous = new FixedChannelPool(bootstrap, extra, ChannelHealthChecker.ACTIVE,
        FixedChannelPool.AcquireTimeoutAction.NEW, 200, 1, 100);
    var both = new ArrayList<Channel>();
    both.add(generous.acquire().get());
    both.add(generous.acquire().get());
    for (var channel : both) generous.release(channel).sync();
    Thread.sleep(2000);
    int left = generous.acquiredChannelCount();
    System.out.printf("NEW after 200 ms, both given back:            acquired %d; %d open after 2 s%n", left, extra.open());
    if (!cancelled || served || acquired != 1 || left != 0 || extra.open() != 2) {
      System.out.println("CHANGED: a cancelled acquire gives its place back, or the surplus is closed");
      System.exit(1);
    }
    System.exit(0);
  }
}
JAVA
jars=$(printf ":%s" /usr/share/java/netty-{common,buffer,resolver,transport,codec,handler}.jar)
timeout 60 java -cp "${jars#:}" "$dir/Main.java"
