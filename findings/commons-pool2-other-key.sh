#!/usr/bin/env bash
# Debian 12: libcommons-pool2-java 2.11.1-1 (GenericKeyedObjectPool)
#
# Expected: maxTotal bounds the objects of all keys together, and fairness is on. A
# caller of key B that waits at this bound is served in its turn, and at once when an
# object of key A is given up.
# It does: a waiter is woken by its own key only. While callers of key A come and go, a
# waiter of key B is never served, although everybody who was there before it has been
# served long ago. It is not served when nobody needs A any more and its object is
# invalidated either: it times out beside an empty pool. The default is to wait without
# a limit.
#
# Seen on 2026-11-29 (maxTotal 1, fairness true, wait limit 2 s):
#   4 threads use A all the time:  B times out; uses of A meanwhile: 800
#   A's object is invalidated:     B times out; objects in the pool: 0
# (the uses of A vary)
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
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.commons.pool2.BaseKeyedPooledObjectFactory;
import org.apache.commons.pool2.PooledObject;
import org.apache.commons.pool2.impl.*;

public class Main {
  static GenericKeyedObjectPool<String, Object> pool() {
    var config = new GenericKeyedObjectPoolConfig<Object>();
    config.setMaxTotal(1);
    config.setFairness(true);
    config.setJmxEnabled(false);
    return new GenericKeyedObjectPool<>(new BaseKeyedPooledObjectFactory<String, Object>() {
      public Object create(String key) { return new Object(); }
      public PooledObject<Object> wrap(Object o) { return new DefaultPooledObject<>(o); }
    }, config);
  }

  static boolean served(GenericKeyedObjectPool<String, Object> pool, String key) {
    try {
      pool.borrowObject(key, 2000);
      return true;
    } catch (NoSuchElementException e) {
      return false;
    } catch (Exception e) {
      throw new RuntimeException(e);
    }
  }

  public static void main(String[] args) throws Exception {
    var busy = pool();
    var uses = new AtomicInteger();
    for (int i = 0; i < 4; i++) {
      var t = new Thread(() -> {
        try {
          while (true) {
            var o = busy.borrowObject("A");
            Thread.sleep(2);
            busy.returnObject("A", o);
            uses.incrementAndGet();
          }
        } catch (Exception e) {
          throw new RuntimeException(e);
        }
      });
      t.setDaemon(true);
      t.start();
    }
    while (uses.get() < 20) Thread.sleep(10);
    int before = uses.get();
    boolean starved = !served(busy, "B");
    int meanwhile = uses.get() - before;
    System.out.println("4 threads use A all the time:  B " + (starved ? "times out" : "is served") + "; uses of A meanwhile: " + meanwhile);

    var quiet = pool();
    var held = quiet.borrowObject("A");
    var waiter = CompletableFuture.supplyAsync(() -> served(quiet, "B"));
    while (quiet.getNumWaiters() == 0) Thread.sleep(10);
    quiet.invalidateObject("A", held);
    boolean stranded = !waiter.get();
    int objects = quiet.getNumActive() + quiet.getNumIdle();
    System.out.println("A's object is invalidated:     B " + (stranded ? "times out" : "is served") + "; objects in the pool: " + objects);

    if (!starved || meanwhile < 20 || !stranded || objects != 0) {
      System.out.println("CHANGED: a waiter of another key is served");
      System.exit(1);
    }
    System.exit(0);
  }
}
JAVA
timeout 60 java -cp /usr/share/java/commons-pool2.jar "$dir/Main.java"
