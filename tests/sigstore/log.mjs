// Transparency logs, as Rekor is: a Merkle tree of entries (RFC 6962) with signed heads, and the two interfaces to it.
import crypto from 'node:crypto';
import { createRequire } from 'node:module';

const canonicalize = createRequire(import.meta.url)('canonicalize');

export class Log {
  // Rekor's first version: the key is known by the digest of its encoding.
  static ecdsa(host) {
    const { publicKey, privateKey } = crypto.generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
    const encoded = publicKey.export({ format: 'der', type: 'spki' });
    const origin = `${host} - ${crypto.randomInt(2 ** 47)}`;
    return new Log({ host, origin, privateKey, encoded, id: sha256(encoded), algorithm: 'PKIX_ECDSA_P256_SHA_256' });
  }

  // Its second: the key is known by the log's name too, as in a signed note.
  static ed25519(host) {
    const { publicKey, privateKey } = crypto.generateKeyPairSync('ed25519');
    const encoded = publicKey.export({ format: 'der', type: 'spki' });
    const id = sha256(Buffer.from(`${host}\n`), Buffer.from([1]), encoded.subarray(-32));
    return new Log({ host, origin: host, privateKey, encoded, id, algorithm: 'PKIX_ED25519' });
  }

  constructor(fields) {
    Object.assign(this, fields);
    this.leaves = [];
    this.bodies = [];
    // Some clients take index 0 for an index that is missing.
    this.add(Buffer.from('the first entry'));
  }

  sign(bytes) {
    return crypto.sign(this.privateKey.asymmetricKeyType === 'ed25519' ? null : 'sha256', bytes, this.privateKey);
  }

  // Adds an entry and proves that it is there.
  add(body) {
    this.leaves.push(sha256(Buffer.from([0]), body));
    this.bodies.push(body);
    return this.prove(this.leaves.length - 1);
  }

  prove(index) {
    const size = this.leaves.length;
    const root = head(this.leaves);
    const note = `${this.origin}\n${size}\n${root.toString('base64')}\n`;
    const signature = Buffer.concat([this.id.subarray(0, 4), this.sign(Buffer.from(note))]).toString('base64');
    const checkpoint = `${note}\n\u2014 ${this.host} ${signature}\n`;
    return { body: this.bodies[index], index, size, root, path: audit(index, this.leaves), checkpoint };
  }
}

// The first version of the interface: the reply has a promise with a time, and a proof.
export function rekorV1(log, request, mood) {
  const proof = mood === 'other-entry' ? log.prove(1) : log.add(Buffer.from(canonicalize(recorded(request))));
  const now = Math.floor(Date.now() / 1000);
  const promised = {
    body: proof.body.toString('base64'),
    // A certificate lives for ten minutes.
    integratedTime: mood === 'late' ? now + 3600 : now,
    logID: log.id.toString('hex'),
    logIndex: proof.index,
  };
  const verification = {
    signedEntryTimestamp: log.sign(Buffer.from(canonicalize(promised))).toString('base64'),
    inclusionProof: {
      checkpoint: proof.checkpoint,
      hashes: proof.path.map((hash) => hash.toString('hex')),
      logIndex: proof.index,
      rootHash: proof.root.toString('hex'),
      treeSize: proof.size,
    },
  };
  return { uuid: crypto.randomBytes(40).toString('hex'), entry: { ...promised, verification } };
}

// The second: a proof only; the time is another service's to tell.
export function rekorV2(log, request, mood) {
  // Nothing else is taken: for an envelope, the digest of what its signature is over.
  const { digest, signature } = request.hashedRekordRequestV002;
  const kind = 'hashedrekord';
  const spec = { hashedRekordV002: { data: { algorithm: 'SHA2_256', digest }, signature } };
  const body = Buffer.from(canonicalize({ apiVersion: '0.0.2', kind, spec }));
  const proof = mood === 'other-entry' ? log.prove(1) : log.add(body);
  return {
    logIndex: String(proof.index),
    logId: { keyId: log.id.toString('base64') },
    kindVersion: { kind, version: '0.0.2' },
    integratedTime: '0',
    inclusionPromise: null,
    inclusionProof: {
      logIndex: String(proof.index),
      rootHash: proof.root.toString('base64'),
      treeSize: String(proof.size),
      hashes: proof.path.map((hash) => hash.toString('base64')),
      checkpoint: { envelope: proof.checkpoint },
    },
    canonicalizedBody: proof.body.toString('base64'),
  };
}

// What Rekor writes down of what it is sent: for an envelope, only digests and signatures.
function recorded(request) {
  if (request.kind === 'hashedrekord') {
    request.spec.signature.publicKey.content = normalPem(request.spec.signature.publicKey.content);
    return request;
  }
  if (request.kind !== 'dsse') throw new Error(`entries of kind ${request.kind} are not taken`);
  const { envelope, verifiers } = request.spec.proposedContent;
  const { payload, signatures } = JSON.parse(envelope);
  const digest = (bytes) => ({ algorithm: 'sha256', value: sha256(bytes).toString('hex') });
  return {
    apiVersion: '0.0.1',
    kind: 'dsse',
    spec: {
      envelopeHash: digest(Buffer.from(envelope)),
      payloadHash: digest(Buffer.from(payload, 'base64')),
      signatures: signatures.map(({ sig }, index) => ({ signature: sig, verifier: normalPem(verifiers[index]) })),
    },
  };
}

// Base64 of PEM, with lines as Rekor breaks them.
function normalPem(encoded) {
  const [, label, data] = /-----BEGIN ([A-Z ]+)-----([^-]*)-----END/.exec(Buffer.from(encoded, 'base64').toString());
  const lines = data.replace(/\s/g, '').match(/.{1,64}/g).join('\n');
  return Buffer.from(`-----BEGIN ${label}-----\n${lines}\n-----END ${label}-----\n`).toString('base64');
}

function head(leaves) {
  if (leaves.length === 1) return leaves[0];
  const left = leftPart(leaves.length);
  return sha256(Buffer.from([1]), head(leaves.slice(0, left)), head(leaves.slice(left)));
}

function audit(index, leaves) {
  if (leaves.length === 1) return [];
  const left = leftPart(leaves.length);
  return index < left
    ? [...audit(index, leaves.slice(0, left)), head(leaves.slice(left))]
    : [...audit(index - left, leaves.slice(left)), head(leaves.slice(0, left))];
}

// The largest power of two that is smaller.
function leftPart(size) {
  return 2 ** Math.floor(Math.log2(size - 1));
}

function sha256(...parts) {
  const hash = crypto.createHash('sha256');
  for (const part of parts) hash.update(part);
  return hash.digest();
}
