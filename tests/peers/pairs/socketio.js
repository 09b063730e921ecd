// socket.io's two sides: `serve PORT` and `connect URL...`.
const { createHash, randomBytes } = require('crypto');
const digest = (data) => createHash('sha256').update(data).digest('hex');
const [mode, ...rest] = process.argv.slice(2);
const once = (emitter, name) => new Promise((done, fail) => {
    emitter.once(name, done);
    setTimeout(() => fail(new Error(`no ${name} within 10 s`)), 10000).unref();
});

if (mode === 'serve') {
    const io = new (require('socket.io').Server)({ maxHttpBufferSize: 2e7, pingInterval: 500, pingTimeout: 2000 });
    io.on('connection', (socket) => {
        socket.on('back', (data, reply) => reply(data));
        socket.on('room', () => socket.join('all'));
        socket.on('all', (text) => io.to('all').emit('said', text));
    });
    io.listen(Number(rest[0]), { host: '127.0.0.1' });
} else {
    main().catch((error) => { console.error(error); process.exit(1); });
}

async function session(url, transports) {
    const socket = require('socket.io-client').io(url, { transports, reconnection: false });
    const upgraded = once(socket.io.engine, 'upgrade');
    upgraded.catch(() => {});
    await once(socket, 'connect');
    if (transports.length > 1) await upgraded;
    const lost = new Promise((_, fail) => socket.on('disconnect', (why) => fail(new Error(`disconnected: ${why}`))));
    lost.catch(() => {});
    for (const size of [1, 70000, 5000000]) {
        const data = randomBytes(size);
        const back = await Promise.race([socket.timeout(10000).emitWithAck('back', data), lost]);
        if (digest(back) !== digest(data)) throw new Error(`${size} bytes came back changed`);
    }
    return { socket, lost, name: socket.io.engine.transport.name };
}

async function main() {
    const names = [];
    const open = [];
    for (const url of rest) {
        for (const transports of [['polling', 'websocket'], ['polling'], ['websocket']]) {
            const one = await session(url, transports);
            names.push(one.name);
            one.socket.emit('room');
            open.push(one);
        }
    }
    const want = rest.flatMap(() => ['websocket', 'polling', 'websocket']).join();
    if (names.join() !== want) throw new Error(`the transports are ${names}, not ${want}`);
    await new Promise((done) => setTimeout(done, 1500)); // pings alone
    const heard = open.map(({ socket }) => once(socket, 'said'));
    open[0].socket.emit('all', 'grüße');
    for (const { lost } of open) await Promise.race([lost, Promise.resolve()]);
    if ((await Promise.all(heard)).some((text) => text !== 'grüße')) throw new Error('another text was said');
    for (const { socket } of open) { socket.off('disconnect'); socket.disconnect(); }
    console.log('polling, upgraded, WebSocket alone; 5 MB there and back, pings, a room of six');
    process.exit(0);
}
