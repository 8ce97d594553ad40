"""An application for uvicorn. It echoes, but "work" it answers with "begun" and nothing
else: its work does not end before the connection does."""

async def app(scope, receive, send):
    if scope["type"] != "websocket":
        return
    await receive()
    await send({"type": "websocket.accept"})
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            return
        text = message["text"]
        await send({"type": "websocket.send", "text": "begun" if text == "work" else text})
