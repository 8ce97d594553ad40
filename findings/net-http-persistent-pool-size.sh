#!/usr/bin/env bash
# Debian 12: ruby-net-http-persistent 3.1.0-2 on ruby-connection-pool 2.2.5-1
#
# Expected: pool_size is the number of connections to each host, or in all. A caller that
# finds all in use waits for some seconds (connection_pool's default is 5) and then gets a
# Timeout::Error.
# It does: it is a number for all hosts together, and neither a limit nor long. One slow
# request to host A makes a request to host B fail after half a second. The error says «no
# connections are checked out» when all of them are: it is raised by the clean-up for the
# connection that was never got, and hides the Timeout::Error. On the other hand the limit
# is exceeded: room for a new host is made at the host used least recently, also if its
# connection is in use and thus cannot be closed, while another is idle.
#
# Seen on 2026-11-29:
#   pool_size 1, A is busy for 3 s, B:  ConnectionPool::Error: no connections are checked out, after 0.5 s
#   pool_size 2, A busy, B idle, C:     200; open at once: 3
set -euo pipefail
packages=(ruby ruby-net-http-persistent ruby-connection-pool)
present=$(dpkg-query -W -f '${db:Status-Status}\n' "${packages[@]}" 2>/dev/null | grep -cx installed || true)
if [ "$present" -lt ${#packages[@]} ]; then
	sudo=$([ "$(id -u)" = 0 ] || echo sudo)
	$sudo apt-get update -qq
	$sudo env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
fi
dpkg-query -W "${packages[@]}"
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cat >"$dir/main.rb" <<'RUBY'
require 'net/http/persistent'
require 'socket'

def now = Process.clock_gettime(Process::CLOCK_MONOTONIC)

# Server counts the connections that it has had and that are open.
class Server
  attr_reader :url, :had, :open

  def initialize
    listener = TCPServer.new('127.0.0.1', 0)
    @url = "http://127.0.0.1:#{listener.addr[1]}"
    @had = @open = 0
    Thread.new do
      loop do
        socket = listener.accept
        @had += 1
        @open += 1
        Thread.new { serve(socket) }
      end
    end
  end

  def busy? = @busy

  def serve(socket)
    while (line = socket.gets)
      nil until ["\r\n", nil].include?(socket.gets)
      if line.include?('/slow')
        @busy = true
        sleep 3
      end
      socket.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    end
  ensure
    @open -= 1
    socket.close
  end
end

def slow(http, server)
  thread = Thread.new { http.request(URI(server.url + '/slow')) }
  sleep 0.05 until server.busy?
  thread
end

a, b = Server.new, Server.new
http = Net::HTTP::Persistent.new(name: 'one', pool_size: 1)
busy = slow(http, a)
start = now
begin
  http.request(URI(b.url))
  error = nil
rescue StandardError => e
  error = e
end
seconds = now - start
busy.join
puts "pool_size 1, A is busy for 3 s, B:  #{error ? "#{error.class}: #{error.message}" : 'served'}, after #{seconds.round(1)} s"

a, b, c = Server.new, Server.new, Server.new
http = Net::HTTP::Persistent.new(name: 'two', pool_size: 2)
busy = slow(http, a)
http.request(URI(b.url))
code = http.request(URI(c.url)).code
http.request(URI(b.url))
open = [a, b, c].sum(&:open)
puts "pool_size 2, A busy, B idle, C:     #{code}; open at once: #{open}"
busy.join
if error.nil? || error.is_a?(Timeout::Error) || error.message != 'no connections are checked out' || open != 3 || b.had != 1
  puts 'CHANGED: the limit is kept, or the error says what it is'
  exit 1
end
RUBY
timeout 60 ruby "$dir/main.rb"
