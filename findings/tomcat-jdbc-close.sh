#!/usr/bin/env bash
# Debian 12: libtomcat9-java 9.0.70-2 (Tomcat's JDBC connection pool)
#
# Expected: close() tells the callers that wait, with an SQLException, or they time out.
# A pool that is closed opens nothing more.
# It does: they wait on. When a connection comes back it is closed, and the closed pool
# opens a new one and lends it to the next waiter, and so on to the last: a shutdown that
# has closed its pool makes as many new connections as callers waited. close(true), which
# closes those in use too, does the same, and serves the first at once.
#
# Seen on 2026-11-29 (maxActive 1, maxWait 20 s, 3 callers wait at close):
#   close():      told 0, served 3; connections opened after it 3
#   close(true):  told 0, served 3; connections opened after it 3
set -euo pipefail
packages=(default-jdk-headless libtomcat9-java)
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
import java.lang.reflect.Proxy;
import java.sql.*;
import java.util.*;
import java.util.concurrent.*;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.tomcat.jdbc.pool.*;

public class Main {
  static final AtomicInteger opened = new AtomicInteger();

  /** A driver without a database. */
  public static class Fake implements Driver {
    public Connection connect(String url, Properties info) {
      opened.incrementAndGet();
      var closed = new boolean[1];
      return (Connection) Proxy.newProxyInstance(Fake.class.getClassLoader(), new Class<?>[] {Connection.class}, (self, method, args) -> {
        switch (method.getName()) {
          case "close":
            closed[0] = true;
            return null;
          case "isClosed": return closed[0];
          case "hashCode": return System.identityHashCode(self);
          case "equals": return self == args[0];
        }
        Class<?> type = method.getReturnType();
        return type == boolean.class ? (Object) false : type == int.class ? 0 : null;
      });
    }
    public boolean acceptsURL(String url) { return true; }
    public DriverPropertyInfo[] getPropertyInfo(String url, Properties info) { return new DriverPropertyInfo[0]; }
    public int getMajorVersion() { return 1; }
    public int getMinorVersion() { return 0; }
    public boolean jdbcCompliant() { return false; }
    public java.util.logging.Logger getParentLogger() { return null; }
  }

  /** Returns what three callers who wait at close get. */
  static String close(boolean all) throws Exception {
    var config = new PoolProperties();
    config.setUrl("jdbc:fake:");
    config.setDriverClassName(Fake.class.getName());
    config.setMaxActive(1);
    config.setInitialSize(0);
    config.setMinIdle(0);
    config.setMaxWait(20000);
    config.setJmxEnabled(false);
    var source = new DataSource(config);
    Connection lent = source.getConnection();
    ConnectionPool pool = source.getPool();

    var got = new LinkedBlockingQueue<Object>();
    for (int i = 0; i < 3; i++) {
      var waiter = new Thread(() -> {
        try {
          got.add(source.getConnection());
        } catch (SQLException e) {
          got.add(e);
        }
      });
      waiter.setDaemon(true);
      waiter.start();
    }
    while (pool.getWaitCount() < 3) Thread.sleep(10);
    int before = opened.get();
    source.close(all);
    int told = 0, served = 0;
    for (int i = 0; i < 3; i++) {
      if (lent != null) lent.close();
      Object next = got.poll(5, TimeUnit.SECONDS);
      lent = next instanceof Connection ? (Connection) next : null;
      if (lent != null) served++;
      else if (next != null) told++;
    }
    if (lent != null) lent.close();
    String seen = String.format("told %d, served %d; connections opened after it %d", told, served, opened.get() - before);
    System.out.printf("%-13s %s%n", all ? "close(true):" : "close():", seen);
    return seen;
  }

  public static void main(String[] args) throws Exception {
    java.util.logging.LogManager.getLogManager().reset();
    String expected = "told 0, served 3; connections opened after it 3";
    if (!close(false).equals(expected) | !close(true).equals(expected)) {
      System.out.println("CHANGED: a closed pool serves its waiters otherwise");
      System.exit(1);
    }
    System.exit(0);
  }
}
JAVA
java=/usr/share/java
classes=$java/tomcat9-jdbc.jar:$java/tomcat9-juli.jar:$dir
javac -cp "$classes" -d "$dir" "$dir/Main.java"
timeout 60 java -cp "$classes" Main
