// A server on npm ws with the heartbeat of that package's documentation: whoever
// has not answered the last ping is terminated. The interval, in ms, is an
// argument. A request is "id verb"; the reply begins with the id.
const { WebSocketServer } = require('ws');
const interval = Number(process.argv[2]);
const wss = new WebSocketServer({ port: 0, host: '127.0.0.1', perMessageDeflate: true });
let terminated = 0;
wss.on('listening', () => console.log(wss.address().port));
wss.on('connection', (ws) => {
  ws.isAlive = true;
  ws.pongs = 0;
  ws.working = 0;
  ws.on('pong', () => { ws.isAlive = true; ws.pongs++; });
  ws.on('error', () => {});
  ws.on('message', (data, isBinary) => {
    const [id, verb, arg] = data.toString().split(' ');
    const reply = (extra) => ws.send(extra === undefined ? data : `${id} ${extra}`, { binary: isBinary });
    switch (verb) {
      case 'close': ws.close(1012, 'restart'); break;
      case 'drop': ws.terminate(); break;
      case 'stall': break;
      case 'late': ws.working++; setTimeout(() => { ws.working--; reply(); }, Number(arg)); break;
      case 'pongs': reply(ws.pongs); break;
      case 'terminated': reply(terminated); break;
      case 'clients': reply(wss.clients.size); break;
      case 'mess': wss.mess = arg === 'on'; reply(); break;
      default: reply();
    }
  });
});
setInterval(() => wss.clients.forEach((ws) => {
  if (!ws.isAlive) { terminated++; return ws.terminate(); }
  ws.isAlive = false;
  ws.ping();
}), interval);
// When asked to make a mess: close somebody who does not wait for a reply.
setInterval(() => {
  if (!wss.mess) return;
  for (const ws of wss.clients) {
    if (ws.working || Math.random() > 0.02) continue;
    if (Math.random() < 0.5) ws.close(1001, 'at random'); else ws.terminate();
  }
}, 20);
process.stdin.on('end', () => process.exit(0));
process.stdin.resume();
