// The app behind the proxy in these checks: answers, echoes, streams.
//
//   node app.js PORT
//
//   GET  /         a line of text
//   *    /echo     the request's body, byte for byte; x-method and x-bytes tell what arrived
//   *    /read     reads the request's body, then answers a line of text
//   GET  /headers  the request's headers as JSON
//   GET  /page     a page that listens to /events and tells /report what a person would have seen
//   POST /report   prints the request's body
//   GET  /events   five server-sent events, 300 ms apart, each with the time at which it was written
'use strict';
const http = require('node:http');

const EVENTS = 5;
const EVENT_GAP_MS = 300;

function echo(request, response) {
  const parts = [];
  request.on('data', (part) => parts.push(part));
  request.on('end', () => {
    const body = Buffer.concat(parts);
    response.writeHead(200, {
      'content-type': 'application/octet-stream',
      'content-length': body.length,
      'x-method': request.method,
      'x-bytes': body.length,
    });
    response.end(body);
  });
}

function events(request, response) {
  response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
  let sent = 0;
  const timer = setInterval(() => {
    sent += 1;
    response.write(`id: ${sent}\ndata: ${Date.now()}\n\n`);
    if (sent === EVENTS) {
      clearInterval(timer);
      response.end();
    }
  }, EVENT_GAP_MS);
  request.on('close', () => clearInterval(timer));
}

// Each event says when it was written; the page compares with the time at which it has it.
const PAGE = `<!doctype html><title>events</title><p id="seen">none</p><script>
const delays = [];
const source = new EventSource('/events');
source.onmessage = (event) => {
  delays.push(Date.now() - Number(event.data));
  document.getElementById('seen').textContent = String(delays.length);
  if (delays.length === ${EVENTS}) {
    source.close();
    fetch('/report', { method: 'POST', body: 'events ' + delays.length + ' slowest ' + Math.max(...delays) + ' ms' });
  }
};
</script>`;

function report(request, response) {
  request.setEncoding('utf8');
  let body = '';
  request.on('data', (part) => { body += part; });
  request.on('end', () => {
    console.log(`report: ${body}`);
    text(response, 200, 'text/plain', 'thank you\n');
  });
}

function text(response, status, type, body) {
  response.writeHead(status, { 'content-type': type, 'content-length': Buffer.byteLength(body) });
  response.end(body);
}

const server = http.createServer((request, response) => {
  switch (request.url.split('?')[0]) {
    case '/':
      return text(response, 200, 'text/plain', 'hello from the app\n');
    case '/read':
      request.on('end', () => text(response, 200, 'text/plain', 'read\n'));
      return request.resume();
    case '/echo':
      return echo(request, response);
    case '/headers':
      return text(response, 200, 'application/json', JSON.stringify(request.headers));
    case '/page':
      return text(response, 200, 'text/html', PAGE);
    case '/report':
      return report(request, response);
    case '/events':
      return events(request, response);
    default:
      return text(response, 404, 'text/plain', 'no such page\n');
  }
});

server.keepAliveTimeout = 65_000;
server.listen(Number(process.argv[2]), '127.0.0.1');
