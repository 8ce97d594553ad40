#!/usr/bin/env bash
# Debian 12: libcommons-pool2-java 2.11.1-1 (GenericKeyedObjectPool)
#
# Expected: borrowObject(key, 500) waits for 500 ms at most, as its parameter says
# (borrowMaxWaitMillis). What ends a wait early is an object or close().
# It does: a caller that finds the key's last place taken by an object that is being made
# waits until that is done, however long it takes, and its own limit begins only then. A
# server that takes 3 s to connect to holds up all callers of its key for 3 s more than
# they said. And a waiter at close() gets an InterruptedException, although nobody has
# interrupted its thread: code that ends its thread on one, as it should, ends it here.
#
# Seen on 2026-11-29 (maxTotalPerKey 1, a connect takes 3 s):
#   limit 500 ms, an object is in use:      timed out after 0.5 s
#   limit 500 ms, an object is being made:  timed out after 3.5 s
#   close() with a waiter:                  InterruptedException
# (the last digit varies)
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
import java.util.NoSuchElementException;
import java.util.concurrent.*;
import org.apache.commons.pool2.BaseKeyedPooledObjectFactory;
import org.apache.commons.pool2.PooledObject;
import org.apache.commons.pool2.impl.*;

public class Main {
  static CountDownLatch making = new CountDownLatch(1);

  static String wait(GenericKeyedObjectPool<String, Object> pool, String key, long limit) {
    try {
      pool.borrowObject(key, limit);
      return "served";
    } catch (NoSuchElementException e) {
      return "timed out";
    } catch (Exception e) {
      return e.getClass().getSimpleName();
    }
  }

  public static void main(String[] args) throws Exception {
    var config = new GenericKeyedObjectPoolConfig<Object>();
    config.setMaxTotalPerKey(1);
    config.setJmxEnabled(false);
    var pool = new GenericKeyedObjectPool<String, Object>(new BaseKeyedPooledObjectFactory<String, Object>() {
      public Object create(String key) throws Exception {
        if (key.equals("slow")) {
          making.countDown();
          Thread.sleep(3000);
        }
        return new Object();
      }
      public PooledObject<Object> wrap(Object o) { return new DefaultPooledObject<>(o); }
    }, config);

    pool.borrowObject("fast");
    long start = System.nanoTime();
    String inUse = wait(pool, "fast", 500);
    System.out.printf("limit 500 ms, an object is in use:      %s after %.1f s%n", inUse, (System.nanoTime() - start) / 1e9);

    CompletableFuture.supplyAsync(() -> wait(pool, "slow", 500));
    making.await();
    start = System.nanoTime();
    String beingMade = wait(pool, "slow", 500);
    double overrun = (System.nanoTime() - start) / 1e9;
    System.out.printf("limit 500 ms, an object is being made:  %s after %.1f s%n", beingMade, overrun);

    var waiter = CompletableFuture.supplyAsync(() -> wait(pool, "fast", 20000));
    while (pool.getNumWaiters() == 0) Thread.sleep(10);
    pool.close();
    System.out.println("close() with a waiter:                  " + waiter.get());
    if (!inUse.equals("timed out") || !beingMade.equals("timed out") || overrun < 2.5 || !waiter.get().equals("InterruptedException")) {
      System.out.println("CHANGED: waits end otherwise");
      System.exit(1);
    }
    System.exit(0);
  }
}
JAVA
timeout 60 java -cp /usr/share/java/commons-pool2.jar "$dir/Main.java"
