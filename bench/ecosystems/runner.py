"""Runs one scenario with psycopg_pool: POOL SCENARIO PORT. It prints one line of JSON."""
import json
import os
import logging
import socket
import sys
import threading
import time

from psycopg.pq import TransactionStatus
from psycopg_pool import ConnectionPool

scenario, port = sys.argv[2], int(sys.argv[3])
tcp = scenario == "outage"
attempts = []
takes = 0.0  # seconds to open a connection
logging.disable(logging.CRITICAL)


def now():
    return time.time() * 1000


class Connection:
    """A connection in memory, or to a server that sends back each byte."""

    def __init__(self):
        attempts.append(now())
        if takes:
            time.sleep(takes)
        self.closed = False
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=1) if tcp else None
        if tcp:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.pgconn = self

    @classmethod
    def connect(cls, *args, **kwargs):
        return cls()

    @property
    def transaction_status(self):
        return TransactionStatus.UNKNOWN if self.closed else TransactionStatus.IDLE

    def round_trip(self):
        try:
            self.socket.sendall(b"x")
            if self.socket.recv(1) == b"x":
                return
        except OSError:
            pass
        self.close()  # as a real one does
        raise ConnectionError("the connection is dead")

    def close(self):
        self.closed = True
        if self.socket:
            self.socket.close()


def make(size, idle, limit):
    pool = ConnectionPool("", min_size=idle, max_size=size, timeout=limit, connection_class=Connection)
    pool.wait()
    return pool


def together(n, f):
    threads = [threading.Thread(target=f, args=(i,)) for i in range(n)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()


def cycle(callers, size, yields):
    pool = make(size, size, 3600)
    for _ in range(2):  # the first warms up
        turns = [0] * callers
        began = time.perf_counter()

        def caller(i):
            while time.perf_counter() - began < 1.5:
                c = pool.getconn()
                if yields:
                    time.sleep(0)
                pool.putconn(c)
                turns[i] += 1

        together(callers, caller)
        ns = (time.perf_counter() - began) * 1e9 / sum(turns)
    return {"ns": ns}


def spike(hold):
    global takes
    pool = make(50, 5, 3600)
    takes = 0.15
    before = len(attempts)
    gate = threading.Barrier(51)

    def caller(_):
        gate.wait()
        c = pool.getconn()
        time.sleep(hold)
        pool.putconn(c)

    threads = [threading.Thread(target=caller, args=(i,)) for i in range(50)]
    for t in threads:
        t.start()
    began = time.perf_counter()
    gate.wait()
    for t in threads:
        t.join()
    return {"opened": len(attempts) - before, "ms": (time.perf_counter() - began) * 1000}


def outage():
    pool = make(10, 10, 1)
    served, failed = [], []
    until = now() + 16000
    print("running", flush=True)

    def caller(_):
        while now() < until:
            try:
                c = pool.getconn()
            except Exception:
                failed.append(now())
                time.sleep(0.001)
                continue
            try:
                c.round_trip()
                ok = True
            except ConnectionError:
                ok = False
            time.sleep(0.001)
            pool.putconn(c)
            if ok:
                served.append(now())

    together(20, caller)
    return {"attempts": attempts, "failed": failed, "served": served}


def await_waiting(pool, n):
    while pool.get_stats().get("requests_waiting", 0) < n:
        time.sleep(0.001)


def order():
    pool = make(1, 1, 3600)
    held = pool.getconn()
    served = []

    def caller(i):
        c = pool.getconn()
        served.append(i)
        pool.putconn(c)

    threads = []
    for i in range(16):
        t = threading.Thread(target=caller, args=(i,))
        t.start()
        threads.append(t)
        await_waiting(pool, i + 1)
    pool.putconn(held)
    for t in threads:
        t.join()
    overtaken = sum(any(j > i for j in served[:at]) for at, i in enumerate(served))
    most = 0
    for _ in range(20):
        held = pool.getconn()
        ended = threading.Event()

        def waiter():
            c = pool.getconn()
            ended.set()
            pool.putconn(c)

        t = threading.Thread(target=waiter)
        t.start()
        await_waiting(pool, 1)
        again = 0
        while again < 1000:
            pool.putconn(held)
            held = pool.getconn()
            if ended.is_set():
                break
            again += 1
        pool.putconn(held)
        t.join()
        most = max(most, again)
    return {"overtaken": overtaken, "again": most}


def cancel():
    pool = make(2, 2, 0.3)
    held = [pool.getconn(), pool.getconn()]
    errors, lent = [], []
    until = now() + 1500

    def caller(_):
        while True:
            try:
                lent.append(pool.getconn())
            except Exception as e:
                errors.append(f"{type(e).__name__}: {e}")
            if now() >= until:
                return

    together(64, caller)
    for c in held:
        pool.putconn(c)
    lost = 0
    for _ in range(2):
        try:
            pool.getconn()
        except Exception:
            lost += 1
    return {"lost": lost, "lent": len(lent), "text": errors[-1]}


def close():
    pool = make(1, 1, 8)
    held = pool.getconn()
    how = []

    def caller():
        try:
            pool.getconn()
            how.append("served")
        except Exception:
            how.append("told")

    waiter = threading.Thread(target=caller)
    waiter.start()
    await_waiting(pool, 1)
    threading.Thread(target=pool.close).start()
    waiter.join(2)
    if how:
        return {"text": how[0] + " at once"}
    pool.putconn(held)
    waiter.join(2)
    if how:
        return {"text": how[0] + " when the holder has put"}
    waiter.join()
    return {"text": how[0] + " when its limit is over"}


def second():
    pool = make(1, 1, 1)
    first = pool.getconn()
    pool.putconn(first)
    pool.getconn()
    refused = False
    try:
        pool.putconn(first)
    except Exception:
        refused = True
    try:
        pool.getconn()
        return {"text": "two callers have the connection"}
    except Exception:
        return {"text": "refused" if refused else "ignored"}


result = {
    "uncontended": lambda: cycle(1, 16, False),
    "overload": lambda: cycle(64, 2, True),
    "spike2": lambda: spike(0.002),
    "spike20": lambda: spike(0.02),
    "outage": outage,
    "order": order,
    "cancel": cancel,
    "close": close,
    "second": second,
}[scenario]()
print(json.dumps(result), flush=True)
sys.stdout.flush()

os._exit(0)  # the pool's workers would go on
