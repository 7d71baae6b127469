// A Sigstore of one's own, on loopback: certificates, transparency logs, timestamps, identity tokens and the files that clients
// trust them by. It is made for tests and protects nothing: whoever reaches it gets a token in anybody's name.
//
//   node server.mjs DIRECTORY     writes into DIRECTORY what clients need, then prints "ready URL"; ends when standard input does
//
// The services answer under the paths of the real ones. Under /as/MOOD/ they answer in that mood: a client that is given such an
// address meets a service that is down, or that lies. So a test chooses what goes wrong by an address, and no test's choice
// is in the way of another's.
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';

import { Authority } from './authority.mjs';
import { Identities } from './identities.mjs';
import { Log, rekorV1, rekorV2 } from './log.mjs';
import { TimestampAuthority } from './timestamps.mjs';
import { writeTrust } from './trust.mjs';

const directory = process.argv[2];
fs.mkdirSync(directory, { recursive: true });
// A test that is killed cannot end what it started, but its end of the pipe closes all the same.
process.stdin.resume().on('end', () => process.exit());

const server = http.createServer(answer);
await new Promise((listening) => server.listen(0, '127.0.0.1', listening));
const url = `http://localhost:${server.address().port}`;

const identities = await Identities.create(url);
const authority = await Authority.create();
const impostor = await Authority.create();
const logs = { v1: Log.ecdsa(`localhost:${server.address().port}`), v2: Log.ed25519('localhost') };
const forgers = { v1: Log.ecdsa(`localhost:${server.address().port}`), v2: Log.ed25519('localhost') };
const timestamps = new TimestampAuthority(path.join(directory, 'timestamps'));
const forgedTimestamps = new TimestampAuthority(path.join(directory, 'forged-timestamps'));
const files = writeTrust({ directory, url, authority, logs, timestamps });
for (const name of identities.names) {
  fs.writeFileSync(path.join(directory, `${name}.jwt`), await identities.token(name, 'sigstore'));
}
console.log(`ready ${url}`);

// What each service does, by its path.
const services = {
  'POST /api/v2/signingCert': async (request, mood) => {
    const body = JSON.parse(request.body);
    const token = body.credentials?.oidcIdentityToken ?? request.headers.authorization?.replace(/^Bearer /i, '');
    const person = await identities.check(mood === 'other-identity' ? identities.tokens.stranger : token);
    const chain = await (mood === 'forged' ? impostor : authority).certify(body, person, mood);
    return json(200, { signedCertificateEmbeddedSct: { chain: { certificates: chain } } });
  },
  'POST /api/v1/log/entries': (request, mood) => {
    const { uuid, entry } = rekorV1(mood === 'forged' ? forgers.v1 : logs.v1, JSON.parse(request.body), mood);
    return { ...json(201, { [uuid]: entry }), headers: { etag: uuid, location: `/api/v1/log/entries/${uuid}` } };
  },
  'POST /rekor-v2/api/v2/log/entries': (request, mood) =>
    json(201, rekorV2(mood === 'forged' ? forgers.v2 : logs.v2, JSON.parse(request.body), mood)),
  'POST /api/v1/timestamp': (request, mood) => ({
    status: 201,
    type: 'application/timestamp-reply',
    body: (mood === 'forged' ? forgedTimestamps : timestamps).answer(request, mood),
  }),
  // What GitHub Actions gives to a job that may have an identity.
  'GET /actions/token': async (request) => {
    const query = new URL(request.url, url).searchParams;
    if (request.headers.authorization !== `Bearer ${identities.requestToken}`) return json(401, {});
    return json(200, { value: await identities.token(query.get('identity') ?? 'builder', query.get('audience')) });
  },
};

async function serve(request) {
  const [, mood, place] = /^(?:\/as\/([a-z-]+))?(\/.*?)(?:\?.*)?$/.exec(request.url);
  if (mood === 'down') return { status: 503, type: 'text/plain', body: 'out of service' };
  const file = request.method === 'GET' && files[place];
  if (file) return { status: 200, type: 'application/json', body: file };
  const service = services[`${request.method} ${place}`];
  return service ? service(request, mood) : json(404, {});
}

async function answer(message, reply) {
  const chunks = [];
  for await (const chunk of message) chunks.push(chunk);
  const { method, headers } = message;
  let told;
  try {
    told = await serve({ method, headers, url: message.url, body: Buffer.concat(chunks) });
  } catch (error) {
    told = { status: 400, type: 'text/plain', body: String(error.stack) };
  }
  if (told.status >= 400) console.error(method, message.url, told.status, told.body);
  reply.writeHead(told.status, { 'content-type': told.type, ...told.headers });
  reply.end(told.body);
}

function json(status, value) {
  return { status, type: 'application/json', body: JSON.stringify(value) };
}
