"""A server on websockets, with its keepalive: ping interval and timeout, in
seconds, are arguments. It echoes, and prints "pong" for each ping that is answered."""
import asyncio, sys, threading, os, websockets

def tell(pong):
    if not pong.cancelled() and pong.exception() is None:
        print("pong", flush=True)

async def echo(ws):
    ping = ws.ping
    async def told(*args):
        pong = await ping(*args)
        pong.add_done_callback(tell)
        return pong
    ws.ping = told
    async for message in ws:
        if message == "close":
            await ws.close(1012, "restart")
            return
        await ws.send(message)

async def main():
    interval, timeout = float(sys.argv[1]), float(sys.argv[2])
    async with websockets.serve(echo, "127.0.0.1", 0, ping_interval=interval, ping_timeout=timeout, close_timeout=1) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.Future()

def end():  # with the test that started this
    sys.stdin.read()
    os._exit(0)

threading.Thread(target=end, daemon=True).start()
asyncio.run(main())
