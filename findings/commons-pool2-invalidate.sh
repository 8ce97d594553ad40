#!/usr/bin/env bash
# Debian 12: libcommons-pool2-java 2.11.1-1 (GenericKeyedObjectPool)
#
# Expected: who finds a connection broken calls invalidateObject, which destroys it. If
# others wait for the key, they try to make a new one, and an error of that is theirs.
# It does: while anybody waits for the key, the caller of invalidateObject makes the new
# object for them, inside the call: it takes as long as connecting takes, and it throws
# what connecting throws. So the thread that cleans up after one failure gets a second
# one from code that is not in its own path, and the callers who wait are told nothing:
# they time out with no word of the cause.
#
# Seen on 2026-11-29 (maxTotalPerKey 1; a connect takes 1 s, then fails):
#   invalidateObject, nobody waits:  returns at once
#   invalidateObject, one waits:     throws «connection refused» after 1.0 s
#   who waited:                      NoSuchElementException after 3 s, cause null
set -euo pipefail
packages=(default-jdk-headless libcommons-pool2-java)
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
import java.net.ConnectException;
import java.util.NoSuchElementException;
import java.util.concurrent.CompletableFuture;
import org.apache.commons.pool2.BaseKeyedPooledObjectFactory;
import org.apache.commons.pool2.PooledObject;
import org.apache.commons.pool2.impl.*;

public class Main {
  static volatile boolean down;

  public static void main(String[] args) throws Exception {
    var config = new GenericKeyedObjectPoolConfig<Object>();
    config.setMaxTotalPerKey(1);
    config.setJmxEnabled(false);
    var pool = new GenericKeyedObjectPool<String, Object>(new BaseKeyedPooledObjectFactory<String, Object>() {
      public Object create(String key) throws Exception {
        if (down) {
          Thread.sleep(1000);
          throw new ConnectException("connection refused");
        }
        return new Object();
      }
      public PooledObject<Object> wrap(Object o) { return new DefaultPooledObject<>(o); }
    }, config);

    var first = pool.borrowObject("A");
    long start = System.nanoTime();
    pool.invalidateObject("A", first);
    double alone = (System.nanoTime() - start) / 1e9;
    System.out.println("invalidateObject, nobody waits:  returns " + (alone < 0.9 ? "at once" : "late"));

    var second = pool.borrowObject("A");
    var waiter = CompletableFuture.supplyAsync(() -> {
      long began = System.nanoTime();
      try {
        pool.borrowObject("A", 3000);
        return "served";
      } catch (NoSuchElementException e) {
        return String.format("NoSuchElementException after %.0f s, cause %s", (System.nanoTime() - began) / 1e9, e.getCause());
      } catch (Exception e) {
        return e.toString();
      }
    });
    while (pool.getNumWaiters() == 0) Thread.sleep(10);
    down = true;
    String thrown = null;
    start = System.nanoTime();
    try {
      pool.invalidateObject("A", second);
    } catch (ConnectException e) {
      thrown = e.getMessage();
    }
    double took = (System.nanoTime() - start) / 1e9;
    System.out.printf("invalidateObject, one waits:     %s after %.1f s%n", thrown == null ? "returns" : "throws «" + thrown + "»", took);
    System.out.println("who waited:                      " + waiter.get());
    if (alone > 0.9 || thrown == null || took < 0.99 || !waiter.get().endsWith("cause null")) {
      System.out.println("CHANGED: an error of connecting goes to another caller");
      System.exit(1);
    }
    System.exit(0);
  }
}
JAVA
timeout 60 java -cp /usr/share/java/commons-pool2.jar "$dir/Main.java"
