// A server on socket.io over WebSocket only. Interval and timeout of its heartbeat, in ms,
// are arguments. The heartbeat is a message, "2", and so is the answer, "3". It prints
// "pong" for each one, and "disconnect" for a client that is gone. On its standard input,
// "beat" disconnects all sockets from the namespace, without closing their connections.
const { Server } = require('socket.io');
const server = require('http').createServer();
const io = new Server(server, {
  transports: ['websocket'],
  pingInterval: Number(process.argv[2]),
  pingTimeout: Number(process.argv[3]),
});
io.on('connection', (socket) => {
  socket.conn.on('heartbeat', () => console.log('pong'));
  socket.on('disconnect', () => console.log('disconnect'));
  socket.emit('event', 'welcome');
  socket.on('echo', (value, reply) => { // an event before the reply, and one after it
    socket.emit('event', 'before');
    reply(value);
    socket.emit('event', 'after');
  });
  socket.on('beats', (n, reply) => { // replies when so many heartbeats have been answered
    const count = () => {
      if (--n) return;
      socket.conn.off('heartbeat', count);
      reply('waited');
    };
    socket.conn.on('heartbeat', count);
  });
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
require('readline').createInterface({ input: process.stdin })
  .on('line', () => io.disconnectSockets()).on('close', () => process.exit(0));
