#!/usr/bin/env bash
# Debian 12: libtomcat9-java 9.0.70-2 (embedded); client: java.net.http of default-jdk-headless
#
# Expected: session.setMaxIdleTimeout(500), in milliseconds, closes a WebSocket that has
# been silent for half a second, give or take a tick of a second.
# It does: Tomcat looks at its sessions each 10 s. One that is idle is closed after the
# timeout and up to 10 s more, and all that are due are closed in the same moment, with
# 1001: clients that connected at different times come back together. No setting of
# the WebSocket API changes the 10 s.
#
# Seen on 2026-11-29 (timeout 500 ms, four connections opened 2 s apart, none says anything):
#   closed 10.2 s after it was opened
#   closed 8.3 s after it was opened
#   closed 6.1 s after it was opened
#   closed 4.0 s after it was opened
#   codes [1001]; from the first close to the last: 0.2 s
# (the last digit varies)
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
import java.net.URI;
import java.net.http.*;
import java.util.*;
import java.util.concurrent.*;
import javax.servlet.*;
import javax.websocket.*;
import javax.websocket.server.*;
import org.apache.catalina.servlets.DefaultServlet;
import org.apache.catalina.startup.Tomcat;
import org.apache.tomcat.websocket.server.WsSci;

public class Main {
  public static class Silent extends Endpoint {
    public void onOpen(Session session, EndpointConfig config) { session.setMaxIdleTimeout(500); }
  }

  public static class Setup implements ServletContextListener {
    public void contextInitialized(ServletContextEvent event) {
      var container = (ServerContainer) event.getServletContext().getAttribute(ServerContainer.class.getName());
      try {
        container.addEndpoint(ServerEndpointConfig.Builder.create(Silent.class, "/").build());
      } catch (DeploymentException e) {
        throw new IllegalStateException(e);
      }
    }
  }

  static int start(String dir) throws Exception {
    var tomcat = new Tomcat();
    tomcat.setBaseDir(dir);
    tomcat.setPort(0);
    tomcat.getConnector().setProperty("address", "127.0.0.1");
    var context = tomcat.addContext("", null);
    context.addServletContainerInitializer(new WsSci(), null);
    context.addApplicationListener(Setup.class.getName());
    Tomcat.addServlet(context, "default", new DefaultServlet());
    context.addServletMappingDecoded("/", "default");
    tomcat.start();
    return tomcat.getConnector().getLocalPort();
  }

  public static void main(String[] args) throws Exception {
    java.util.logging.LogManager.getLogManager().reset();
    var uri = URI.create("ws://127.0.0.1:" + start(args[0]) + "/");
    var client = HttpClient.newHttpClient();
    var closed = new ArrayList<CompletableFuture<Long>>();
    var codes = new ConcurrentSkipListSet<Integer>();
    var opened = new ArrayList<Long>();
    for (int i = 0; i < 4; i++) {
      if (i > 0) Thread.sleep(2000);
      var end = new CompletableFuture<Long>();
      client.newWebSocketBuilder().buildAsync(uri, new WebSocket.Listener() {
        public CompletionStage<?> onClose(WebSocket socket, int code, String reason) {
          codes.add(code);
          end.complete(System.nanoTime());
          return null;
        }
      }).get();
      opened.add(System.nanoTime());
      closed.add(end);
    }
    double longest = 0, first = Double.MAX_VALUE, last = 0;
    for (int i = 0; i < 4; i++) {
      long at = closed.get(i).get(30, TimeUnit.SECONDS);
      double seconds = (at - opened.get(i)) / 1e9;
      System.out.printf("closed %.1f s after it was opened%n", seconds);
      longest = Math.max(longest, seconds);
      first = Math.min(first, at / 1e9);
      last = Math.max(last, at / 1e9);
    }
    System.out.printf("codes %s; from the first close to the last: %.1f s%n", codes, last - first);
    if (longest < 5) {
      System.out.println("CHANGED: an idle timeout of 500 ms is kept to the second");
      System.exit(1);
    }
    System.exit(0);
  }
}
JAVA
java=/usr/share/java
classes=$(printf %s: "$java"/tomcat9-*.jar "$java"/*servlet-api*.jar)$dir
javac -cp "$classes" -d "$dir" "$dir/Main.java"
timeout 60 java -cp "$classes" Main "$dir"
