#!/usr/bin/env bash
# Debian 12: libc3p0-java 0.9.1.2-10.1~deb12u1
#
# Expected: maxPoolSize is the limit: a pool with setMaxPoolSize(1) opens one connection.
# It does: initialPoolSize and minPoolSize, 3 each unless they are set, come before the
# limit, without a word: 3 callers have a connection at once, and the fourth waits. Both
# must be set as well. Who shares out a database's connections to many processes, 1 or 2
# to each, gets 3 from each. getMaxPoolSize() still returns 1.
#
# Seen on 2026-11-29 (callers that ask one after the other and keep what they get):
#   maxPoolSize 1:                  lent 3, open 3, getMaxPoolSize 1
#   and minPoolSize 1:              lent 3, open 3, getMaxPoolSize 1
#   and initialPoolSize 1:          lent 3, open 3, getMaxPoolSize 1
#   and both:                       lent 1, open 1, getMaxPoolSize 1
set -euo pipefail
packages=(default-jdk-headless libc3p0-java)
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
import com.mchange.v2.c3p0.ComboPooledDataSource;
import java.lang.reflect.Proxy;
import java.sql.*;
import java.util.Properties;
import java.util.concurrent.atomic.AtomicInteger;

public class Main {
  static final AtomicInteger open = new AtomicInteger();

  /** A driver without a database. */
  public static class Fake implements Driver {
    static {
      try {
        DriverManager.registerDriver(new Fake());
      } catch (SQLException e) {
        throw new IllegalStateException(e);
      }
    }
    static Object stub(Class<?> type) {
      return Proxy.newProxyInstance(Fake.class.getClassLoader(), new Class<?>[] {type}, (self, method, args) -> {
        if (method.getName().equals("hashCode")) return System.identityHashCode(self);
        if (method.getName().equals("equals")) return self == args[0];
        if (type == Connection.class && method.getName().equals("close")) open.decrementAndGet();
        Class<?> returns = method.getReturnType();
        if (returns.isInterface() && returns.getPackageName().equals("java.sql")) return stub(returns);
        return returns == boolean.class ? (Object) false : returns == int.class ? 0 : null;
      });
    }
    public Connection connect(String url, Properties info) {
      if (!acceptsURL(url)) return null;
      open.incrementAndGet();
      return (Connection) stub(Connection.class);
    }
    public boolean acceptsURL(String url) { return url.startsWith("jdbc:fake:"); }
    public DriverPropertyInfo[] getPropertyInfo(String url, Properties info) { return new DriverPropertyInfo[0]; }
    public int getMajorVersion() { return 1; }
    public int getMinorVersion() { return 0; }
    public boolean jdbcCompliant() { return false; }
    public java.util.logging.Logger getParentLogger() { return null; }
  }

  /** Returns how many of five callers get a connection. */
  static int lent(String name, boolean setsMin, boolean setsInitial) throws Exception {
    var pool = new ComboPooledDataSource();
    pool.setDriverClass(Fake.class.getName());
    pool.setJdbcUrl("jdbc:fake:");
    pool.setUser("user");
    pool.setPassword("password");
    pool.setMaxPoolSize(1);
    if (setsMin) pool.setMinPoolSize(1);
    if (setsInitial) pool.setInitialPoolSize(1);
    pool.setCheckoutTimeout(2000);
    int lent = 0;
    try {
      for (; lent < 5; lent++) pool.getConnection();
    } catch (SQLException e) {
      // the limit
    }
    System.out.printf("%-30s lent %d, open %d, getMaxPoolSize %d%n", name, lent, open.get(), pool.getMaxPoolSize());
    pool.close();
    for (int i = 0; i < 500 && open.get() > 0; i++) Thread.sleep(10);
    return lent;
  }

  public static void main(String[] args) throws Exception {
    java.util.logging.LogManager.getLogManager().reset();
    int byDefault = lent("maxPoolSize 1:", false, false);
    int min = lent("and minPoolSize 1:", true, false);
    int initial = lent("and initialPoolSize 1:", false, true);
    int both = lent("and both:", true, true);
    if (byDefault != 3 || min != 3 || initial != 3 || both != 1) {
      System.out.println("CHANGED: a maxPoolSize below minPoolSize has another effect");
      System.exit(1);
    }
    System.exit(0);
  }
}
JAVA
classes=/usr/share/java/c3p0.jar:$dir
javac -cp "$classes" -d "$dir" "$dir/Main.java"
timeout 60 java -cp "$classes" Main 2>/dev/null
