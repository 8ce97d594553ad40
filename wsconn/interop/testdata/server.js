// A server on npm ws with the heartbeat of that package's documentation: it
// terminates a client that has not answered the last ping. The interval, in ms, is an
// argument. If it is 0, each line on the standard input is a heartbeat, and the
// standard output gets "pong" or "terminated" for what comes of it. A request is
// "id verb"; the reply begins with the id.
const { WebSocketServer } = require('ws');
const interval = Number(process.argv[2]);
const wss = new WebSocketServer({ port: 0, host: '127.0.0.1', perMessageDeflate: true });
let terminated = 0, closings = 0;
const tell = (what) => { if (!interval) console.log(what); };
wss.on('listening', () => console.log(wss.address().port));
wss.on('connection', (ws) => {
  ws.isAlive = true;
  ws.pongs = 0;
  ws.working = 0;
  ws.on('pong', () => {
    ws.isAlive = true;
    ws.pongs++;
    tell('pong');
  });
  ws.on('close', () => { if (!ws.isAlive) tell('terminated'); });
  ws.on('error', () => {});
  ws.on('message', (data, isBinary) => {
    ws.used = true;
    const [id, verb, arg] = data.toString().split(' ');
    const reply = (extra) => ws.send(extra === undefined ? data : `${id} ${extra}`, { binary: isBinary });
    switch (verb) {
      case 'close': ws.close(1012, 'restart'); break;
      case 'drop': ws.terminate(); break;
      case 'stall': break;
      case 'late': ws.working++; setTimeout(() => { ws.working--; reply(); }, Number(arg)); break;
      case 'pongs': reply(ws.pongs); break;
      case 'terminated': reply(terminated); break;
      case 'closings': reply(closings); break;
      case 'mess': wss.mess = arg === 'on'; reply(); break;
      default: reply();
    }
  });
});
const beat = () => wss.clients.forEach((ws) => {
  if (!ws.isAlive) { terminated++; closings++; return ws.terminate(); }
  ws.isAlive = false;
  ws.ping();
});
const lines = require('readline').createInterface({ input: process.stdin });
if (interval) setInterval(beat, interval); else lines.on('line', beat);
// When asked to make a mess: close connections that wait for no reply. A new one is
// left alone, because its first request may be long in coming from a busy machine.
setInterval(() => {
  if (!wss.mess) return;
  for (const ws of wss.clients) {
    if (ws.working || !ws.used || Math.random() > 0.02) continue;
    closings++;
    if (Math.random() < 0.5) ws.close(1001, 'at random'); else ws.terminate();
  }
}, 20);
lines.on('close', () => process.exit(0));
