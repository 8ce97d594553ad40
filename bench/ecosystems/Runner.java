import com.zaxxer.hikari.HikariConfig;
import com.zaxxer.hikari.HikariDataSource;
import java.io.IOException;
import java.lang.reflect.InvocationHandler;
import java.lang.reflect.Method;
import java.lang.reflect.Proxy;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.sql.Connection;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.AtomicReference;
import javax.sql.DataSource;
import org.apache.commons.dbcp2.BasicDataSource;
import org.apache.commons.dbcp2.ConnectionFactory;

/** Runs one scenario with a pool of Java: POOL SCENARIO PORT. It prints one line of JSON. */
public class Runner {
  static int port; // of a server that sends back each byte; 0: connections are in memory
  static volatile int takes; // ms to open a connection
  static final AtomicInteger opened = new AtomicInteger();
  static final List<Long> attempts = Collections.synchronizedList(new ArrayList<>());
  static boolean note; // whether attempts are noted

  /** A connection that knows one operation, getCatalog: a round trip. */
  static class Fake implements InvocationHandler {
    Socket socket;
    volatile boolean closed;

    Fake() throws SQLException {
      if (note) attempts.add(System.currentTimeMillis());
      try {
        if (takes > 0) Thread.sleep(takes);
        if (port != 0) {
          socket = new Socket();
          socket.setTcpNoDelay(true);
          socket.connect(new InetSocketAddress("127.0.0.1", port), 1000);
          socket.setSoTimeout(1000);
        }
      } catch (IOException | InterruptedException e) {
        throw new SQLException(e.getMessage(), "08001", e);
      }
      opened.incrementAndGet();
    }

    boolean roundTrip() {
      if (closed) return false;
      if (socket == null) return true;
      try {
        socket.getOutputStream().write(1);
        return socket.getInputStream().read() == 1;
      } catch (IOException e) {
        return false;
      }
    }

    public Object invoke(Object proxy, Method method, Object[] args) throws Throwable {
      switch (method.getName()) {
        case "getCatalog":
          if (!roundTrip()) throw new SQLException("the connection is dead", "08006");
          return "";
        case "isValid": return roundTrip();
        case "isClosed": return closed;
        case "getAutoCommit": return true;
        case "getTransactionIsolation": return Connection.TRANSACTION_READ_COMMITTED;
        case "close":
          closed = true;
          if (socket != null) socket.close();
          return null;
        case "hashCode": return System.identityHashCode(proxy);
        case "equals": return proxy == args[0];
        case "toString": return "fake";
      }
      Class<?> r = method.getReturnType();
      if (r == boolean.class) return false;
      if (r == int.class) return 0;
      return null;
    }
  }

  static Connection open() throws SQLException {
    return (Connection) Proxy.newProxyInstance(Runner.class.getClassLoader(), new Class<?>[] {Connection.class}, new Fake());
  }

  static DataSource pool(String name, int size, int idle, long limit) throws Exception {
    if (name.equals("hikari")) {
      DataSource source = (DataSource) Proxy.newProxyInstance(Runner.class.getClassLoader(), new Class<?>[] {DataSource.class},
          (proxy, method, args) -> {
            if (method.getName().equals("getConnection")) return open();
            if (method.getName().equals("toString")) return "fake";
            if (method.getName().equals("hashCode")) return 1;
            return method.getReturnType() == int.class ? 0 : null;
          });
      HikariConfig config = new HikariConfig();
      config.setDataSource(source);
      config.setMaximumPoolSize(size);
      config.setMinimumIdle(idle);
      config.setConnectionTimeout(limit);
      return new HikariDataSource(config);
    }
    BasicDataSource source = new BasicDataSource() {
      protected ConnectionFactory createConnectionFactory() { return Runner::open; }
    };
    source.setMaxTotal(size);
    source.setMaxIdle(size);
    source.setMaxWaitMillis(limit);
    return source;
  }

  static void fill(DataSource pool, int n) throws Exception {
    List<Connection> all = new ArrayList<>();
    for (int i = 0; i < n; i++) all.add(pool.getConnection());
    for (Connection c : all) c.close();
  }

  static String cycle(DataSource pool, int callers, int size, boolean yields) throws Exception {
    fill(pool, size);
    double ns = 0;
    for (int round = 0; round < 2; round++) { // the first warms up
      AtomicLong turns = new AtomicLong();
      CountDownLatch begin = new CountDownLatch(1);
      long[] until = new long[1];
      List<Thread> threads = new ArrayList<>();
      for (int i = 0; i < callers; i++) {
        Thread t = new Thread(() -> {
          long n = 0;
          try {
            begin.await();
            while (System.nanoTime() < until[0]) {
              Connection c = pool.getConnection();
              if (yields) Thread.yield();
              c.close();
              n++;
            }
          } catch (Exception e) {
            throw new RuntimeException(e);
          }
          turns.addAndGet(n);
        });
        t.start();
        threads.add(t);
      }
      long began = System.nanoTime();
      until[0] = began + 1_500_000_000L;
      begin.countDown();
      for (Thread t : threads) t.join();
      ns = (double) (System.nanoTime() - began) / turns.get();
    }
    return "{\"ns\":" + ns + "}";
  }

  static String spike(DataSource pool, int hold) throws Exception {
    fill(pool, 5);
    takes = 150;
    note = true;
    CountDownLatch begin = new CountDownLatch(1);
    List<Thread> threads = new ArrayList<>();
    for (int i = 0; i < 50; i++) {
      Thread t = new Thread(() -> {
        try {
          begin.await();
          Connection c = pool.getConnection();
          Thread.sleep(hold);
          c.close();
        } catch (Exception e) {
          throw new RuntimeException(e);
        }
      });
      t.start();
      threads.add(t);
    }
    long began = System.nanoTime();
    begin.countDown();
    for (Thread t : threads) t.join();
    double ms = (System.nanoTime() - began) / 1e6;
    return "{\"opened\":" + attempts.size() + ",\"ms\":" + ms + "}";
  }

  static void outage(DataSource pool) throws Exception {
    note = true;
    List<Long> served = Collections.synchronizedList(new ArrayList<>());
    List<Long> failed = Collections.synchronizedList(new ArrayList<>());
    long until = System.currentTimeMillis() + 16_000;
    List<Thread> threads = new ArrayList<>();
    for (int i = 0; i < 20; i++) {
      Thread t = new Thread(() -> {
        try {
          while (System.currentTimeMillis() < until) {
            Connection c;
            try {
              c = pool.getConnection();
            } catch (SQLException e) {
              failed.add(System.currentTimeMillis());
              Thread.sleep(1);
              continue;
            }
            boolean ok = true;
            try {
              c.getCatalog();
            } catch (SQLException e) {
              ok = false;
            }
            Thread.sleep(1);
            try {
              c.close();
            } catch (SQLException e) {
              ok = false;
            }
            if (ok) served.add(System.currentTimeMillis());
          }
        } catch (InterruptedException e) {
          throw new RuntimeException(e);
        }
      });
      t.start();
      threads.add(t);
    }
    System.out.println("running");
    for (Thread t : threads) t.join();
    System.out.println("{\"attempts\":" + attempts + ",\"failed\":" + failed + ",\"served\":" + served + "}");
  }

  /** waits until a thread is seen waiting. */
  static void awaitWaiting(Thread t) throws Exception {
    for (int seen = 0; seen < 20; Thread.sleep(1)) {
      Thread.State s = t.getState();
      if (s == Thread.State.TERMINATED) throw new Exception("it did not wait");
      seen = s == Thread.State.WAITING || s == Thread.State.TIMED_WAITING ? seen + 1 : 0;
    }
  }

  static String order(DataSource pool) throws Exception {
    Connection held = pool.getConnection();
    List<Integer> served = Collections.synchronizedList(new ArrayList<>());
    List<Thread> threads = new ArrayList<>();
    for (int i = 0; i < 16; i++) {
      int me = i;
      Thread t = new Thread(() -> {
        try {
          Connection c = pool.getConnection();
          served.add(me);
          c.close();
        } catch (Exception e) {
          throw new RuntimeException(e);
        }
      });
      t.start();
      threads.add(t);
      awaitWaiting(t);
    }
    held.close();
    for (Thread t : threads) t.join();
    int overtaken = 0;
    for (int i = 0; i < 16; i++) {
      for (int j = 0; j < served.indexOf(i); j++) {
        if (served.get(j) > i) {
          overtaken++;
          break;
        }
      }
    }
    int most = 0;
    for (int n = 0; n < 20; n++) {
      held = pool.getConnection();
      AtomicBoolean ended = new AtomicBoolean();
      Thread t = new Thread(() -> {
        try {
          Connection c = pool.getConnection();
          ended.set(true);
          c.close();
        } catch (Exception e) {
          throw new RuntimeException(e);
        }
      });
      t.start();
      awaitWaiting(t);
      int again = 0;
      while (again < 1000) {
        held.close();
        held = pool.getConnection();
        if (ended.get()) break;
        again++;
      }
      held.close();
      t.join();
      most = Math.max(most, again);
    }
    return "{\"overtaken\":" + overtaken + ",\"again\":" + most + "}";
  }

  static String cancel(DataSource pool) throws Exception {
    Connection a = pool.getConnection(), b = pool.getConnection();
    String[] error = {""};
    AtomicInteger lent = new AtomicInteger();
    long until = System.currentTimeMillis() + 1500;
    List<Thread> threads = new ArrayList<>();
    for (int i = 0; i < 64; i++) {
      Thread t = new Thread(() -> {
        do {
          try {
            pool.getConnection();
            lent.incrementAndGet();
          } catch (SQLException e) {
            error[0] = e.getClass().getSimpleName() + ": " + e.getMessage();
          }
        } while (System.currentTimeMillis() < until);
      });
      t.start();
      threads.add(t);
    }
    for (Thread t : threads) t.join();
    a.close();
    b.close();
    int lost = 0;
    for (int i = 0; i < 2; i++) {
      try {
        pool.getConnection();
      } catch (SQLException e) {
        lost++;
      }
    }
    String said = error[0].replaceAll("[0-9]+ms", "… ms").replace("\"", "'");
    return "{\"lost\":" + lost + ",\"lent\":" + lent + ",\"text\":\"" + said + "\"}";
  }

  static String text(String answer) { return "{\"text\":\"" + answer + "\"}"; }

  static String closing(DataSource pool) throws Exception {
    Connection held = pool.getConnection();
    AtomicReference<String> ended = new AtomicReference<>();
    Thread waiter = new Thread(() -> {
      String how;
      try {
        pool.getConnection();
        how = "served";
      } catch (SQLException e) {
        how = "told";
      }
      ended.set(how);
    });
    waiter.start();
    awaitWaiting(waiter);
    Thread closer = new Thread(() -> {
      try {
        ((AutoCloseable) pool).close();
      } catch (Exception e) {
        throw new RuntimeException(e);
      }
    });
    closer.start();
    waiter.join(2000);
    if (ended.get() != null) return text(ended.get() + " at once");
    try {
      held.close();
    } catch (SQLException e) { // it was closed with the pool
    }
    waiter.join(2000);
    if (ended.get() != null) return text(ended.get() + " when the holder has put");
    waiter.join();
    return text(ended.get() + " when its limit is over");
  }

  static String second(DataSource pool) throws Exception {
    Connection first = pool.getConnection();
    first.close();
    Connection other = pool.getConnection();
    boolean refused = false;
    try {
      first.close();
    } catch (SQLException e) {
      refused = true;
    }
    try {
      pool.getConnection();
      return text("two callers have the connection");
    } catch (SQLException e) {
      return text(refused ? "refused" : "ignored");
    }
  }

  public static void main(String[] args) throws Exception {
    String name = args[0], scenario = args[1];
    port = scenario.equals("outage") ? Integer.parseInt(args[2]) : 0;
    long hour = 3_600_000;
    switch (scenario) {
      case "uncontended": System.out.println(cycle(pool(name, 16, 16, hour), 1, 16, false)); break;
      case "overload": System.out.println(cycle(pool(name, 2, 2, hour), 64, 2, true)); break;
      case "spike2": System.out.println(spike(pool(name, 50, 5, hour), 2)); break;
      case "spike20": System.out.println(spike(pool(name, 50, 5, hour), 20)); break;
      case "outage": outage(pool(name, 10, 10, 1000)); break;
      case "order": System.out.println(order(pool(name, 1, 1, hour))); break;
      case "cancel": System.out.println(cancel(pool(name, 2, 2, 300))); break;
      case "close": System.out.println(closing(pool(name, 1, 1, 8000))); break;
      case "second": System.out.println(second(pool(name, 1, 1, 1000))); break;
      default: throw new IllegalArgumentException(scenario);
    }
    System.exit(0);
  }
}
